"""Writes a token shard: whole or not at all, and the same bytes for the same rows.

Legend: N positions of an image, Q codes of a position (depths), E width of the embedding.
"""
from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dtbox.errors import InputError
from dtbox.files import explain_writing, replacing
from dtbox.token_shards.encodings import choose_encodings
from dtbox.token_shards.fingerprint import Fingerprint
from dtbox.token_shards.format import (
    COUNTS_KEY,
    META_KEY,
    ROW_GROUP,
    STATUS_BROKEN,
    STATUS_OK,
    SUFFIX,
    ShardMeta,
    make_schema,
    need_pyarrow,
    read_name,
    shard_name,
)
from dtbox.token_shards.packing import check_codes, pack_codes
from dtbox.token_shards.reading import read_meta
from dtbox.token_shards.seal import BLANK, SEAL_KEY, put_seal

if TYPE_CHECKING:
    import pyarrow

@dataclass
class Row:
    """One view of one image.

    Attributes:
        key: of the image in its input shard; it may repeat.
        index: place of the image in its input shard, from 0.
        image_hash: BLAKE2b of the file's bytes, 16 bytes; empty where these could not be read.
        width, height: of the image in pixels; 0 where that is not known.
        crop: (left, top, width, height) of the view in pixels of the image; None where there is no crop.
        flip: whether the view is mirrored.
        view: number of the view, from 0.
        texts: captions.
        status: `ok`, or `broken` where there are no codes.
        error: what is wrong with a broken image, a sentence.
        codes: stream -> integers [N, Q]; None for a broken image.
        embedding: [E], or None.
    """
    key: str
    index: int
    image_hash: bytes = b''
    width: int = 0
    height: int = 0
    crop: tuple[int, int, int, int] | None = None
    flip: bool = False
    view: int = 0
    texts: list[str] = field(default_factory=list)
    status: str = STATUS_OK
    error: str | None = None
    codes: dict[str, np.ndarray] | None = None
    embedding: np.ndarray | None = None

    def check(self, meta: ShardMeta) -> None:
        """Bring codes and embedding to the types of their columns; `InputError` for a row that a shard cannot hold."""
        who = f'image {self.index} ({self.key})'
        if self.status not in (STATUS_OK, STATUS_BROKEN) or (self.status == STATUS_OK) != (self.codes is not None):
            raise InputError(f'{who} has the status {self.status!r} and {"no " if self.codes is None else ""}codes; '
                             f'expected {STATUS_OK!r} with codes or {STATUS_BROKEN!r} without.')
        if self.codes is None:
            self.embedding = None
            return
        names = {stream.name for stream in meta.streams}
        if self.codes.keys() != names:
            raise InputError(f'{who} has codes of {", ".join(self.codes)}; the shard holds {", ".join(sorted(names))}.')
        self.codes = {stream.name: check_codes(self.codes[stream.name], stream, who) for stream in meta.streams}
        shape = None if self.embedding is None else np.shape(self.embedding)
        if shape != (None if meta.embedding is None else (meta.embedding,)):
            raise InputError(f'{who} has an embedding of the shape {shape}; the shard holds width {meta.embedding}.')


def _make_table(rows: list[Row], meta: ShardMeta, schema: pyarrow.Schema) -> pyarrow.Table:
    pa = need_pyarrow()
    plain: dict[str, list[Any]] = dict(
        key=[row.key for row in rows], source_shard=[meta.source] * len(rows),
        index_in_shard=[row.index for row in rows], image_hash=[row.image_hash or None for row in rows],
        width=[row.width or None for row in rows], height=[row.height or None for row in rows],
        crop=[None if row.crop is None else list(row.crop) for row in rows], flip=[row.flip for row in rows],
        view=[row.view for row in rows], texts=[row.texts for row in rows], status=[row.status for row in rows],
        error=[row.error for row in rows])
    columns = [pa.array(values, schema.field(name).type) for name, values in plain.items()]
    for stream in meta.streams:
        columns += pack_codes([None if row.codes is None else row.codes[stream.name] for row in rows], stream)
    if meta.embedding:
        columns.append(pa.array([None if row.embedding is None else np.asarray(row.embedding, np.float16)
                                 for row in rows], schema.field('embedding').type))
    return pa.Table.from_arrays(columns, schema=schema)


