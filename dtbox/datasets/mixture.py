"""Mixture: several datasets in one, and rules that say how many samples of each are in a batch."""
from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dtbox.counts import format_count
from dtbox.datasets.base import PairDataset
from dtbox.datasets.sampler import CursorBatchSampler
from dtbox.errors import InputError, at, closest
from dtbox.registry import DATASETS, MIXTURES


@MIXTURES.register_module()
class FixedCounts:
    """Every batch holds the same number of samples of each dataset, in the ratio of their weights.

    Under DDP every step then trains every part of the model.

    Args:
        weights: dataset -> weight > 0, None for one that a child config takes out; None weighs all the same.
    """

    def __init__(self, weights: Mapping[str, float | None] | None = None):
        self.weights = None if weights is None else {n: weight for n, weight in weights.items() if weight is not None}
        for name, weight in (self.weights or {}).items():
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < math.inf:
                raise InputError(f'the weight of `{name}` is {weight!r}; expected a number above 0. Leave the dataset '
                                 'out to go without it.', 'weights')

    def counts(self, names: Sequence[str], batch_size: int) -> list[int]:
        """Return how many samples of each dataset are in a batch of `batch_size`: the ratio of the weights, what is
        left by it going to the largest remainders.

        Raises:
            InputError: weights of other datasets, or a batch too small to hold one of each.
        """
        weights = dict.fromkeys(names, 1.0) if self.weights is None else self.weights
        for name in (*names, *weights):
            if name not in weights or name not in names:
                raise InputError(f'`weights` has {", ".join(weights)}; expected a weight of each dataset: '
                                 f'{", ".join(names)}.{closest(name, weights)}', 'weights')
        shares = [weights[name] / sum(weights.values()) * batch_size for name in names]
        counts = [int(share + 1e-9) for share in shares]
        for i in sorted(range(len(names)), key=lambda i: counts[i] - shares[i])[:batch_size - sum(counts)]:
            counts[i] += 1
        if not min(counts):
            raise InputError(f'a batch of {format_count(batch_size, "sample")} of a rank holds none of '
                             f'`{names[counts.index(0)]}` by '
                             'its weight. Raise the batch size or the weight.', 'weights')
        return counts


class MixtureSampler:
    """Endless batches of positions in a mixture; iteration i is always the same batch, whatever was read before.

    Each dataset is read in epochs of its own, by a `CursorBatchSampler`; its samples are spread evenly over a batch.

    Args:
        sizes: samples of each dataset; their positions follow one another.
        counts: samples of each in a batch of a rank.
        seed, last, rank, world, cursor: as in `CursorBatchSampler`; `last` is 'drop' or 'carry'.

    Raises:
        InputError: as CursorBatchSampler; last='smaller', whose batches differ in size.
    """

    def __init__(self, sizes: Mapping[str, int], counts: Sequence[int], seed: int = 0, last: str = 'drop',
                 rank: int = 0, world: int = 1, cursor: int = 0):
        if last == 'smaller':
            raise InputError("`last` is 'smaller'; a batch of a mixture always holds the same number of each dataset. "
                             "Set it to 'drop' or 'carry'.", 'last')
        self.samplers, self.cursor = [], cursor
        for number, ((name, size), count) in enumerate(zip(sizes.items(), counts)):
            # another order for each, so that two datasets of the same images do not show them together
            own = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
            with at(f'dataset.datasets.{name}'):
                self.samplers.append(CursorBatchSampler(size, count, own, last=last, rank=rank, world=world))
        self.size, self.batch_size = sum(sizes.values()), sum(counts)
        self.first = [0, *itertools.accumulate(sizes.values())]
        places = [((k + 0.5) / count, d, k) for d, count in enumerate(counts) for k in range(count)]
        self.slots = [(d, k) for _, d, k in sorted(places)]

    @property
    def iters_per_epoch(self) -> int:
        """Number of batches until every dataset was read once."""
        return max(sampler.iters_per_epoch for sampler in self.samplers)

    def __len__(self):
        return self.iters_per_epoch

    def __iter__(self):
        return map(self.batch, itertools.count(self.cursor))

    def batch(self, iteration: int) -> list[int]:
        """Return the positions of this rank's batch of an iteration."""
        drawn = [[self._shift(d, position) for position in sampler.batch(iteration)]
                 for d, sampler in enumerate(self.samplers)]
        return [drawn[d][k] for d, k in self.slots]

    def _shift(self, number, position):
        epoch, index = divmod(position, self.samplers[number].size)
        return epoch * self.size + self.first[number] + index


