"""What can go wrong with a run is found before its folder is touched: ranks, parts, iterations, visualizer backends."""
from __future__ import annotations

from typing import Any, Collection, NamedTuple

from mmengine.hooks import Hook
from mmengine.registry import VISBACKENDS

from dtbox.errors import InputError, closest, need_package
from dtbox.registry import HOOKS, SCHEDULES
from dtbox.training.build import build_parts, schedulers

PACKAGES = {'TensorboardVisBackend': ('torch.utils.tensorboard', 'tensorboard'), 'WandbVisBackend': ('wandb', 'wandb')}
"""Visualizer backend -> the module that it needs and the extra that brings it."""


class Built(NamedTuple):
    """Everything of a run that its config describes.

    Attributes:
        parts: as `build_parts` returns it.
        hooks: hooks, in the order of the config.
        schedules: dict optimizer name -> list of schedules, or None.
        remarks: sentences to log as warnings.
    """
    parts: dict
    hooks: dict
    schedules: dict
    remarks: list


def build_run(cfg, seed):
    """Build all that a training run needs from a resolved config; weights are not loaded and nothing on disk changes."""
    parts = build_parts(cfg, seed)
    check_iterations(cfg)
    remarks = parts['model'].check_run(cfg)
    check_backends(cfg.get('vis_backends'))
    hooks = build_hooks(cfg.get('hooks'), absent=set(parts['model'].optional_parts) - set(parts['model'].parts))
    check_hooks(hooks, parts['model'])
    table = schedulers(cfg.get('param_scheduler'), parts['optim'], parts['model'].optional_parts)
    return Built(parts, list(hooks.values()), build_schedules(table, parts['optim']), remarks)


def build_hooks(cfg: dict | None, absent: Collection[str] = ()) -> dict[str, Hook]:
    """Build the hooks of a config.

    Args:
        cfg: dict name -> dict(type=..., arguments), None for one that a child config takes out.
        absent: optional parts of the task that this config leaves out. Hooks that watch one (`part` of their class) are left
            out, too.

    Returns:
        name -> hook, in the order of the config.
    """
    hooks = {name: HOOKS.build(hook, where=f'hooks.{name}') for name, hook in (cfg or {}).items() if hook is not None}
    return {name: hook for name, hook in hooks.items() if getattr(hook, 'part', None) not in absent}


def check_hooks(hooks: dict[str, Hook], model: Any) -> None:
    """Let hooks that have a `check` refuse the model."""
    for name, hook in hooks.items():
        if hasattr(hook, 'check'):
            try:
                hook.check(model)
            except InputError as e:
                raise e.within(f'hooks.{name}') from e.__cause__


def build_schedules(table, optim):
    """Return dict optimizer name -> list of schedules from their configs, or None."""
    return {name: [SCHEDULES.build(s, where=f'param_scheduler.{name}', optimizer=optim[name]) for s in group]
            for name, group in (table or {}).items()} or None


def check_iterations(cfg):
    """Raise `InputError` unless `train_cfg.max_iters` is a positive whole number."""
    count = cfg.train_cfg.get('max_iters')
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InputError(f'`max_iters` is {count!r}; expected a whole number of at least 1.', 'train_cfg.max_iters')


def check_backends(backends):
    """Raise `InputError` for a visualizer backend that is not registered or whose package is missing."""
    for i, backend in enumerate(backends or []):
        kind = backend.get('type') if isinstance(backend, dict) else None
        if kind is None or VISBACKENDS.get(kind) is None:
            known = sorted(VISBACKENDS.module_dict)
            raise InputError(f'expected dict(type=...) with one of {", ".join(known)}; got {backend!r}.{closest(str(kind), known)}',
                             f'vis_backends.{i}')
        if kind in PACKAGES:
            need_package(*PACKAGES[kind], f'`{kind}`')
