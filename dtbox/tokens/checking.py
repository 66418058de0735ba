"""Reads every byte of a folder of token shards and says what is wrong with it.

Legend: M images, N positions of an image, Q codes of a position (depths).
"""
from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.token_shards.fingerprint import Fingerprint
from dtbox.token_shards.format import STATUS_OK, ShardMeta, Stream, need_pyarrow, shard_name
from dtbox.token_shards.reading import REDO, TokenShard, list_shards, open_shard
from dtbox.tokens.repeated_keys import KeyTable
from dtbox.tokens.usage import CodeUsage


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        file: name of the shard.
        what: a sentence without a full stop.
        delete: whether the file is to be deleted; otherwise it is not there yet.
    """
    file: str
    what: str
    delete: bool = True


@dataclass
class FolderCheck:
    """What was found in a folder.

    Attributes:
        folder: of the shards.
        findings: what is wrong, by file.
        notes: what a user may want to know, sentences.
        meta: description of the shards; None where none can be read.
        images: name of a shard -> number of its images, those of sound shards alone.
        rows, broken, bytes: totals of sound shards.
        usage: of codes; None where there are none.
    """
    folder: Path
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    meta: ShardMeta | None = None
    images: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    broken: int = 0
    bytes: int = 0
    usage: CodeUsage | None = None

    @property
    def delete(self) -> list[str]:
        """Names of the files to delete, sorted."""
        return sorted({finding.file for finding in self.findings if finding.delete})

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def find(self, file: str, what: str, delete: bool = True) -> None:
        """Add a finding."""
        self.findings.append(Finding(file, what, delete))


def check_folder(folder: str | os.PathLike) -> FolderCheck:
    """Verify all token shards of a folder: footers, all checksums, one fingerprint, rows, ranges of codes, and keys.

    Raises:
        InputError: a folder that cannot be read, or without shards.
    """
    check = FolderCheck(Path(folder))
    paths = list_shards(folder)
    if not paths:
        raise InputError(f'{folder} holds no token shards; expected *.parquet files of `dtbox encode`.')
    need_pyarrow()
    prints = _read_fingerprints(check, paths)
    fingerprint = _check_fingerprints(check, prints)
    keys = KeyTable()
    for path in (path for path, value in prints.items() if value == fingerprint):
        shard = open_shard(path)
        check.meta = check.meta or shard.meta
        check.usage = check.usage or CodeUsage(shard.meta)
        try:
            _check_shard(check, shard, keys)
        except InputError as e:
            check.find(path.name, _shorten(e, path))
    check.notes += keys.tell()
    return check


def _read_fingerprints(check: FolderCheck, paths: Iterable[Path]) -> dict[Path, Fingerprint]:
    """Return the fingerprints of the shards whose footer and name are sound; the others are findings."""
    prints = {}
    known: dict[Fingerprint, Fingerprint] = {}
    for path in paths:
        try:
            shard = open_shard(path)
        except InputError as e:
            check.find(path.name, _shorten(e, path))
            continue
        wanted = shard_name(shard.meta.source, shard.meta.fingerprint)
        if path.name != wanted:
            check.find(path.name, f'its name is not that of what it holds, {wanted}: it was copied or renamed')
        else:
            prints[path] = known.setdefault(shard.meta.fingerprint, shard.meta.fingerprint)
    return prints


def _shorten(error: InputError, path: Path) -> str:
    """Return what is wrong with a file, without its name and what is to be done."""
    return error.message.removesuffix(REDO).removeprefix(f'{path} ').removeprefix(f'{path}: ').strip().rstrip('.')


def _check_fingerprints(check: FolderCheck, prints: Mapping[Path, Fingerprint]) -> Fingerprint | None:
    """Return the fingerprint that most shards have; the others are findings."""
    counts = Counter(prints.values())
    if not counts:
        return None
    fingerprint = max(counts, key=lambda key: (counts[key], key.digest))
    for path, value in prints.items():
        if value != fingerprint:
            check.find(path.name, f'it has another fingerprint than most shards ({value.explain(fingerprint)})')
    return fingerprint


def _check_shard(check: FolderCheck, shard: TokenShard, keys: KeyTable) -> None:
    """Check the content of a shard; `InputError` for what is wrong."""
    assert check.meta is not None and check.usage is not None
    for name in ('streams', 'layout', 'embedding'):
        if getattr(shard.meta, name) != getattr(check.meta, name):
            raise InputError(f'its {name} are others than those of the first shard')
    images = 0
    if shard.rows:
        images = _check_rows(shard)
        codes = [_read_codes(shard, stream) for stream in shard.meta.streams]
        _check_embedding(shard)
        for stream, value in zip(shard.meta.streams, codes):
            check.usage.add(stream, value, shard.column_bytes(stream.columns))
        keys.add(shard)
    else:
        shard.verify_all()
    check.images[shard.path.name] = images
    check.rows += shard.rows
    check.broken += shard.rows - shard.counts[STATUS_OK]
    check.bytes += shard.size


def _check_rows(shard: TokenShard) -> int:
    """Check all columns but the codes; returns the number of images."""
    if len(shard.ok) != shard.rows or shard.ok.sum() != shard.counts[STATUS_OK]:
        raise InputError(f'it has {format_count(len(shard.ok), "row")}, {shard.ok.sum():,} of them with codes; its '
                         f'footer says {shard.rows:,} and {shard.counts[STATUS_OK]:,}')
    if set(shard.column('source_shard').unique().to_pylist()) != {shard.meta.source}:
        raise InputError('its rows name another input shard than its footer')
    index, view = (shard.column(name).to_numpy(zero_copy_only=False) for name in ('index_in_shard', 'view'))
    images, views = int(index.max()) + 1, int(view.max()) + 1
    place = index * views + view
    if len(place) != images * views or (np.sort(place) != np.arange(len(place))).any():
        raise InputError(f'it has {format_count(len(place), "row")}; expected {format_count(images, "image")} once in '
                         f'each of {format_count(views, "view")}')
    for name, there in (('image_hash', shard.ok), ('error', ~shard.ok)):
        valid = shard.column(name).is_valid().to_numpy(zero_copy_only=False)
        if (there & ~valid).any():
            raise InputError(f'row {int(np.flatnonzero(there & ~valid)[0])} has no `{name}`')
    return images


def _read_codes(shard: TokenShard, stream: Stream) -> np.ndarray:
    """Return the codes of a stream, all in their range."""
    for name in stream.columns:
        valid = shard.column(name).is_valid().to_numpy(zero_copy_only=False)
        if (valid != shard.ok).any():
            row = int(np.flatnonzero(valid != shard.ok)[0])
            raise InputError(f'row {row} has {"" if valid[row] else "no "}codes in `{name}`, against its status')
    codes = shard.codes(stream.name)
    for depth, size in enumerate(stream.limits):
        top = int(codes[..., depth].max(initial=0))
        if top >= size:
            raise InputError(f'codes `{stream.name}` reach to {top} at depth {depth}, beyond a codebook of {size:,}')
    return codes


def _check_embedding(shard: TokenShard) -> None:
    if shard.meta.embedding is None:
        return
    column = shard.column('embedding')
    lengths = np.diff(column.offsets.to_numpy())[column.is_valid().to_numpy(zero_copy_only=False)]
    if len(lengths) != shard.ok.sum() or (lengths != shard.meta.embedding).any():
        raise InputError(f'it lacks embeddings, or some do not have the width {shard.meta.embedding}')
    if not np.isfinite(column.flatten().to_numpy(zero_copy_only=False)).all():
        raise InputError('it has embeddings that are not finite')
