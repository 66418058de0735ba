"""Samplers with a place: training batches that resume at any iteration, and evaluation without padding."""
from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from dtbox.counts import format_count
from dtbox.errors import InputError


class CursorBatchSampler:
    """Endless batches of positions; iteration i is always the same batch, whatever was read before.

    Epoch e has an order of its own, drawn from (seed, e). Its k-th global batch is the k-th run of
    `batch_size * world` samples, of which rank r takes the r-th part: n ranks see what one rank with an n times larger
    batch sees. A position is `epoch * size + index` (see `PairDataset`).

    Args:
        size: number of samples of the dataset.
        batch_size: samples per batch and rank.
        seed: of the order, >= 0.
        shuffle: False keeps the order of the dataset.
        last: what becomes of samples that do not fill the last global batch of an epoch: 'drop' leaves them out,
            'carry' lets that batch continue with the next epoch's first samples, 'smaller' makes a smaller batch of
            them, in nearly equal parts for the ranks (a rank may get none). With the latter two each epoch holds every
            sample exactly once.
        rank, world: this rank and the number of ranks.
        cursor: iteration to start at. Set it (`sampler.cursor = i`) before iterating to resume.
        order: callable generator -> permutation of the indices [size]; None shuffles them all.

    Raises:
        InputError: fewer samples than a global batch, or a number out of range.
    """

    def __init__(self, size: int, batch_size: int, seed: int = 0, shuffle: bool = True, last: str = 'drop',
                 rank: int = 0, world: int = 1, cursor: int = 0,
                 order: Callable[[np.random.Generator], np.ndarray] | None = None):
        _at_least(1, size=size, batch_size=batch_size, world=world)
        _at_least(0, seed=seed, cursor=cursor)
        _check_rank(rank, world)
        if size < batch_size * world:
            ranks = f' on each of {format_count(world, "rank")}' if world > 1 else ''
            raise InputError(f'the dataset has {format_count(size, "sample")}, fewer than one batch of '
                             f'{batch_size}{ranks}. '
                             f'Lower the batch size to at most {size // world}, or add data.')
        if last not in ('drop', 'carry', 'smaller'):
            raise InputError(f"`last` is {last!r}; expected 'drop', 'carry' or 'smaller'.", 'last')
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.last = last
        self.rank = rank
        self.world = world
        self.cursor = cursor
        self.order = order
        self._orders: dict[int, np.ndarray] = {}  # of the last two epochs

    @property
    def iters_per_epoch(self) -> int:
        """Number of batches that one pass over the data takes; unless 'drop', rounded up."""
        full, rest = divmod(self.size, self.batch_size * self.world)
        return full + (rest > 0 and self.last != 'drop')

    def __len__(self):
        return self.iters_per_epoch

    def __iter__(self):
        return map(self.batch, itertools.count(self.cursor))

    def batch(self, iteration: int) -> list[int]:
        """Return the positions of this rank's batch of an iteration."""
        positions = []
        for epoch, k in self._places(iteration):
            if epoch not in self._orders:
                self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
                self._orders[epoch] = self._order(epoch)
            positions.append(epoch * self.size + int(self._orders[epoch][k]))
        return positions

    def _places(self, iteration):
        """Return (epoch, place in its order) of each sample of this rank's batch."""
        batch = self.batch_size * self.world
        if self.last == 'smaller':
            epoch, at = divmod(iteration, self.iters_per_epoch)
            count = min(batch, self.size - at * batch)
            part = range(count * self.rank // self.world, count * (self.rank + 1) // self.world)
            return [(epoch, at * batch + i) for i in part]
        length = self.size if self.last == 'carry' else self.size // batch * batch
        first = iteration * batch + self.rank * self.batch_size
        return [divmod(i, length) for i in range(first, first + self.batch_size)]

    def _order(self, epoch):
        if not self.shuffle:
            return np.arange(self.size)
        # numpy pads seeds with zeros: without the 1 this would be the generator of sample 0's augmentation
        rng = np.random.default_rng((self.seed, epoch, 0, 1))
        return rng.permutation(self.size) if self.order is None else self.order(rng)


class EvalSampler:
    """Each sample once over all ranks, in order, nothing padded: rank r reads the r-th of `world` nearly equal parts.

    Args:
        size: number of samples of the dataset, >= 0.
        rank, world: this rank and the number of ranks.
    """

    def __init__(self, size: int, rank: int = 0, world: int = 1):
        _at_least(0, size=size)
        _at_least(1, world=world)
        _check_rank(rank, world)
        self.indices = range(size * rank // world, size * (rank + 1) // world)

    def __len__(self):
        return len(self.indices)

    def __iter__(self):
        return iter(self.indices)


class EvalBatches:
    """Batches of an EvalSampler, in order; none holds samples from both sides of a boundary.

    Args:
        sampler: EvalSampler.
        batch_size: most samples of a batch.
        boundaries: indices at which a batch ends: where a dataset of several begins.
    """

    def __init__(self, sampler: EvalSampler, batch_size: int, boundaries: Sequence[int] = ()):
        _at_least(1, batch_size=batch_size)
        indices = sampler.indices
        ends = sorted({indices.start, *(b for b in boundaries if b in indices), indices.stop})
        self.batches = [list(range(first, min(first + batch_size, stop))) for start, stop in zip(ends, ends[1:])
                        for first in range(start, stop, batch_size)]

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


def order_in_windows(ends: np.ndarray, window: int, rng: np.random.Generator, size: int | None = None) -> np.ndarray:
    """Return a permutation of the indices [size] of samples that lie in shards: shards shuffled, then samples within
    windows of shards, so that reading stays in few files.

    Args:
        ends: int [shards], ascending: samples up to the end of each shard.
        window: shards whose samples are shuffled together.
        rng: generator.
        size: samples that count, the first ones; None for all.
    """
    starts, size = np.concatenate([[0], ends[:-1]]), int(ends[-1]) if size is None else size
    shards = rng.permutation(len(ends))
    parts = []
    for i in range(0, len(shards), window):
        members = np.concatenate([np.arange(starts[s], min(ends[s], size)) for s in shards[i:i + window]])
        parts.append(rng.permutation(members))
    return np.concatenate(parts)


def _at_least(lowest, **values):
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < lowest:
            raise InputError(f'`{name}` must be an int >= {lowest}, got {value!r}.')


def _check_rank(rank, world):
    if isinstance(rank, bool) or not isinstance(rank, (int, np.integer)) or not 0 <= rank < world:
        raise InputError(f'`rank` must be an int in [0, {world - 1}] for {format_count(world, "rank")}, got {rank!r}.')
