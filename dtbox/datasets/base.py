"""What the datasets share: seeded access by position, and the pipeline."""
from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence

import numpy as np
from mmengine.logging import print_log
from torch.utils.data import Dataset

from dtbox.errors import InputError
from dtbox.registry import TRANSFORMS


class BrokenSample(InputError):
    """A sample that cannot be read.

    Args:
        key: of the sample.
        message: what is wrong with it.
    """

    def __init__(self, key: str, message: str):
        super().__init__(message)
        self.key = key

    def __reduce__(self):
        return type(self), (self.key, self.message)


class PairDataset(Dataset):
    """Images with texts, read by position.

    Samplers yield `position = epoch * len(dataset) + index`. Everything random about a sample is drawn from a generator
    seeded by (seed, epoch, index), so that it does not depend on workers, ranks, or what was read before.

    A concrete dataset sets `size`, `classes`, `has_texts` and writes `sample(index, rng)`. What it finds and does not
    use it tells `note`.

    Args:
        pipeline: transforms (configs or callables), applied in order to the sample's dict.
        seed: of the augmentation, >= 0.
        broken: what a `BrokenSample` does: 'error' stops, 'skip' leaves it out of its batch, named and counted.

    Attributes:
        example: constructor arguments of a small instance, for the contract suite; None where there is none.
        notes: sentences on what was found and is not used: how many, of which kind, and why.
        flaws: sentences on what should have been used and is broken.
    """
    example = None

    size = 0
    split = 'train'
    classes: Sequence[str] = ()
    has_texts = True

    def __init__(self, pipeline: Sequence = (), seed: int = 0, broken: str = 'error'):
        if broken not in ('error', 'skip'):
            raise InputError(f"`broken` is {broken!r}; expected 'error' or 'skip'.", 'broken')
        self.broken = broken
        self.notes: list[str] = []
        self.flaws: list[str] = []
        self.pipeline = [TRANSFORMS.build(step, where=f'pipeline.{i}') for i, step in enumerate(pipeline)]
        self.set_seed(seed)

    def sample(self, index: int, rng: np.random.Generator) -> dict:
        """Return the sample as dict(image=PIL image, text=str, label=int, key=str, set=str) before the pipeline.

        `text` is '' and `label` is -1 where the sample has none. Where an image has several captions, `captions` is the
        list of them: for training one is drawn as `text`, in evaluation `text` is the first and all count.

        Raises:
            BrokenSample: it cannot be read.
        """
        raise NotImplementedError

    def sample_of_epoch(self, epoch: int, index: int, rng: np.random.Generator) -> dict:
        """Return `sample(index, rng)`; a dataset whose samples differ from epoch to epoch writes this instead."""
        return self.sample(index, rng)

    @property
    def metainfo(self) -> dict:
        """dict(classes=tuple of class names, texts=whether samples have captions)."""
        return dict(classes=tuple(self.classes), texts=self.has_texts)

    def contents(self) -> Iterator:
        """Yield what tells these samples from others, as strings: their keys, sets and texts; a subclass may know more
        (sizes of files)."""
        for name in ('keys', 'sets', 'texts'):
            yield f'{name}:'
            yield from getattr(self, name, ())

    def fingerprint(self) -> str:
        """Return a hash (16 hex digits) of what this data set holds. Pixels are not read: an image that was replaced by
        one of the same name and size is not noticed."""
        h = hashlib.sha256(f'{type(self).__name__} {len(self)}'.encode())
        for line in (*self.classes, *self.contents()):
            h.update(str(line).encode('utf-8', 'surrogatepass') + b'\0')
        return h.hexdigest()[:16]

    def note(self, *sentences: str) -> None:
        """Note, and log, what was found and is not used; `dtbox check-data` and the results of an evaluation repeat
        it."""
        self.notes += sentences
        for sentence in sentences:
            print_log(f'{type(self).__name__}: {sentence}', 'current', level=logging.WARNING)

    def set_seed(self, seed: int) -> None:
        """Set the seed of the augmentation (an int >= 0)."""
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise InputError(f'`seed` of a dataset must be an int >= 0, got {seed!r}.')
        self.seed = int(seed)

    def __len__(self):
        return self.size

    def __iter__(self):
        """Iterate over epoch 0; without this, iteration would never end."""
        return (self[i] for i in range(len(self)))

    def __getitem__(self, position):
        if position < 0:
            raise IndexError(f'position {position} of a dataset: epoch * size + index is never negative')
        epoch, index = divmod(int(position), len(self))
        rng = np.random.default_rng((self.seed, epoch, index))
        try:
            results = dict(self.sample_of_epoch(epoch, index, rng), rng=rng)
        except BrokenSample as e:
            if self.broken == 'error':
                raise
            return dict(broken=str(e), key=e.key)
        return self.finish(results)

    def finish(self, results: dict) -> dict:
        """Return a sample, with its generator as `rng`, after the pipeline."""
        if 'captions' in results:
            results['text'] = pick_caption(results['captions'], results['rng'] if self.split == 'train' else None)
        for step in self.pipeline:
            results = step(results)
        return results


def hash_fraction(purpose: str, key: str) -> float:
    """Return a number in [0, 1) that depends on nothing but the two strings; what it is below is the same choice for
    ever."""
    return int(hashlib.sha1(f'{purpose}:{key}'.encode('utf-8', 'surrogatepass')).hexdigest()[:13], 16) / 16 ** 13


def check_limit(limit: int | None) -> None:
    """Raise InputError unless `limit`, the most images that a data set takes, is an int >= 1 or None."""
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise InputError(f'`limit` is the most images to take, an int >= 1 or None; got {limit!r}.', 'limit')


def choose_even_subset(labels: Sequence, limit: int | None = None) -> list[int]:
    """Return the indices of at most `limit` samples, ascending: the first of each class, then the second of each, and
    so on."""
    if limit is None or limit >= len(labels):
        return list(range(len(labels)))
    seen, ranked = {}, []
    for i, label in enumerate(labels):
        ranked.append((seen.get(label, 0), label, i))
        seen[label] = seen.get(label, 0) + 1
    return sorted(i for _, _, i in sorted(ranked)[:limit])


def pick_caption(captions: Sequence[str], rng: np.random.Generator | None = None) -> str:
    """Return one of `captions` at random, the first where `rng` is None, '' where there are none."""
    if not captions:
        return ''
    return captions[0] if rng is None or len(captions) == 1 else captions[int(rng.integers(len(captions)))]
