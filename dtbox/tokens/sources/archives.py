"""Input shards that hold many images in one file: WebDataset tars, videos; and parts of any other data set of dtbox."""
from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from dtbox.datasets.base import BrokenSample
from dtbox.datasets.shards import Shards
from dtbox.datasets.shards.places import Place, describe_beside, list_places
from dtbox.datasets.video import Video, number_frames
from dtbox.errors import InputError
from dtbox.registry import DATASETS
from dtbox.tokens.sources.base import (
    Decode,
    Found,
    Item,
    SourceShard,
    find_in_bytes,
    find_in_image,
    give,
    hash_head,
    hash_names,
    tell_flaws,
)
from dtbox.tokens.sources.files import FileEntry, FileList, make_key

RNG = np.random.default_rng(0)
"""Data sets whose samples are the same each time draw nothing from it."""


@dataclass(frozen=True)
class TarShard(SourceShard):
    """A WebDataset shard.

    Attributes:
        place: of the file, or the command that writes it.
    """
    place: Place

    def items(self) -> Iterator[Item]:
        """Yield an item a sample with an image, and one for each flaw that `Shards` tells of."""
        try:
            data = Shards(str(self.place), split='heldout', broken='skip', repeated='keep')
        except InputError as e:  # 'none of 1 shard can be used: ' and why
            raise InputError(e.message.partition(': ')[2] or e.message) from e
        for index in range(len(data)):
            key = f'{self.place.name}/{data.key(index).partition("/")[2]}'
            yield Item(key, index, partial(self._read, data, index))
        yield from tell_flaws(data.flaws, self.place.name, len(data), str(self.place))

    def _read(self, data: Shards, index: int, decode: Decode | None = None) -> Found:
        texts, error = [], None
        try:
            texts = data.texts_of(index)
        except BrokenSample as e:
            error = str(e).replace(str(self.place), self.place.name)
        return find_in_bytes(data.image_bytes(index), texts, error, decode)


@dataclass(frozen=True)
class VideoShard(SourceShard):
    """Frames of a video file. They are decoded one after the other, from the same first frame each time: where a codec
    finds a frame less exactly than it reads on, the results stay the same.

    Attributes:
        path: of the file.
        clip: name of the file, which begins the keys.
        first, stop: numbers of frames, after the stride.
        stride: every so many frames are taken.
    """
    path: str
    clip: str
    first: int
    stop: int
    stride: int = 1

    def items(self) -> Iterator[Item]:
        """Yield an item a frame."""
        video = Video(self.path, stride=self.stride)
        for index in range(self.first, self.stop):
            key = f'{self.clip}/{index * self.stride:06d}'
            try:
                found = find_in_image(video.sample(index, RNG)['image'])
            except BrokenSample as e:
                found = Found(None, error=str(e).replace(self.path, self.clip))
            yield Item(key, index - self.first, partial(give, found))

    def count(self) -> int:
        """Return the number of frames."""
        return self.stop - self.first


@dataclass(frozen=True)
class DatasetShard(SourceShard):
    """Samples of a data set that a config describes.

    Attributes:
        config: of the data set, without a pipeline.
        first, stop: positions.
    """
    config: Mapping[str, Any]
    first: int
    stop: int

    def items(self) -> Iterator[Item]:
        """Yield an item a sample."""
        data, lock = open_dataset(json.dumps(self.config)), threading.Lock()
        keys = getattr(data, 'keys', None)
        for index in range(self.first, self.stop):
            key = keys[index] if keys is not None else f'{index:09d}'
            yield Item(key, index - self.first, partial(self._read, data, index, lock))

    def count(self) -> int:
        """Return the number of samples."""
        return self.stop - self.first

    def _read(self, data: Any, index: int, lock: threading.Lock, decode: Decode | None = None) -> Found:
        try:
            with lock:  # a data set may keep files open, with one place each
                sample = data.sample(index, RNG)
        except BrokenSample as e:
            return Found(None, error=str(e))
        texts = list(sample.get('captions') or filter(None, [sample.get('text')]))
        return find_in_image(sample['image'], texts)


@lru_cache(maxsize=1)
def open_dataset(config: str) -> Any:
    """Return the data set of a config, given as JSON: the parts of one follow one another."""
    return DATASETS.build(json.loads(config))


def list_tars(pattern: str) -> tuple[list[TarShard], list[str]]:
    """Return (an input shard for each shard that a pattern names, see `list_places`; what lies beside them)."""
    places = list_places(pattern)
    names = [f'{place.name}-{hash_head(place.path) if place.path else hash_names([place.command])}' for place in places]
    return [TarShard(name, place) for name, place in zip(names, places)], describe_beside(pattern)


def list_videos(root: str, per: int, stride: int) -> tuple[list[VideoShard], list[FileList], list[str]]:
    """Return (input shards of video files, at most `per` frames each; folders of frames; what is left out and why)."""
    data = Video(root, stride=stride, broken='skip')
    shards: list[VideoShard] = []
    lists: list[FileList] = []
    starts = [0, *data.ends[:-1]]
    for (name, path, frames), first, end in zip(data.clips, starts, data.ends):
        name = make_key(name)
        if isinstance(frames, list):
            numbers = number_frames(frames)[::stride]
            lists.append(FileList(name, [FileEntry(f'{name}/{number:06d}', file)
                                         for number, file in zip(numbers, frames[::stride])]))
            continue
        digest = hash_head(path)
        shards += [VideoShard(f'{name}-{digest}-{stride}-{start:09d}', os.fspath(path), name, start,
                              min(start + per, end - first), stride) for start in range(0, end - first, per)]
    return shards, lists, [*data.notes, *data.flaws]


def cut_dataset(config: Mapping[str, Any], name: str, per: int) -> list[DatasetShard]:
    """Return the parts of a data set that a config describes.

    Args:
        config: of the data set; its pipeline and what it does with broken samples do not count.
        name: of the parts.
        per: samples of a part.

    Raises:
        InputError: data that cannot be opened, or are no images with texts.
    """
    config = json.loads(json.dumps({**config, 'pipeline': []}))
    data = open_dataset(json.dumps(config))
    if not hasattr(data, 'sample') or not hasattr(data, 'fingerprint'):
        raise InputError(f'{type(data).__name__} gives no single images, so it cannot be encoded. Take a data set of '
                         'images with or without texts.')
    name = f'{name}-{data.fingerprint()[:8]}'
    return [DatasetShard(f'{name}-{number:06d}', config, first, min(first + per, len(data)))
            for number, first in enumerate(range(0, len(data), per))]
