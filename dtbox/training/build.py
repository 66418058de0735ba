"""From a resolved config to the parts of a run: task, data, optimizers, hooks, schedules, average of the weights."""
from __future__ import annotations

import functools
from typing import Any, Mapping, Sequence

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import VISBACKENDS

from dtbox.config import check_recipe
from dtbox.errors import InputError, at, closest, need_package
from dtbox.registry import HOOKS, MODELS, SCHEDULES, call_checked, check_arguments
from dtbox.training.dataloaders import build_train_dataloader, build_val_dataloader
from dtbox.training.ema import WeightEMA
from dtbox.training.optim import build_optim_wrappers
from dtbox.training.task import Task
from dtbox.values import check_value, check_values

PACKAGES = {'TensorboardVisBackend': ('torch.utils.tensorboard', 'tensorboard'), 'WandbVisBackend': ('wandb', 'wandb')}
"""Visualizer backend -> the module that it needs and the extra that brings it."""


def build_parts(cfg: Config, seed: int, training: bool = True) -> dict[str, Any]:
    """Build task, data loaders and optimizers.

    Args:
        cfg: resolved Config.
        seed: of weights, data order and augmentation.
        training: build what training needs; otherwise the task and held-out data alone.

    Returns:
        dict(model, train, val, metrics, optim); None for what the config leaves out.
    """
    check_required(cfg, ('model', 'train_dataloader', 'optim_wrapper', 'train_cfg') if training else ('model',))
    check_recipe(cfg)
    torch.manual_seed(seed)
    task = build_task(cfg, training)
    train = build_train_dataloader(cfg.train_dataloader, seed) if training else None
    if training and task.needs_texts and train.dataset.metainfo.get('texts'):
        train.collate_fn = functools.partial(train.collate_fn, need_texts=True)
    optim = build_optim_wrappers(task.parts, cfg.optim_wrapper, task.optional_parts) if training else None
    return dict(model=task, train=train, optim=optim, metrics=dict(cfg.get('val_evaluator') or {}),
                val=build_val_dataloader(cfg.val_dataloader) if cfg.get('val_dataloader') else None)


def build_task(cfg: Config, training: bool = True) -> Task:
    """Build the Task of a resolved config's `model`; for evaluation (not `training`) without what only training needs.

    Raises:
        InputError: what `model` names is not a Task.
    """
    drop = ()
    if not training:
        kind = cfg.model.get('type')
        drop = getattr(MODELS.get(kind) if isinstance(kind, str) else kind, 'training_only', ())
    task = MODELS.build({k: v for k, v in cfg.model.items() if k not in drop}, where='model', amp=cfg.get('amp'))
    if not isinstance(task, Task):
        raise InputError(f'`{type(task).__name__}` is not a Task, which the Runner trains. Derive it from '
                         'dtbox.training.task.Task.', 'model')
    return task


def check_required(cfg: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Raise `InputError` where a config misses one of the entries `keys` of a recipe."""
    for key in keys:
        if cfg.get(key) is None:
            there = [name for name in cfg.keys() if cfg.get(name) is not None]
            raise InputError(f'the config has no `{key}`.{closest(key, there)} It has: '
                             f'{", ".join(there) or "nothing"}.', key)


def check_backends(backends: list[Any] | None) -> None:
    """Raise `InputError` for a visualizer backend that is not registered or whose package is missing."""
    for i, backend in enumerate(backends or []):
        args = dict(backend)
        kind = args.pop('type', None)
        if not isinstance(kind, str) or kind not in VISBACKENDS.module_dict:  # `get` would import what it names
            known = sorted(VISBACKENDS.module_dict)
            raise InputError(f'expected dict(type=...) with one of {", ".join(known)}; got {dict(backend)!r}.'
                             f'{closest(str(kind), known)}', f'vis_backends.{i}')
        if kind in PACKAGES:
            need_package(*PACKAGES[kind], f'`{kind}`')
        with at(f'vis_backends.{i}'):
            check_arguments(VISBACKENDS.module_dict[kind], {**args, 'save_dir': ''}, f'`{kind}`')
            check_values(VISBACKENDS.module_dict[kind], args)


def build_hooks(cfg: Mapping[str, Any] | None) -> dict[str, Hook]:
    """Build the hooks of a config: dict name -> dict(type=..., arguments), None for one that a child config takes out.

    Returns:
        name -> hook, in the order of the config.
    """
    hooks = {name: HOOKS.build(hook, where=f'hooks.{name}') for name, hook in (cfg or {}).items() if hook is not None}
    for name, hook in hooks.items():
        if not isinstance(hook, Hook):
            raise InputError(f'`{type(hook).__name__}` is no hook. Derive it from mmengine.hooks.Hook.',
                             f'hooks.{name}')
    return hooks


def check_hooks(hooks: Mapping[str, Hook], task: Task) -> dict[str, Hook]:
    """Let hooks that have a `check` refuse the task.

    Returns:
        the hooks without those that watch an optional part (`part` of their class) that the task does not have.
    """
    absent = set(task.optional_parts) - set(task.parts)
    hooks = {name: hook for name, hook in hooks.items() if getattr(hook, 'part', None) not in absent}
    for name, hook in hooks.items():
        if hasattr(hook, 'check'):
            with at(f'hooks.{name}'):
                hook.check(task)
    return hooks


def build_schedules(cfg: Any, optimizers: OptimWrapperDict, optional: Sequence[str] = ()) -> dict[str, list] | None:
    """Build the learning-rate schedules, counted in iterations.

    Args:
        cfg: dict part -> config of a schedule, or list of them, or None; or one for all parts.
        optimizers: of the run.
        optional: parts that may be absent; their schedules are then left out.

    Returns:
        part -> list of schedules, or None where there are none.

    Raises:
        InputError: a schedule for a part that has no optimizer.
    """
    if not cfg:
        return None
    table = cfg if isinstance(cfg, dict) and 'type' not in cfg else {name: cfg for name in optimizers.keys()}
    table = {name: group for name, group in table.items()
             if group is not None and (name in optimizers or name not in optional)}
    for name in table:
        if name not in optimizers:
            raise InputError(f'there is a schedule for `{name}`, which has no optimizer.'
                             f'{closest(name, list(optimizers.keys()))}', 'param_scheduler')
    groups = {name: group if isinstance(group, (list, tuple)) else [group] for name, group in table.items()}
    return {name: [_build_schedule(one, optimizers[name], f'param_scheduler.{name}') for one in group]
            for name, group in groups.items()} or None


def _build_schedule(cfg: Any, optimizer: OptimWrapper, where: str) -> Any:
    check_value(cfg, Mapping[str, Any], where)
    if cfg.get('by_epoch'):
        raise InputError('schedules are counted in iterations; leave `by_epoch` out.', f'{where}.by_epoch')
    return SCHEDULES.build({**cfg, 'by_epoch': False}, where=where, optimizer=optimizer)


def build_ema(cfg: Mapping[str, Any] | None) -> WeightEMA | None:
    """Return the WeightEMA of `ema=dict(decay=...)`, or None."""
    if not cfg:
        return None
    with at('ema'):
        return call_checked(WeightEMA, dict(cfg), 'the average of the weights')