class _RowsFailed(Exception):
    """What the rows come from has raised its `__cause__`: not a fault of the folder that is written to."""


def _check_rows(rows: Iterable[Row], meta: ShardMeta, counts: Counter, keys: Counter) -> Iterator[Row]:
    try:
        for row in rows:
            row.check(meta)
            counts[row.status] += 1
            keys[row.key, row.view] += 1
            yield row
    except Exception as e:
        raise _RowsFailed from e


def _write(path: str, rows: Iterable[Row], meta: ShardMeta) -> None:
    import pyarrow.parquet as pq
    schema = make_schema(meta)
    counts, keys = Counter({STATUS_OK: 0, STATUS_BROKEN: 0}), Counter()
    checked = _check_rows(rows, meta, counts, keys)
    tables = (_make_table(group, meta, schema)
              for group in iter(lambda: list(itertools.islice(checked, ROW_GROUP)), []))
    first = next(tables, schema.empty_table())
    with open(path, 'wb') as file, pq.ParquetWriter(
            file, schema, write_statistics=['key', 'source_shard', 'index_in_shard', 'status'],
            **choose_encodings(first, meta)) as writer:
        for table in itertools.chain([first] if len(first) else [], tables):
            writer.write_table(table, row_group_size=ROW_GROUP)
        repeated = sorted({key for (key, _), count in keys.items() if count > 1})
        writer.add_key_value_metadata({
            META_KEY: meta.to_json(), COUNTS_KEY: json.dumps(dict(counts, repeated=repeated)), SEAL_KEY: BLANK})
    put_seal(path)


def write_shard(folder: str | os.PathLike, source: str, rows: Iterable[Row], meta: ShardMeta) -> Path:
    """Write the token shard of an input shard and return its path.

    The file appears under its name when it is whole and on the disk. Rows are taken from the iterable as they come, a
    row group at a time. Keys that repeat within one view stay apart, each in a row of its own; the footer names them.

    Args:
        folder: that exists, of shards of the same fingerprint.
        source: name of the input shard.
        rows: in the order of the input shard.
        meta: its `source` may be left empty.

    Raises:
        InputError: a row that the shard cannot hold, a folder that is gone or not to be written to or of another
            fingerprint.
        OSError: the disk is full.
    """
    folder = Path(folder)
    check_folder(folder, meta.fingerprint)
    path = folder / shard_name(source, meta.fingerprint)
    try:
        with explain_writing(path), _naming(path):
            with replacing(path, sweep=False) as temporary:  # `dtbox encode` sweeps when it starts
                _write(temporary, rows, replace(meta, source=source))
            sync_folder(folder)
    except _RowsFailed as e:
        assert e.__cause__ is not None
        raise e.__cause__
    return path


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Within the block, give the name of the shard to errors of the system that name its temporary file or none."""
    try:
        yield
    except OSError as e:
        e.filename = os.fspath(path)
        raise


def sync_folder(folder: Path) -> None:
    """Have the system write the names of a folder to the disk."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def check_folder(folder: str | os.PathLike, fingerprint: Fingerprint) -> None:
    """Raise `InputError` for a folder that is not there or that holds token shards of another fingerprint.

    Names are read, and one shard of another fingerprint for the message. Most names are those of the fingerprint, and
    quickly known by their end: a folder may hold 100,000.
    """
    own = f'-{fingerprint.digest[:8]}{SUFFIX}'
    try:
        names = [name for name in os.listdir(folder) if not name.endswith(own)]
    except OSError as e:
        raise InputError(f'the folder of token shards {folder} cannot be read ({e.strerror or e}). Make it, or give '
                         'another one.') from e
    for name in sorted(names):
        digits = read_name(name)
        if digits is not None and digits != fingerprint.digest[:8]:
            other = read_meta(Path(folder) / name).fingerprint
            raise InputError(f'{folder} holds shards of another fingerprint: that of {name} is {other.digest}, this '
                             f'one is {fingerprint.digest} ({fingerprint.explain(other)}). Give another folder.')
