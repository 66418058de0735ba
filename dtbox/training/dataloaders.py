"""Data loaders from their configs: training batches that resume anywhere, held-out samples once over all ranks."""
from __future__ import annotations

import functools
from typing import Any, Mapping, Sequence

import torch
from torch.utils.data import DataLoader

from dtbox import distributed
from dtbox.datasets import CursorBatchSampler, EvalSampler, collate
from dtbox.errors import InputError, closest
from dtbox.processes import watch_parent
from dtbox.registry import DATASETS


def build_train_dataloader(cfg: Mapping[str, Any], seed: int) -> DataLoader:
    """Build the training DataLoader.

    Args:
        cfg: dict(dataset, batch_size, num_workers, last); `last` as in CursorBatchSampler. `batch_size` is that of a
            rank; `global_batch_size` in its place is that of all ranks together.
        seed: of data order and augmentation.
    """
    cfg = dict(cfg)
    if cfg.get('global_batch_size') is not None:
        whole = cfg.pop('global_batch_size')
        cfg['batch_size'] = divide_batch(whole, distributed.get_world_size(), '`global_batch_size`')
    cfg.pop('global_batch_size', None)
    _check(cfg, 'train_dataloader', ('last',))
    dataset = DATASETS.build(cfg['dataset'], where='train_dataloader.dataset')
    dataset.set_seed(seed)
    sampler = CursorBatchSampler(len(dataset), cfg['batch_size'], seed=seed, last=cfg.get('last', 'drop'),
                                 rank=distributed.get_rank(), world=distributed.get_world_size(),
                                 order=getattr(dataset, 'order', None))
    own = torch.Generator().manual_seed(seed)  # so that starting workers moves no other random state
    return DataLoader(dataset, batch_sampler=sampler, num_workers=cfg.get('num_workers', 0), collate_fn=collate,
                      generator=own, worker_init_fn=watch_parent)


def build_val_dataloader(cfg: Mapping[str, Any]) -> DataLoader:
    """Build the held-out DataLoader of dict(dataset, batch_size, num_workers): each sample once over all ranks."""
    _check(cfg, 'val_dataloader')
    dataset = DATASETS.build(cfg['dataset'], where='val_dataloader.dataset')
    sampler = EvalSampler(len(dataset), rank=distributed.get_rank(), world=distributed.get_world_size())
    with_texts = bool(getattr(dataset, 'metainfo', {}).get('texts'))
    return DataLoader(dataset, batch_size=cfg['batch_size'], sampler=sampler, num_workers=cfg.get('num_workers', 0),
                      collate_fn=functools.partial(collate, with_texts=with_texts), worker_init_fn=watch_parent)


def divide_batch(batch: int, world: int, what: str) -> int:
    """Return the samples of each of `world` ranks of a global batch.

    Args:
        batch: samples of all ranks.
        world: number of ranks.
        what: what the batch is called in a message.

    Raises:
        InputError: the samples do not divide evenly.
    """
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise InputError(f'{what} is {batch!r}; expected a positive integer.', 'train_dataloader')
    if batch % world:
        fitting = [n for n in range(1, batch + 1) if batch % n == 0]
        near = sorted({max(n for n in fitting if n <= world), min(n for n in fitting if n >= min(world, batch))})
        raise InputError(f'{what} of {batch} cannot be divided among {world} ranks. Start '
                         f'{" or ".join(map(str, near))} of them, or change the batch.', 'train_dataloader')
    return batch // world


def _check(cfg: Mapping[str, Any], where: str, more: Sequence[str] = ()) -> None:
    known = ('dataset', 'batch_size', *(('global_batch_size',) if more else ()), 'num_workers', *more)
    for key in cfg:
        if key not in known:
            raise InputError(f'there is no key `{key}`.{closest(key, known)} There are: {", ".join(known)}.', where)
    if not isinstance(cfg.get('batch_size'), int) or cfg['batch_size'] < 1:
        raise InputError(f'`batch_size` is {cfg.get("batch_size")!r}; expected a positive integer.', where)
