"""Samplers: resuming is exact, ranks cover everything once."""
from itertools import islice

import numpy as np
import pytest

from dtbox.datasets import CursorBatchSampler, EvalSampler
from dtbox.datasets.sampler import EvalBatches
from dtbox.errors import InputError


def first(n, *args, **kwargs):
    return list(islice(CursorBatchSampler(*args, **kwargs), n))


def test_an_epoch_holds_every_sample_once():
    batches = first(10, 20, 4, seed=5)
    for epoch in range(2):
        positions = sum(batches[epoch * 5:epoch * 5 + 5], [])
        assert sorted(positions) == list(range(epoch * 20, epoch * 20 + 20))
    assert [p % 20 for p in sum(batches[:5], [])] != [p % 20 for p in sum(batches[5:], [])]
    assert all(type(p) is int for p in batches[0])


def test_order_without_shuffle():
    assert first(3, 6, 3, shuffle=False) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


@pytest.mark.parametrize('cursor', [1, 4, 5, 13])
@pytest.mark.parametrize('last', ['drop', 'carry', 'smaller'])
def test_resumed_is_uninterrupted(cursor, last):
    whole = first(20, 22, 4, seed=2, last=last)
    assert first(20 - cursor, 22, 4, seed=2, last=last, cursor=cursor) == whole[cursor:]
    sampler = CursorBatchSampler(22, 4, seed=2, last=last)
    list(islice(sampler, 3))
    sampler.cursor = cursor
    assert list(islice(sampler, 20 - cursor)) == whole[cursor:]


def test_seeds_differ():
    assert first(2, 50, 8, seed=0) != first(2, 50, 8, seed=1)


@pytest.mark.parametrize('last', ['drop', 'carry', 'smaller'])
def test_ranks_equal_one_rank_with_a_larger_batch(last):
    one = first(9, 30, 8, seed=1, last=last)
    ranks = [first(9, 30, 2, seed=1, rank=r, world=4, last=last) for r in range(4)]
    assert [sum(parts, []) for parts in zip(*ranks)] == one


def test_what_becomes_of_the_last_samples():
    assert CursorBatchSampler(10, 4).iters_per_epoch == len(CursorBatchSampler(10, 4)) == 2
    kept = CursorBatchSampler(10, 4, shuffle=False, last='carry')
    assert kept.iters_per_epoch == 3 and list(islice(kept, 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13,
                                                                                                                14, 15]]
    assert CursorBatchSampler(8, 4, last='carry').iters_per_epoch == 2


@pytest.mark.parametrize('size, world', [(11, 3), (10, 4), (9, 4), (8, 4)])
def test_smaller_last_batches(size, world):
    """The samples that are left over are one more, smaller batch; the ranks' parts of it, some of them empty, are those
    of one process."""
    one = first(9, size, world * 2, seed=1, last='smaller')
    ranks = [first(9, size, 2, seed=1, rank=r, world=world, last='smaller') for r in range(world)]
    assert [sum(p, []) for p in zip(*ranks)] == one
    per = CursorBatchSampler(size, 2, world=world, last='smaller').iters_per_epoch
    assert per == -(-size // (world * 2)) and sorted(sum(one[:per], [])) == list(range(size))
    sizes = [len(rank[per - 1]) for rank in ranks]
    assert max(sizes) - min(sizes) <= 1 and sum(sizes) == (size - 1) % (world * 2) + 1


@pytest.mark.parametrize('world', [1, 2, 3])
def test_with_carry_each_epoch_holds_every_sample_once(world):
    batches = [first(23, 23, 7 - world, seed=3, rank=r, world=world, last='carry') for r in range(world)]
    seen = sorted(p for rank in batches for batch in rank for p in batch)
    whole = len(seen) // 23
    assert whole >= 4 and seen[:whole * 23] == list(range(whole * 23))


def test_an_order_of_ones_own():
    batches = first(4, 4, 2, seed=1, order=lambda rng: np.array([2, 0, 1, 3]) if rng.random() >= 0 else None)
    assert batches == [[2, 0], [1, 3], [6, 4], [5, 7]]
    drawn = first(6, 4, 2, seed=1, order=lambda rng: rng.permutation(4))
    assert drawn == first(6, 4, 2, seed=1)  # the generator is that of the epoch


@pytest.mark.parametrize('size', [0, 1, 7, 12, 577])
@pytest.mark.parametrize('world', [1, 2, 5])
def test_evaluation_covers_exactly(size, world):
    samplers = [EvalSampler(size, r, world) for r in range(world)]
    assert sum(map(list, samplers), []) == list(range(size)) and sum(map(len, samplers)) == size


@pytest.mark.parametrize('kwargs, words', [
     (dict(size=7, batch_size=8), 'has 7 samples, fewer than one batch of 8.* Lower the batch size to at most 7'),
     (dict(size=7, batch_size=2, world=4), 'on each of 4 ranks. Lower the batch size to at most 1'),
     (dict(size=8, batch_size=0), '`batch_size` must be an int >= 1, got 0'),
     (dict(size=8, batch_size=2, rank=1), r'\[0, 0\]'), (dict(size=8, batch_size=2, cursor=-1), '`cursor`'),
     (dict(size=8, batch_size=2, last='keep'), "`last` is 'keep'; expected 'drop', 'carry' or 'smaller'")])
def test_errors(kwargs, words):
    with pytest.raises(InputError, match=words):
        CursorBatchSampler(**kwargs)


def test_batches_of_an_evaluation():
    """In order, none over a boundary; every sample once over all ranks, also where a rank has none."""
    def batches(rank, world, *boundaries, size=10, batch=3):
        found = EvalBatches(EvalSampler(size, rank, world), batch, boundaries)
        assert len(found) == len(list(found))
        return list(found)
    assert batches(0, 1) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert batches(0, 1, 0, 4, 10) == [[0, 1, 2], [3], [4, 5, 6], [7, 8, 9]]
    assert batches(0, 2, 4) == [[0, 1, 2], [3], [4]] and batches(1, 2, 4) == [[5, 6, 7], [8, 9]]
    assert batches(0, 3, size=2) == [] and batches(0, 1, size=0) == []
    for world in range(1, 5):
        for cut in range(11):
            parts = [batch for rank in range(world) for batch in batches(rank, world, cut)]
            assert sum(parts, []) == list(range(10))
            assert not any(batch[0] < cut <= batch[-1] for batch in parts)
    with pytest.raises(InputError, match='`batch_size` must be an int >= 1, got 0'):
        EvalBatches(EvalSampler(3), 0)
