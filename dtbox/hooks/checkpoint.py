"""Writes `checkpoint.pth` every so many iterations, before evaluations and at the end."""
from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from dtbox.registry import HOOKS
from dtbox.runs import RunFolder
from dtbox.values import Count, Positive, check_values


@HOOKS.register_module()
class Checkpoint(Hook):
    """Keep `checkpoint.pth` of the run folder up to date; each write replaces the last one only when it is whole.

    It is also written before an evaluation, which may take longer than a cluster waits. Where gradients are
    accumulated, a write that is due waits for the update, since half of an update is not saved.

    Args:
        interval: iterations between two writes.
        keep_every: also keep a copy `checkpoint_ITERATION.pth` every so many iterations; 0 keeps none.
    """
    priority = 'LOWEST'

    def __init__(self, interval: Positive, keep_every: Count = 0) -> None:
        check_values(Checkpoint, locals())
        self.interval, self.keep_every = interval, keep_every
        self.due, self.copy_due = False, False

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        """Write where one is due."""
        if outputs == {}:  # a skipped iteration: what it left is not known to be good
            return
        done, evaluated = runner.iter_done, runner.train_loop.val_interval
        last = done == runner.max_iters
        self.copy_due |= bool(self.keep_every) and done % self.keep_every == 0
        self.due |= done % self.interval == 0 or bool(evaluated) and done % evaluated == 0 or last
        if runner.accumulating and not last:
            return
        if self.copy_due:
            runner.save(RunFolder(runner.work_dir).checkpoint_copy(done))
        if self.due:
            runner.save()
        self.due = self.copy_due = False
