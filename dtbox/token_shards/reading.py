"""Reads token shards: a file, a folder of them, with their fingerprint and checksums verified.

Legend: M images, N positions of an image, Q codes of a position (depths).
"""
from __future__ import annotations

import json
import os
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.token_shards.fingerprint import Fingerprint
from dtbox.token_shards.format import COUNTS_KEY, META_KEY, ROW_GROUP, STATUS_OK, ShardMeta, need_pyarrow, read_name
from dtbox.token_shards.packing import unpack_codes
from dtbox.token_shards.seal import SEAL_KEY, find_value, is_intact, read_footer

if TYPE_CHECKING:
    import pyarrow

REDO = 'Delete it and encode its input shard again.'


class TokenShard:
    """An opened token shard. Its footer is verified when it is opened; the rest when a column is first read.

    Args:
        path: of the file.
        verify: whether to verify all checksums before anything is read.

    Attributes:
        meta: its description.
        rows: number of its rows, broken images included.
        counts: status -> number of rows.
        repeated: keys that come more than once in one view.
        seal: hashes of all bytes of the file, 64 hex digits: two shards of one seal are the same.

    Raises:
        InputError: a file that is cut short, damaged, or not a token shard.
    """

    def __init__(self, path: str | os.PathLike, verify: bool = True) -> None:
        self.path, self.verify = Path(path), verify
        try:
            self._footer = read_footer(path)
            self.meta = ShardMeta.from_json(self._value(META_KEY))
            counts = json.loads(self._value(COUNTS_KEY))
        except (OSError, InputError) as e:
            why = (e.strerror or e) if isinstance(e, OSError) else e.message.rstrip('.')
            raise InputError(f'{path} is not a whole token shard: {why}. {REDO}') from e
        self.repeated: list[str] = counts.pop('repeated')
        self.counts: dict[str, int] = counts
        self.rows = sum(counts.values())
        self.seal = self._value(SEAL_KEY).decode()

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size

    def _value(self, key: str) -> bytes:
        return self._footer[slice(*find_value(self._footer, key))]

    @cached_property
    def file(self) -> pyarrow.parquet.ParquetFile:
        """The file as pyarrow opens it, its bytes verified."""
        need_pyarrow()
        import pyarrow.parquet as pq
        if self.verify:
            self.verify_all()
        try:
            return pq.ParquetFile(self.path, page_checksum_verification=self.verify)
        except OSError as e:
            raise InputError(f'{self.path} cannot be read ({str(e).splitlines()[0]}). {REDO}') from e

    def verify_all(self) -> None:
        """Raise `InputError` where a byte of the file is not the one that was written."""
        try:
            intact = is_intact(self.path, self._footer)
        except OSError as e:
            raise InputError(f'{self.path} cannot be read ({e.strerror or e}). {REDO}') from e
        if not intact:
            raise InputError(f'{self.path} is damaged: its bytes are not those that were written. {REDO}')

    def column_bytes(self, names: Collection[str]) -> int:
        """Return the bytes that some columns take in the file."""
        groups = self.file.metadata
        columns = (groups.row_group(group).column(place) for group in range(groups.num_row_groups)
                   for place in range(groups.num_columns))
        return sum(column.total_compressed_size for column in columns
                   if column.path_in_schema.partition('.')[0] in names)

    def column(self, name: str, rows: slice = slice(None)) -> pyarrow.Array:
        """Return a column, one entry a row; of some rows, only their row groups are read.

        Raises:
            InputError: no column of that name, damaged pages.
        """
        import pyarrow as pa
        known = self.file.schema_arrow.names
        if name not in known:
            raise InputError(f'there is no column `{name}` in {self.path}; there are: {", ".join(known)}.')
        try:
            start, stop, step = rows.indices(self.rows)
            if step != 1:
                start, stop = 0, self.rows
            groups = range(start // ROW_GROUP, -(-stop // ROW_GROUP)) if start < stop else range(0)
            chunks = self.file.read_row_groups(list(groups), [name], use_threads=False).column(0)
        except (OSError, pa.ArrowException) as e:
            raise InputError(f'the column `{name}` of {self.path} is damaged ({str(e).splitlines()[0]}). {REDO}') from e
        array = chunks.chunk(0) if chunks.num_chunks == 1 else pa.concat_arrays(
            chunks.chunks or [pa.array([], chunks.type)])
        return array[rows] if step != 1 else array[start - groups.start * ROW_GROUP:][:max(0, stop - start)]

    @cached_property
    def ok(self) -> np.ndarray:
        """bool [rows]: which rows have codes."""
        import pyarrow.compute as pc
        return pc.equal(self.column('status'), STATUS_OK).to_numpy(zero_copy_only=False).astype(bool)

    def codes(self, stream: str, rows: slice = slice(None)) -> np.ndarray:
        """Return codes [M, N, Q] of the rows with codes (`ok` says which these are), as uint16, uint32 or uint64.

        Args:
            stream: its name.
            rows: which rows of the shard to read; of these, broken ones are left out.

        Raises:
            InputError: no such stream, damaged pages.
        """
        kind = self.meta.stream(stream)
        try:
            return unpack_codes([self.column(name, rows) for name in kind.columns], kind)
        except InputError as e:
            raise e if str(self.path) in e.message else InputError(f'{self.path}: {e.message}. {REDO}') from e

    def __repr__(self) -> str:
        return f'TokenShard({self.path}, {format_count(self.rows, "row")}, {self.meta.fingerprint.digest})'


def read_meta(path: str | os.PathLike) -> ShardMeta:
    """Return the description of a token shard."""
    return TokenShard(path).meta


def open_shard(path: str | os.PathLike, fingerprint: Fingerprint | None = None, verify: bool = True) -> TokenShard:
    """Open a token shard.

    Args:
        path: of the file.
        fingerprint: that it must have; None takes any.
        verify: whether to verify all bytes when a column is first read; the footer is always verified.

    Raises:
        InputError: a file that is cut short, damaged, not a token shard, or of another fingerprint.
    """
    shard = TokenShard(path, verify)
    if fingerprint is not None and shard.meta.fingerprint != fingerprint:
        raise InputError(f'{path} has the fingerprint {shard.meta.fingerprint.digest}; expected {fingerprint.digest} '
                         f'({shard.meta.fingerprint.explain(fingerprint)}). Its codes are those of another tokenizer.')
    return shard


def list_shards(folder: str | os.PathLike) -> list[Path]:
    """Return the token shards of a folder, sorted by name; files that are being written and others are left out.

    Raises:
        InputError: a folder that cannot be read.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError as e:
        raise InputError(f'the folder of token shards {folder} cannot be read ({e.strerror or e}).') from e
    return [Path(folder) / name for name in names if read_name(name)]


def open_folder(folder: str | os.PathLike, fingerprint: Fingerprint | None = None,
                verify: bool = True) -> list[TokenShard]:
    """Open all token shards of a folder, sorted by name.

    Args:
        folder: of `dtbox encode`.
        fingerprint: that they must have; None takes that of the first one.
        verify: as in `open_shard`.

    Raises:
        InputError: a folder without shards, damaged ones, or shards of several fingerprints.
    """
    paths = list_shards(folder)
    if not paths:
        raise InputError(f'{folder} holds no token shards; expected *.parquet files of `dtbox encode`.')
    shards = []
    for path in paths:
        shards.append(open_shard(path, fingerprint, verify))
        fingerprint = fingerprint or shards[0].meta.fingerprint
    return shards


def is_done(path: str | os.PathLike) -> bool:
    """Return whether a token shard is whole: it is there, and its footer is."""
    try:
        read_footer(path)
    except (OSError, InputError):
        return False
    return True
