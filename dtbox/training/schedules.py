"""Learning-rate schedules counted in iterations."""
from __future__ import annotations

import inspect
import math
from typing import Any, Mapping

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from torch.optim import Optimizer

from dtbox.registry import SCHEDULES
from dtbox.values import Factor, Fraction, Positive, check_values


@SCHEDULES.register_module()
class WarmupCosineLR(LRSchedulerMixin, _ParamScheduler):
    """Linear warm-up base * (k + 1) / warmup, then a cosine to base * floor at the last iteration (open_clip's
    schedule).

    Args:
        optimizer: filled in by the Runner.
        total: iterations of the run.
        warmup: iterations of the warm-up; below 1 a fraction of `total`.
        floor: final learning rate as a fraction of the base.
        zero: begin the warm-up at 0 instead, base * k / warmup (DualToken's discriminator).
        last_step, by_epoch, verbose: as MMEngine's schedules have them.
    """

    def __init__(self, optimizer: OptimWrapper | Optimizer, total: Positive, warmup: Factor = 0.05,
                 floor: Fraction = 0.0, zero: bool = False, last_step: int = -1, by_epoch: bool = False,
                 verbose: bool = False) -> None:
        check_values(WarmupCosineLR, locals())
        self.total, self.floor = int(total), floor
        self.zero = bool(zero)
        self.warmup = int(warmup if warmup >= 1 else round(warmup * total))
        super().__init__(optimizer, begin=0, end=self.total + 1, last_step=last_step, by_epoch=by_epoch,
                         verbose=verbose)

    def factor(self, step: int) -> float:
        """Return the learning rate of iteration `step` (from 0) as a fraction of the base."""
        if step < self.warmup:
            return (step + (not self.zero)) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.total - self.warmup))
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * done))

    def _get_value(self) -> list[float]:
        return [base * self.factor(self.last_step) for base in self.base_values]

    def refresh(self) -> None:
        """Give the optimizer the rate of the present step again: after a resume with another `total` it has another
        one."""
        for group, value in zip(self.optimizer.param_groups, self._get_value()):
            group[self.param_name] = value
        self._last_value = [group[self.param_name] for group in self.optimizer.param_groups]


def restore_schedule(schedule: _ParamScheduler, saved: Mapping[str, Any]) -> None:
    """Take the place in a schedule from a checkpoint. What its config says stays, such as the length of a longer run.

    Args:
        schedule: as the config says.
        saved: `state_dict()` of the one in the checkpoint.
    """
    own = {name for kind in type(schedule).__mro__[:-1] for name in inspect.signature(kind).parameters}
    kept = {name: value for name, value in vars(schedule).items() if name in own - {'last_step', 'optimizer'}}
    schedule.load_state_dict(dict(saved))
    vars(schedule).update(kept)
    if hasattr(schedule, 'refresh'):
        schedule.refresh()


class StepSchedules(Hook):
    """Step the schedules of a part after each iteration in which the task says that it has stepped."""
    priority = 'LOW'

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None,
                         outputs: Mapping[str, Any] | None = None) -> None:
        """Step what took a step."""
        for name, group in (runner.param_schedulers or {}).items():
            if runner.task.has_stepped(name, outputs):
                for schedule in group:
                    schedule.step()
