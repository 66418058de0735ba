"""From a resolved config to the parts of a run: model, data, optimizers, schedules."""
import functools

import torch
from torch.utils.data import DataLoader

from dtbox import distributed
from dtbox.datasets import CursorBatchSampler, EvalSampler, collate
from dtbox.errors import InputError, closest
from dtbox.registry import DATASETS, MODELS
from dtbox.training.optim import build_optim_wrappers
from dtbox.training.task import Task


def build_parts(cfg, seed, training=True):
    """Build model, datasets and optimizers from a resolved config.

    Args:
        cfg: resolved Config.
        seed: of weights, data order and augmentation.
        training: build what training needs; otherwise model and held-out data alone.

    Returns:
        dict(model, train, val, metrics, optim); None for what the config leaves out.
    """
    check_required(cfg, ('model', 'train_dataloader', 'optim_wrapper', 'train_cfg') if training else ('model',))
    torch.manual_seed(seed)
    model = build_task(cfg, training)
    train = train_dataloader(cfg.train_dataloader, seed) if training else None
    optim = build_optim_wrappers(model.parts, cfg.optim_wrapper, model.optional_parts) if training else None
    return dict(model=model, train=train, optim=optim, metrics=dict(cfg.get('val_evaluator') or {}),
                val=val_dataloader(cfg.val_dataloader) if cfg.get('val_dataloader') else None)


def build_task(cfg, training=True):
    """Build the Task of a resolved config's `model`; for evaluation alone (not `training`) without what only training needs.

    Raises:
        InputError: what `model` names is not a Task.
    """
    drop = ()
    if not training:
        kind = cfg.model.get('type')
        drop = getattr(MODELS.get(kind) if isinstance(kind, str) else kind, 'training_only', ())
    task = MODELS.build({k: v for k, v in cfg.model.items() if k not in drop}, where='model', amp=cfg.get('amp'))
    if not isinstance(task, Task):
        raise InputError(f'`{type(task).__name__}` is not a Task, which the Runner trains. Derive it from dtbox.training.task.Task.', 'model')
    return task


def check_required(cfg, keys):
    """Raise `InputError` where a config misses one of the entries `keys` of a recipe."""
    for key in keys:
        if cfg.get(key) is None:
            raise InputError(f'the config has no `{key}`.{closest(key, cfg.keys())} It has: {", ".join(cfg.keys())}.')


def train_dataloader(cfg, seed):
    """Build the training DataLoader: dict(dataset, batch_size, num_workers, last); `last` as in CursorBatchSampler.

    `batch_size` is that of a process; `global_batch_size` in its place is that of all processes together.
    """
    cfg = dict(cfg)
    if cfg.get('global_batch_size') is not None:
        cfg['batch_size'] = divided(cfg.pop('global_batch_size'), distributed.get_world_size(), '`global_batch_size`')
    cfg.pop('global_batch_size', None)
    _check_loader(cfg, 'train_dataloader', ('last',))
    dataset = DATASETS.build(cfg['dataset'], where='train_dataloader.dataset')
    dataset.set_seed(seed)
    sampler = CursorBatchSampler(len(dataset), cfg['batch_size'], seed=seed, last=cfg.get('last', 'drop'),
                                 rank=distributed.get_rank(), world=distributed.get_world_size(),
                                 order=getattr(dataset, 'order', None))
    return DataLoader(dataset, batch_sampler=sampler, num_workers=cfg.get('num_workers', 0), collate_fn=collate,
                      generator=torch.Generator().manual_seed(seed))  # its own, so that starting workers moves no other random state


def divided(batch, world, what):
    """Return the samples of one of `world` processes of a global batch; `InputError` where they do not come out even."""
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise InputError(f'{what} is {batch!r}; expected a positive integer.', 'train_dataloader')
    if batch % world:
        fitting = [n for n in range(1, batch + 1) if batch % n == 0]
        near = sorted({max(n for n in fitting if n <= world), min(n for n in fitting if n >= min(world, batch))})
        raise InputError(f'{what} of {batch} cannot be divided among {world} processes. Start {" or ".join(map(str, near))} of them, or change the '
                         'batch.', 'train_dataloader')
    return batch // world


def val_dataloader(cfg):
    """Build the held-out DataLoader: dict(dataset, batch_size, num_workers), each sample once over all ranks."""
    _check_loader(cfg, 'val_dataloader')
    dataset = DATASETS.build(cfg['dataset'], where='val_dataloader.dataset')
    sampler = EvalSampler(len(dataset), rank=distributed.get_rank(), world=distributed.get_world_size())
    return DataLoader(dataset, batch_size=cfg['batch_size'], sampler=sampler, num_workers=cfg.get('num_workers', 0),
                      collate_fn=functools.partial(collate, with_texts=bool(getattr(dataset, 'metainfo', {}).get('texts'))))


def _check_loader(cfg, where, more=()):
    known = ('dataset', 'batch_size', *(('global_batch_size',) if more else ()), 'num_workers', *more)
    for key in cfg:
        if key not in known:
            raise InputError(f'there is no key `{key}`.{closest(key, known)} There are: {", ".join(known)}.', where)
    if not isinstance(cfg.get('batch_size'), int) or cfg['batch_size'] < 1:
        raise InputError(f'`batch_size` is {cfg.get("batch_size")!r}; expected a positive integer.', where)


def schedulers(cfg, optim, optional=()):
    """Return the schedulers' config as dict optimizer name -> list, counted in iterations; without those of `optional` parts that are absent."""
    if not cfg:
        return None
    table = cfg if isinstance(cfg, dict) and 'type' not in cfg else {name: cfg for name in optim}
    table = {name: group for name, group in table.items() if group is not None and (name in optim or name not in optional)}
    for name in table:
        if name not in optim:
            raise InputError(f'there is a schedule for `{name}`, which has no optimizer.{closest(name, list(optim.keys()))}', 'param_scheduler')
    return {name: [dict(by_epoch=False, **s) for s in (group if isinstance(group, (list, tuple)) else [group])]
            for name, group in table.items()}