@DATASETS.register_module()
class Mixture(PairDataset):
    """Several datasets in one, all of images with texts or all of conversations. A batch holds what the rule says of
    each.

    The name of a dataset goes before the keys of its samples. The size is the sum of the sizes.

    Args:
        datasets: name -> config of a dataset, None for one that a child config takes out.
        rule: config of what divides a batch (`MIXTURES`), such as dict(type='FixedCounts', weights=dict(draw=1,
            read=1)); None is FixedCounts.
        seed: of all of them.
        separate_sets: put the name of a dataset after the names of its sets (`variants_draw`), so that each dataset is
            scored by itself; a dataset without sets is one, by its name.

    Raises:
        InputError: no dataset, or datasets whose samples do not go into one batch.
    """

    def __init__(self, datasets: Mapping[str, dict | None], rule: dict | None = None, seed: int = 0,
                 separate_sets: bool = False):
        self.separate_sets = separate_sets
        self.datasets: dict[str, Any] = {}
        super().__init__(seed=seed)
        datasets = {name: cfg for name, cfg in (datasets or {}).items() if cfg is not None}
        if not datasets:
            raise InputError('a mixture of no datasets; give at least one, by name.', 'datasets')
        self.datasets = {name: DATASETS.build(cfg, where=f'datasets.{name}') for name, cfg in datasets.items()}
        self.rule = MIXTURES.build(rule or dict(type='FixedCounts'), where='rule')
        collates = {getattr(dataset, 'collate', None) for dataset in self.datasets.values()}
        if len(collates) > 1:
            raise InputError(f'the samples of {", ".join(self.datasets)} do not go into one batch: some are '
                             'conversations, others are images with texts.', 'datasets')
        if collates != {None}:
            self.collate = collates.pop()
        self.first = [0, *itertools.accumulate(map(len, self.datasets.values()))]
        self.size, self.split = self.first[-1], self._join('split')[0]
        self.has_texts = any(self._join('has_texts'))
        self.notes = [note for notes in self._join('notes') for note in notes]
        self.flaws = [flaw for flaws in self._join('flaws') for flaw in flaws]
        self.set_seed(seed)

    def __getitem__(self, position):
        if position < 0:
            raise IndexError(f'position {position} of a dataset: epoch * size + index is never negative')
        epoch, index = divmod(int(position), len(self))
        number = bisect.bisect_right(self.first, index) - 1
        name, dataset = list(self.datasets.items())[number]
        item = dict(dataset[epoch * len(dataset) + index - self.first[number]])
        key = item['key'] = f'{name}/{item["key"]}'
        if 'conversation' in item:
            item['conversation'] = replace(item['conversation'], key=key)
        if self.separate_sets:
            item['set'] = self._name_set(item.get('set', ''), name)
        return dict(item, label=-1) if 'label' in item else item

    def set_seed(self, seed: int) -> None:
        """Set the seed of the augmentation of all datasets (an int >= 0)."""
        super().set_seed(seed)
        for dataset in self.datasets.values():
            dataset.set_seed(seed)

    def make_sampler(self, batch_size: int, seed: int = 0, last: str = 'drop', rank: int = 0,
                     world: int = 1) -> MixtureSampler:
        """Return the sampler of training batches of `batch_size` samples of a rank."""
        with at('dataset.rule'):
            counts = self.rule.counts(list(self.datasets), batch_size)
        return MixtureSampler({name: len(d) for name, d in self.datasets.items()}, counts, seed, last, rank, world)

    @property
    def pipeline(self) -> list:
        """The transforms of all datasets; setting it sets them for each."""
        return [step for steps in self._join('pipeline') for step in steps]

    @pipeline.setter
    def pipeline(self, steps: list) -> None:
        for dataset in self.datasets.values():
            dataset.pipeline = steps

    @property
    def broken(self) -> str:
        """What a broken sample does, 'error' where it does so in one of the datasets; setting it sets it for each."""
        return 'error' if 'error' in self._join('broken') else 'skip'

    @broken.setter
    def broken(self, value: str) -> None:
        for dataset in self.datasets.values():
            dataset.broken = value

    @property
    def keys(self) -> list[str]:
        """Keys of the samples, in order."""
        return [f'{name}/{key}' for name, dataset in self.datasets.items() for key in dataset.keys]

    @property
    def sets(self) -> list[str]:
        """Sets of the samples, in order. Those of a dataset without sets have '', or its name where sets are kept
        apart."""
        return [self._name_set(part, name) for name, dataset in self.datasets.items()
                for part in getattr(dataset, 'sets', None) or [''] * len(dataset)]

    def _name_set(self, part, name):
        return part if not self.separate_sets else f'{part}_{name}' if part else name

    @property
    def boundaries(self) -> list[int]:
        """First index of each dataset but the first: no batch of an evaluation holds samples of two datasets."""
        return self.first[1:-1]

    @property
    def texts(self) -> list[str]:
        """Every text of every dataset."""
        return [text for texts in self._join('texts') for text in texts]

    def contents(self) -> Iterator[str]:
        """Yield the name and the fingerprint of each dataset."""
        for name, dataset in self.datasets.items():
            yield f'{name} {dataset.fingerprint()}'

    def _join(self, name):
        return [getattr(dataset, name) for dataset in self.datasets.values()]
