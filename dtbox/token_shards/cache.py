"""A memory-mapped cache of token shards: the codes of any rows in any order, at the speed of memory.

It is built once from the shards, every byte of which is verified, and opened ever after: a shard counts as cached by
its name and its seal, the hashes of all its bytes in its footer. Shards that are added or replaced are cached in a
further segment; the order of rows is that of the sorted names, whatever was cached first.

Legend: R rows with codes, N positions of an image, Q codes of a position (depths).
"""
from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dtbox.errors import InputError
from dtbox.files import explain_writing, remove_leftovers
from dtbox.locks import one_at_a_time
from dtbox.token_shards.fingerprint import Fingerprint
from dtbox.token_shards.format import Stream
from dtbox.token_shards.reading import list_shards, read_meta
from dtbox.token_shards.segments import KINDS, CachedShard, Segment, build_segment, read_seal, read_segment

FOLDER = '.cache'
"""Name of the cache in the folder of the shards; readers of Parquet folders pass over names that begin with a dot."""
SEGMENT = 256
"""Most shards of a segment: a build that is killed loses no more than one segment."""


class TokenCache:
    """The rows with codes of a folder of token shards; built where it is not there yet.

    Several processes may open it at once: one builds, the others wait for it.

    Args:
        folder: of the token shards.
        cache: folder of the cache; None takes `.cache` in `folder`.
        fingerprint: that the shards must have; None takes that of the first one.

    Attributes:
        meta: description of the first shard: fingerprint, streams, layout.
        shards: the shards in order.
        ends: int64 [shards], rows up to the end of each; broken images have no row.

    Raises:
        InputError: no shards, damaged ones or of several fingerprints, a cache that cannot be written.
    """

    def __init__(self, folder: str | os.PathLike, cache: str | os.PathLike | None = None,
                 fingerprint: Fingerprint | None = None) -> None:
        self.folder = Path(folder)
        self.cache = self.folder / FOLDER if cache is None else Path(cache)
        paths = list_shards(self.folder)
        if not paths:
            raise InputError(f'{folder} holds no token shards; expected *.parquet files of `dtbox encode`.')
        wanted = [(path.name, read_seal(path)) for path in paths]
        first = read_meta(paths[0])
        if fingerprint is not None and first.fingerprint != fingerprint:
            raise InputError(f'{paths[0]} has the fingerprint {first.fingerprint.digest}; expected '
                             f'{fingerprint.digest} ({first.fingerprint.explain(fingerprint)}). Its codes are those of '
                             'another tokenizer.')
        self.meta = first
        places = self._find(wanted)
        missing = [shard for shard in wanted if shard not in places]
        if missing:
            self._build(wanted)
            places = self._find(wanted)
        self.segments = list({id(segment): segment for segment, _ in places.values()}.values())
        self.shards: list[CachedShard] = []
        number = {id(segment): i for i, segment in enumerate(self.segments)}
        starts: dict[int, np.ndarray] = {id(segment): np.cumsum([0, *(shard.rows for shard in segment.shards)])
                                         for segment in self.segments}
        self._segment = np.array([number[id(places[shard][0])] for shard in wanted])
        self._start = np.array([starts[id(places[shard][0])][places[shard][1]] for shard in wanted])
        for shard in wanted:
            segment, place = places[shard]
            self.shards.append(segment.shards[place])
        self.ends = np.cumsum([shard.rows for shard in self.shards])
        self._maps: dict[str, list[np.ndarray]] = {}

    def _find(self, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[Segment, int]]:
        """Return (name, seal) -> (segment, number in it) of the shards that are cached."""
        wanted, places = set(wanted), {}
        for path in sorted(self.cache.glob('segment-*')) if self.cache.is_dir() else ():
            segment = read_segment(path)
            if segment is not None and segment.meta.fingerprint == self.meta.fingerprint:
                for number, shard in enumerate(segment.shards):
                    if (shard.name, shard.seal) in wanted:
                        places.setdefault((shard.name, shard.seal), (segment, number))
        return places

    def _build(self, wanted: Sequence[tuple[str, str]]) -> None:
        with explain_writing(self.cache):
            os.makedirs(self.cache, exist_ok=True)
            with one_at_a_time(self.cache):
                remove_leftovers(self.cache, re.compile(r'\.segment-\w+\.\w+\.part'))
                places = self._find(wanted)  # another process may have built it meanwhile
                missing = [shard for shard in wanted if shard not in places]
                for first in range(0, len(missing), SEGMENT):
                    build_segment(self.cache, self.folder, missing[first:first + SEGMENT], self.meta.fingerprint)

    def __len__(self) -> int:
        return int(self.ends[-1])

    @property
    def broken(self) -> int:
        """Rows of the shards that have no codes."""
        return sum(shard.broken for shard in self.shards)

    def stream(self, name: str) -> Stream:
        """Return the stream of a name; `InputError` where there is none."""
        return self.meta.stream(name)

    def read(self, stream: str, rows: Any) -> np.ndarray:
        """Return codes [M, N, Q] of some rows in their order, as a copy in the type of the stream.

        Args:
            stream: its name.
            rows: int [M] in [0, R); they may come in any order and repeat.
        """
        return self._gather(f'codes_{stream}', np.asarray(rows, np.int64))

    def numbers(self, name: str) -> np.ndarray:
        """Return `index`, `view` or `hash` [R] of all rows (see `segments`)."""
        maps = self._map(name)
        parts = [maps[s][start:start + shard.rows] for s, start, shard in zip(self._segment, self._start, self.shards)]
        return np.concatenate(parts)

    def number(self, name: str, row: int) -> int:
        """Return `index`, `view` or `hash` of one row."""
        return int(self._gather(name, np.array([row]))[0])

    def lengths_of_texts(self) -> np.ndarray:
        """Return the bytes of the texts of all rows as JSON, int64 [R]; 2 where a row has none."""
        maps, parts = self._map('texts_end'), []
        for number, start, shard in zip(self._segment, self._start, self.shards):
            before = maps[number][start - 1] if start else 0
            parts.append(np.diff(maps[number][start:start + shard.rows], prepend=before))
        return np.concatenate(parts)

    def key(self, row: int) -> str:
        """Return the key of a row; it may repeat."""
        return self._text('keys', row).decode()

    def keys(self) -> Iterator[str]:
        """Yield the keys of all rows."""
        maps, ends = self._map('keys'), self._map('keys_end')
        for number, start, shard in zip(self._segment, self._start, self.shards):
            before = int(ends[number][start - 1]) if start else 0
            own = (ends[number][start:start + shard.rows] - before).tolist()
            data = maps[number][before:before + own[-1]].tobytes() if own else b''
            for first, stop in zip([0, *own], own):
                yield data[first:stop].decode()

    def texts(self, row: int) -> list[str]:
        """Return the texts of a row."""
        return json.loads(self._text('texts', row))

    def find(self, row: int) -> int:
        """Return the number of the shard of a row."""
        if not 0 <= row < len(self):
            raise IndexError(f'row {row} of {len(self)}')
        return int(np.searchsorted(self.ends, row, side='right'))

    def verify(self) -> None:
        """Read every byte of the cache; `InputError` where one is not as it was written."""
        for segment in self.segments:
            segment.verify()

    def _text(self, name: str, row: int) -> bytes:
        shard = self.find(row)
        segment = self._segment[shard]
        at = row - self._first[shard] + self._start[shard]
        ends = self._map(f'{name}_end')[segment]
        return self._map(name)[segment][int(ends[at - 1]) if at else 0:int(ends[at])].tobytes()

    def _gather(self, name: str, rows: np.ndarray) -> np.ndarray:
        maps = self._map(name)
        if rows.size and not (0 <= rows.min() and rows.max() < len(self)):
            raise IndexError(f'rows from {rows.min()} to {rows.max()} of {len(self)}')
        shards = np.searchsorted(self.ends, rows, side='right')
        places = rows + self._shift[shards]
        if len(maps) == 1:
            return maps[0][places]
        found, own = np.empty((len(rows), *maps[0].shape[1:]), maps[0].dtype), self._segment[shards]
        for number in np.unique(own):
            found[own == number] = maps[number][places[own == number]]
        return found

    @cached_property
    def _first(self) -> np.ndarray:
        return self.ends - np.array([shard.rows for shard in self.shards])

    @cached_property
    def _shift(self) -> np.ndarray:
        return self._start - self._first

    def _map(self, name: str) -> list[np.ndarray]:
        if name not in self._maps:
            if name.startswith('codes_'):
                stream = self.stream(name.removeprefix('codes_'))
                self._maps[name] = [segment.map_codes(stream) for segment in self.segments]
            else:
                self._maps[name] = [segment.map(name, KINDS.get(name, np.uint8)) for segment in self.segments]
        return self._maps[name]

    def __getstate__(self) -> dict[str, Any]:
        """For workers: files are mapped anew there."""
        return dict(self.__dict__, _maps={})
