"""WebDataset shards as a data set of known size, read by position: exact epochs, exact resumption, on any number of
ranks and workers."""
from __future__ import annotations

import io
import logging
import os
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from mmengine.logging import print_log

from dtbox import distributed
from dtbox.counts import format_count
from dtbox.datasets.base import BrokenSample, PairDataset
from dtbox.datasets.left_out import describe_suffixes
from dtbox.datasets.read import read_image
from dtbox.datasets.sampler import order_in_windows
from dtbox.datasets.shards.fetch import ShardCache
from dtbox.datasets.shards.index import IMAGES, load_shard_index
from dtbox.datasets.shards.places import describe_beside, list_places
from dtbox.datasets.shards.samples import Sample, list_labels, read_captions, read_label
from dtbox.errors import InputError
from dtbox.registry import DATASETS

OPEN = 32
"""Shards that a process keeps open."""


@DATASETS.register_module()
class Shards(PairDataset):
    """Images with texts in WebDataset shards (CC12M, LAION and the like; https://github.com/webdataset/webdataset).

    Shards are indexed by their headers, once each (see `load_shard_index`), and samples are read by place: no sample
    comes twice or is lost in an epoch, whatever the number of ranks and workers, and a run resumes at any iteration
    without reading what went before. An epoch's order shuffles the shards, then the samples of `window` shards at a
    time, so that reading stays in few files (the chunked shuffle of webdataset's `wids`). A sample is KEY.jpg (or
    another kind of image that ImageFolder reads) with what `text` and `label` name; keys are SHARD/KEY. Members of
    other kinds are counted in `notes`.

    Broken shards (truncated, empty, not tar) and samples (no image, undecodable) are named in the log and left out with
    `broken='skip'`; what of a truncated shard is whole is used.

    Args:
        urls: the shards, see `list_places`.
        pipeline, seed: as in `PairDataset`.
        split: 'train' (one of several captions is drawn) or 'heldout' (all are kept).
        set: name of the set; None takes the split's.
        text: where captions are, first to last: 'txt' (a member, one caption) or 'json:KEY' (a string or a list in a
            JSON member); () for none.
        label: member with a class index, or None.
        classes: names of the classes by index, or None.
        window: shards whose samples are shuffled together.
        limit: take at most so many samples, the first ones; None for all.
        broken: 'skip' or 'error'.
        repeated: samples with an image whose key another one of their shard has: 'skip' takes the first one and names
            the others in `flaws`, 'keep' takes all and names them in `notes`.
        index: folder for the indices; None takes the user's cache.
        fetched: folder for shards that a pipe reads; None takes the system's temporary folder.
        keep: fetched shards kept at a time, at least `window`.

    Raises:
        InputError: no shards, none that can be read, or with broken='error' the first flaw.
    """

    def __init__(self, urls: str | Sequence[str], pipeline: Sequence = (), seed: int = 0, split: str = 'train',
                 set: str | None = None, text: str | Sequence[str] = ('txt', 'json:caption'), label: str | None = 'cls',
                 classes: Sequence[str] | None = None, window: int = 16, limit: int | None = None, broken: str = 'skip',
                 index: str | None = None, fetched: str | None = None, keep: int = 64, repeated: str = 'skip'):
        super().__init__(pipeline, seed, broken)
        if split not in ('train', 'heldout'):
            raise InputError(f"`split` is {split!r}; expected 'train' or 'heldout'.", 'split')
        if repeated not in ('skip', 'keep'):
            raise InputError(f"`repeated` is {repeated!r}; expected 'skip' or 'keep'.", 'repeated')
        self.repeated = repeated
        for name, value in (('window', window), ('limit', limit)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(f'`{name}` is {value!r}; expected an int >= 1.', name)
        if keep < window:
            raise InputError(f'`keep` is {keep}, less than the window of {format_count(window, "shard")} that are '
                             'read by turns.', 'keep')
        self.split = split
        self.part = set or split
        self.window = window
        self.text, self.label = tuple([text] if isinstance(text, str) else text), label
        for source in self.text:
            if source != 'txt' and not source.startswith('json:'):
                raise InputError(f"`text` names {source!r}; expected 'txt' or 'json:KEY'.", 'text')
        self.classes = tuple(classes or ())
        self.places = list_places(urls)
        self.note(*describe_beside(urls))
        self.index_folder = index
        self.cache = ShardCache(fetched, keep)
        self._indices = OrderedDict()
        self._files = OrderedDict()
        self._count(limit)
        flaws = f'; {format_count(len(self.flaws), "flaw")}' if self.flaws else ''
        print_log(f'Shards {self.part}: {format_count(self.size, "sample")} in '
                  f'{format_count(len(self.places), "shard")}{flaws}', 'current')

    def _count(self, limit):
        """Index every shard, each rank its part, and find where the samples of each begin."""
        rank, world = distributed.get_rank(), distributed.get_world_size()
        if world > 1:
            for place in self.places[rank::world]:
                try:
                    self._fresh(place)
                except InputError:
                    pass  # all ranks report it below
            distributed.barrier()
        sizes, kept = [], []
        kinds = set()
        unread = Counter()
        read = {source.partition(':')[0] for source in self.text} | {self.label}
        for place in self.places:
            try:
                index, flaws, notes = self._fresh(place)
            except InputError as e:
                self._flaw(str(e))
                continue
            for flaw in flaws:
                self._flaw(f'the shard {place}: {flaw}')
            self.note(*(f'the shard {place}: {note}' for note in notes))
            if len(index):
                kept.append(place)
                sizes.append(len(index))
                kinds.update(index.suffixes)
                unread += index.count_unread(IMAGES, read)
        if not kept:
            raise InputError(f'none of {format_count(len(self.places), "shard")} can be used: {self.flaws[0]}', 'urls')
        self.places, self.ends = kept, np.cumsum(sizes)
        named = ', '.join(f'.{suffix}' for suffix in sorted(filter(None, read)))
        self.note(*describe_suffixes(unread, f'those that are read (one image{named and ", "}{named})', what='member'))
        self.has_texts = any(source.partition(':')[0] in kinds for source in self.text)
        self.size = int(self.ends[-1]) if limit is None else min(limit, int(self.ends[-1]))

    def _fresh(self, place):
        """Return (index of the samples that are read, flaws, notes) of a shard."""
        index, without = load_shard_index(self.cache.file(place), self.index_folder).only(IMAGES)
        flaws, notes = list(index.flaws), []
        parted = sorted(set(without) & set(index.keys.tolist()))
        if parted:
            flaws.append(f'members of {format_count(len(parted), "sample")} come in two places, such as those of '
                         f'{", ".join(parted[:3])}: those apart from the image are left out; members of one sample '
                         'must follow one another')
        if without := [key for key in without if key not in parted]:
            flaws.append(f'{format_count(len(without), "sample", "has")} no image (.{", .".join(IMAGES)}), such as '
                         f'{", ".join(without[:3])}')
        repeats = index.find_repeats()
        if repeats.any():
            again = (f'{format_count(int(repeats.sum()), "sample", "has")} the key of an earlier one, such as '
                     f'{", ".join(index.keys[repeats][:3].tolist())}')
            if self.repeated == 'keep':
                notes.append(f'{again}; they are kept apart by their places')
            else:
                flaws.append(f'{again}; the later ones are left out')
                index = index.choose(~repeats)
        return index, flaws, notes

    def _flaw(self, sentence):
        if self.broken == 'error':
            raise InputError(f'{sentence} (broken=\'skip\' leaves it out)')
        self.flaws.append(sentence)
        if len(self.flaws) <= 10:
            print_log(f'Shards {self.part}: {sentence}', 'current', level=logging.WARNING)

    # ---- order and reading ------------------------------------------------------------------------------------

    def order(self, rng: np.random.Generator) -> np.ndarray:
        """Return a permutation of the indices [size] for one epoch: shards shuffled, then samples within windows of
        shards."""
        return order_in_windows(self.ends, self.window, rng, self.size)

    def where(self, index: int) -> tuple[int, int]:
        """Return (number of the shard, number of the sample in it)."""
        if not 0 <= index < self.size:
            raise IndexError(f'sample {index} of {self.size}')
        shard = int(np.searchsorted(self.ends, index, side='right'))
        return shard, int(index - (self.ends[shard - 1] if shard else 0))

    def key(self, index: int) -> str:
        """Return SHARD/KEY of the sample at `index`."""
        return self._find(index).key

    def image_bytes(self, index: int) -> bytes:
        """Return the file of the image of the sample at `index`."""
        sample = self._find(index)
        return sample.read(next(suffix for suffix in IMAGES if suffix in sample.members))

    def texts_of(self, index: int) -> list[str]:
        """Return the captions of the sample at `index`; `BrokenSample` where they cannot be read."""
        return read_captions(self._find(index), self.text)

    @cached_property
    def labels(self) -> np.ndarray:
        """Class index of each sample [size] int64, -1 for none and for one that cannot be read; no image is read."""
        return list_labels(map(self._find, range(self.size)), self.label, self.classes)

    def sample(self, index: int, rng: np.random.Generator) -> dict:
        """Return the sample at `index` as in `PairDataset.sample`."""
        sample = self._find(index)
        try:
            image = read_image(io.BytesIO(self.image_bytes(index)))
        except InputError as e:
            raise BrokenSample(sample.key, f'the image of sample {sample.key} in {sample.place} cannot be decoded: '
                                           f'{e}') from e
        return dict(image=image, captions=self.texts_of(index), label=read_label(sample, self.label, self.classes),
                    key=sample.key, set=self.part)

    def _find(self, index):
        shard, row = self.where(index)
        held = self._index(shard)
        place = self.places[shard]
        return Sample(f'{place.name}/{held.keys[row]}', place, held.members(row),
                      lambda member: self._bytes(shard, member))

    def _index(self, shard):
        return _recent(self._indices, shard, lambda: self._fresh(self.places[shard])[0])

    def _bytes(self, shard, place):
        file = _recent(self._files, shard, lambda: open(self.cache.file(self.places[shard]), 'rb', buffering=0))
        offset, size = place
        content = os.pread(file.fileno(), size, offset)
        if len(content) < size:
            raise InputError(f'the shard {self.places[shard]} has become shorter since it was indexed. Put it back, '
                             'then start again.')
        return content

    def __getstate__(self):
        """For workers: open files stay here."""
        return dict(self.__dict__, _indices=OrderedDict(), _files=OrderedDict())

    def contents(self) -> Iterator[str]:
        """Yield names and sizes of the shards."""
        for place, end in zip(self.places, self.ends):
            yield f'{place.name} {end} {os.path.getsize(place.path) if place.path else place.command}'


def _recent(table, key, make):
    """Return table[key], made where it is missing; the table keeps the OPEN entries used last."""
    if key not in table:
        table[key] = make()
        if len(table) > OPEN:
            gone = table.popitem(last=False)[1]
            if hasattr(gone, 'close'):
                gone.close()
    table.move_to_end(key)
    return table[key]
