"""Data loaders from their configs: training batches that resume anywhere, held-out samples once over all ranks."""
from __future__ import annotations

import functools
import re
from typing import Any, Iterator, Mapping

import torch
from torch.utils.data import DataLoader

from dtbox import distributed
from dtbox.config.schema import HeldOutLoader, TrainLoader
from dtbox.counts import format_count
from dtbox.datasets import CursorBatchSampler, EvalSampler, collate
from dtbox.datasets.sampler import EvalBatches
from dtbox.errors import DataError, InputError, at
from dtbox.processes import watch_parent
from dtbox.registry import DATASETS
from dtbox.structures import Batch
from dtbox.values import check_value

WORKER = re.compile(r'Caught (\w+) in DataLoader worker process')
"""How PyTorch begins what it says of an exception of a worker; the traceback follows."""
TOLD = ('InputError', 'BrokenSample')
"""Exceptions of a worker that are sentences for the user."""


class Loader(DataLoader):
    """PyTorch's DataLoader; a batch that cannot be read is one sentence, also where a worker reads it."""

    def __iter__(self) -> Iterator[Batch]:
        """Start the workers, and return an iterator over the batches, which raises `DataError` where one cannot be
        read."""
        return _tell_errors(super().__iter__())


def _tell_errors(batches: Iterator[Batch]) -> Iterator[Batch]:
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except Exception as e:
            raise DataError(tell_unread(e)) from e
        yield batch


def tell_unread(error: Exception) -> str:
    """Return what an error of a data loader says as one sentence, without the traceback that PyTorch puts around that
    of a worker."""
    text, worker = str(error), WORKER.match(str(error))
    kind = worker[1] if worker else type(error).__name__
    if worker:
        text = re.split(rf'^(?:[\w.]+\.)?{kind}: ', text, flags=re.MULTILINE)[-1].strip()
    elif isinstance(error, InputError):
        return text
    return text if kind in TOLD else f'a batch of the data cannot be read ({kind}: {text.strip()}).'


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
    return Loader(dataset, batch_sampler=sampler, num_workers=cfg.get('num_workers', 0),
                  collate_fn=getattr(dataset, 'collate', collate), generator=own, worker_init_fn=watch_parent)


def build_val_dataloader(cfg: Mapping[str, Any]) -> DataLoader:
    """Build the held-out DataLoader of dict(dataset, batch_size, num_workers): each sample once over all ranks."""
    check_value(cfg, HeldOutLoader, 'val_dataloader')
    dataset = DATASETS.build(cfg['dataset'], where='val_dataloader.dataset')
    sampler = EvalSampler(len(dataset), rank=distributed.get_rank(), world=distributed.get_world_size())
    with_texts = bool(getattr(dataset, 'metainfo', {}).get('texts'))
    how: dict[str, Any] = dict(batch_size=cfg['batch_size'], sampler=sampler)
    if getattr(dataset, 'boundaries', ()):
        how = dict(batch_sampler=EvalBatches(sampler, cfg['batch_size'], dataset.boundaries))
    return Loader(dataset, **how, num_workers=cfg.get('num_workers', 0),
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
        raise InputError(f'{what} of {batch} cannot be divided among {format_count(world, "rank")}. Start '
                         f'{" or ".join(map(str, near))} of them, or change the batch.', 'train_dataloader')
    return batch // world
