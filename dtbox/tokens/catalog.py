"""The images of a folder of token shards, numbered through all shards; one shard is open at a time.

An image is one place of an input shard; its views are rows of their own. Rows are numbered from 0 over all shards,
which come in the order of their names.
"""
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dtbox.errors import InputError
from dtbox.token_shards.fingerprint import Fingerprint
from dtbox.token_shards.format import ShardMeta
from dtbox.token_shards.reading import TokenShard, list_shards, open_shard


@dataclass(frozen=True)
class Entry:
    """What a row says of its image: `row` over all shards, key, input shard, place in it, view, captions; `ok` where it
    has codes."""
    row: int
    key: str
    source: str
    index: int
    view: int
    texts: tuple[str, ...]
    ok: bool = True


class Catalog:
    """The token shards of a folder, of one fingerprint.

    Args:
        folder: of `dtbox encode`.
        fingerprint: that the shards must have; None takes that of the first one.
        verify: whether all bytes of a shard are verified before it is read.

    Attributes:
        meta: description of the first shard: streams, layout and fingerprint are those of all.
        paths: of the shards.
        starts: number of the first row of each shard, and the number of all rows at the end [S + 1].

    Raises:
        InputError: no shards, damaged ones, or several fingerprints.
    """

    def __init__(self, folder: str | os.PathLike, fingerprint: Fingerprint | None = None, verify: bool = True) -> None:
        self.folder, self.verify = os.fspath(folder), verify
        self.paths = list_shards(folder)
        if not self.paths:
            raise InputError(f'{folder} holds no token shards; expected *.parquet files of `dtbox encode`.')
        counts, fingerprints = [], [fingerprint] if fingerprint else []
        for path in self.paths:
            shard = open_shard(path, fingerprints[0] if fingerprints else None, verify=False)
            if not counts:
                self.meta: ShardMeta = shard.meta
                fingerprints = [shard.meta.fingerprint]
            counts.append(shard.rows)
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @property
    def rows(self) -> int:
        """Number of all rows, broken images included."""
        return int(self.starts[-1])

    def open(self, number: int) -> TokenShard:
        """Open a shard by its number. It is closed when nothing refers to it any more."""
        return open_shard(self.paths[number], self.meta.fingerprint, self.verify)

    def shards(self) -> Iterator[tuple[int, TokenShard]]:
        """Yield (number of its first row, shard) of every shard that has rows."""
        for number, start in enumerate(self.starts[:-1]):
            if self.starts[number + 1] > start:
                yield int(start), self.open(number)

    def find(self, rows: Sequence[int]) -> Iterator[tuple[TokenShard, np.ndarray, np.ndarray]]:
        """Yield (shard, places in `rows`, rows of that shard) of all shards that hold some of the rows."""
        wanted = np.asarray(rows, np.int64)
        numbers = np.searchsorted(self.starts, wanted, side='right') - 1
        for number in np.unique(numbers):
            places = np.flatnonzero(numbers == number)
            yield self.open(int(number)), places, wanted[places] - self.starts[number]

    def describe(self, rows: Sequence[int]) -> list[Entry]:
        """Return the entries of some rows, in their order."""
        entries: list[Entry | None] = [None] * len(rows)
        for shard, places, local in self.find(rows):
            columns = {name: shard.column(name).take(local).to_pylist()
                       for name in ('key', 'index_in_shard', 'view', 'texts')}
            for i, place in enumerate(places):
                entries[place] = Entry(int(rows[place]), columns['key'][i], shard.meta.source,
                                       columns['index_in_shard'][i], columns['view'][i], tuple(columns['texts'][i]),
                                       bool(shard.ok[local[i]]))
        return [entry for entry in entries if entry is not None]

    def read_codes(self, rows: Sequence[int], streams: Sequence[str]) -> dict[str, np.ndarray]:
        """Return stream -> codes [len(rows), N, Q] of some rows, in their order.

        Raises:
            InputError: a row without codes.
        """
        kinds = {name: self.meta.stream(name) for name in streams}
        codes = {name: np.zeros((len(rows), kind.positions, kind.depth), kind.dtype) for name, kind in kinds.items()}
        for shard, places, local in self.find(rows):
            if not shard.ok[local].all():
                raise InputError(f'row {local[~shard.ok[local]][0]} of {shard.path} is a broken image, without codes.')
            number = np.cumsum(shard.ok) - 1
            for name in streams:
                codes[name][places] = shard.codes(name)[number[local]]
        return codes


def first_views(shard: TokenShard, among: np.ndarray | None = None) -> np.ndarray:
    """Return the rows of a shard that are the first of their image, [n] int64 in order.

    Args:
        shard: opened.
        among: bool [rows], which rows count; None takes all.
    """
    rows = np.arange(shard.rows) if among is None else np.flatnonzero(among)
    images = shard.column('index_in_shard').to_numpy(zero_copy_only=False)[rows]
    return rows[np.sort(np.unique(images, return_index=True)[1])]
