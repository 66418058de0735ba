"""Data loaders from their configs: training batches that resume anywhere, held-out samples once over all ranks."""
from __future__ import annotations

import functools
from typing import Any, Mapping

import torch
from torch.utils.data import DataLoader

from dtbox import distributed
from dtbox.config.schema import HeldOutLoader, TrainLoader
from dtbox.datasets import CursorBatchSampler, EvalSampler, collate
from dtbox.errors import InputError, at
from dtbox.processes import watch_parent
from dtbox.registry import DATASETS
from dtbox.values import check_value


def build_train_dataloader(cfg: Mapping[str, Any], seed: int) -> DataLoader:
    """Build the training DataLoader.

    A dataset may bring its own `collate(items)`, and `make_sampler(batch_size, seed, last, rank, world)` in the place
    of CursorBatchSampler.

    Args:
        cfg: dict(dataset, batch_size, num_workers, last); `last` as in CursorBatchSampler. `batch_size` is that of a
            rank; `global_batch_size` in its place is that of all ranks together.
        seed: of data order and augmentation.
    """
    check_value(cfg, TrainLoader, 'train_dataloader')
    batch, whole = cfg.get('batch_size'), cfg.get('global_batch_size')
    if whole is not None:
        batch = divide_batch(whole, distributed.get_world_size(), '`global_batch_size`')
    if batch is None:
        raise InputError('there is no `batch_size`; expected the number of samples of a rank, or `global_batch_size`, '
                         'that of all ranks.', 'train_dataloader')
    dataset = DATASETS.build(cfg['dataset'], where='train_dataloader.dataset')
    dataset.set_seed(seed)
    place = dict(seed=seed, last=cfg.get('last', 'drop'), rank=distributed.get_rank(),
                 world=distributed.get_world_size())
    if hasattr(dataset, 'make_sampler'):
        with at('train_dataloader'):
            sampler = dataset.make_sampler(batch, **place)
    else:
        sampler = CursorBatchSampler(len(dataset), batch, order=getattr(dataset, 'order', None), **place)
    own = torch.Generator().manual_seed(seed)  # so that starting workers moves no other random state
    return DataLoader(dataset, batch_sampler=sampler, num_workers=cfg.get('num_workers', 0),
                      collate_fn=getattr(dataset, 'collate', collate), generator=own, worker_init_fn=watch_parent)


def build_val_dataloader(cfg: Mapping[str, Any]) -> DataLoader:
    """Build the held-out DataLoader of dict(dataset, batch_size, num_workers): each sample once over all ranks."""
    check_value(cfg, HeldOutLoader, 'val_dataloader')
    dataset = DATASETS.build(cfg['dataset'], where='val_dataloader.dataset')
    sampler = EvalSampler(len(dataset), rank=distributed.get_rank(), world=distributed.get_world_size())
    with_texts = bool(getattr(dataset, 'metainfo', {}).get('texts'))
    return DataLoader(dataset, batch_size=cfg['batch_size'], sampler=sampler, num_workers=cfg.get('num_workers', 0),
                      collate_fn=getattr(dataset, 'collate', functools.partial(collate, with_texts=with_texts)),
                      worker_init_fn=watch_parent)


def divide_batch(batch: int, world: int, what: str) -> int:
    """Return the samples of each of `world` ranks of a global batch.

    Args:
        batch: samples of all ranks.
        world: number of ranks.
        what: what the batch is called in a message.

    Raises:
        InputError: the samples do not divide evenly.
    """
    if batch % world:
        fitting = [n for n in range(1, batch + 1) if batch % n == 0]
        near = sorted({max(n for n in fitting if n <= world), min(n for n in fitting if n >= min(world, batch))})
        raise InputError(f'{what} of {batch} cannot be divided among {world} ranks. Start '
                         f'{" or ".join(map(str, near))} of them, or change the batch.', 'train_dataloader')
    return batch // world
