"""The contract of datasets finds what it looks for: for every check a dataset with one fault."""
import numpy as np
import pytest
from PIL import Image

from dtbox.datasets.base import PairDataset
from dtbox.testing import check_part
from tests.testing.broken_kit import Faults

FAULTS = Faults('dataset')
breaks = FAULTS.breaks


class Colours(PairDataset):
    """Twelve images of one colour each; the brightness is drawn."""
    classes, size = ('dark', 'light'), 12

    @property
    def keys(self):
        return [f'colour-{i}' for i in range(self.size)]

    def sample(self, index, rng):
        image = Image.new('RGB', (40, 40), (20 * index, int(rng.integers(256)), 0))
        return dict(image=image, text=f'colour {index}', label=index // 6, key=f'colour-{index}', set='all')


def test_a_sound_dataset_keeps_the_contract():
    check_part(dict(type=Colours))


@breaks('length')
class Endless(Colours):
    def __iter__(self):
        return (self[i] for i in range(len(self) + 1))


@breaks('items')
class NumbersAsKeys(Colours):
    def sample(self, index, rng):
        return {**super().sample(index, rng), 'key': index}


@breaks('batches')
class OwnSizes(Colours):
    """Images leave the pipeline in sizes of their own."""

    def __getitem__(self, position):
        item = super().__getitem__(position)
        return {**item, 'image': item['image'][:, :, :20 + position % 3]}


@breaks('seeded')
class GlobalRandomness(Colours):
    def sample(self, index, rng):
        return super().sample(index, np.random.default_rng(np.random.randint(1 << 30)))


@breaks('seeds')
class AnySeed(Colours):
    def set_seed(self, seed):
        self.seed = seed if isinstance(seed, int) and seed >= 0 else 0


@breaks('pickles')
class HoldsAFunction(Colours):
    def __init__(self, **args):
        super().__init__(**args)
        self.function = lambda: 1


@breaks('metainfo')
class LabelsBeyondTheClasses(Colours):
    classes = ('dark',)


@breaks('keys')
class EpochInTheKey(Colours):
    def __getitem__(self, position):
        return {**super().__getitem__(position), 'key': f'colour-{position}'}


@breaks('fingerprint')
class SeedInTheFingerprint(Colours):
    def contents(self):
        yield from super().contents()
        yield str(self.seed)


@pytest.mark.parametrize('check', FAULTS.checks)
def test_the_fault_is_found(check):
    FAULTS.require_found(check)
