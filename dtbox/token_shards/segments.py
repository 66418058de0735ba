"""A segment of the cache of token shards: the codes, keys and texts of some shards as flat files, to be memory-mapped.

Files, little-endian, a row for each row of the shards that has codes, shard after shard:

    codes_STREAM.bin        codes [rows, N, Q] in the type of the stream (uint16 up to 65,536 codes)
    index.bin, view.bin     `index_in_shard`, int64; `view`, int16
    hash.bin                first 8 bytes of `image_hash`, uint64
    keys.bin, keys_end.bin  UTF-8; where each ends, int64
    texts.bin, texts_end.bin  JSON lists; where each ends, int64
    segment.json            which shards these are, by name and seal; bytes and hash of each file

Legend: N positions of an image, Q codes of a position (depths).
"""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dtbox.checksums import compute_sha256
from dtbox.errors import InputError
from dtbox.files import apply_umask, explain_writing, in_use, parse_json
from dtbox.token_shards.fingerprint import Fingerprint
from dtbox.token_shards.format import STATUS_OK, ShardMeta, Stream
from dtbox.token_shards.reading import REDO, TokenShard, open_shard
from dtbox.token_shards.seal import SEAL_KEY, find_value, read_footer

VERSION = 1
DESCRIPTION = 'segment.json'
KINDS = {'index': '<i8', 'view': '<i2', 'hash': '<u8', 'keys_end': '<i8', 'texts_end': '<i8'}
"""Name of a file -> type of its numbers."""


@dataclass(frozen=True)
class CachedShard:
    """What a segment says of one of its shards.

    Attributes:
        name: of the file.
        seal: the hashes of all its bytes, from its footer.
        source: name of its input shard.
        rows: with codes; these are in the segment.
        broken: rows without codes.
        repeated: keys that come more than once in one view.
    """
    name: str
    seal: str
    source: str
    rows: int
    broken: int
    repeated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Segment:
    """A segment as its description says.

    Attributes:
        folder: of its files.
        meta: of its first shard; fingerprint and streams are those of all.
        shards: in the order of their rows.
        hashes: file -> (bytes, SHA-256 of its content).
    """
    folder: Path
    meta: ShardMeta
    shards: tuple[CachedShard, ...]
    hashes: dict[str, tuple[int, str]]

    def map(self, name: str, dtype: Any, shape: tuple[int, ...] = (-1,)) -> np.ndarray:
        """Return a file as a memory-mapped array; its size was checked when the segment was read."""
        path = self.folder / f'{name}.bin'
        if not self.hashes[f'{name}.bin'][0]:
            return np.empty(0, dtype).reshape(-1, *shape[1:]) if len(shape) > 1 else np.empty(0, dtype)
        try:
            return np.asarray(np.memmap(path, dtype, 'r')).reshape(shape)
        except (OSError, ValueError) as e:
            raise InputError(f'{path} of the cache cannot be read ({e}). Delete the folder {self.folder}; it is built '
                             'again.') from e

    def map_codes(self, stream: Stream) -> np.ndarray:
        """Return the codes [rows, N, Q] of a stream."""
        return self.map(f'codes_{stream.name}', stream.dtype.newbyteorder('<'), (-1, stream.positions, stream.depth))

    def verify(self) -> None:
        """Read every byte; `InputError` where a file is not the one that was written."""
        for name, (_, digest) in self.hashes.items():
            if compute_sha256(self.folder / name) != digest:
                raise InputError(f'{self.folder / name} of the cache is damaged: its bytes are not those that were '
                                 f'written. Delete the folder {self.folder}; it is built again.')


def read_seal(path: str | os.PathLike) -> str:
    """Return the seal of a token shard, which tells it from every other one; its footer is verified.

    Raises:
        InputError: a file that is not a whole token shard.
    """
    try:
        footer = read_footer(path)
    except (OSError, InputError) as e:
        why = (e.strerror or e) if isinstance(e, OSError) else e.message.rstrip('.')
        raise InputError(f'{path} is not a whole token shard: {why}. {REDO}') from e
    return footer[slice(*find_value(footer, SEAL_KEY))].decode('ascii')


def name_segment(shards: Sequence[tuple[str, str]]) -> str:
    """Return the name of the segment of some shards (name, seal)."""
    text = json.dumps([VERSION, *map(list, shards)])
    return f'segment-{hashlib.sha256(text.encode()).hexdigest()[:16]}'


def read_segment(folder: Path) -> Segment | None:
    """Return the segment of a folder; None where it is not whole, or of another version."""
    try:
        values = parse_json((folder / DESCRIPTION).read_bytes())
        if values['version'] != VERSION:
            return None
        hashes = {name: (int(size), str(digest)) for name, (size, digest) in values['files'].items()}
        if any((folder / name).stat().st_size != size for name, (size, _) in hashes.items()):
            return None
        shards = tuple(CachedShard(**{**shard, 'repeated': tuple(shard['repeated'])}) for shard in values['shards'])
        return Segment(folder, ShardMeta.from_json(json.dumps(values['meta'])), shards, hashes)
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None  # spoilt: it is built again


def build_segment(cache: Path, folder: Path, shards: Sequence[tuple[str, str]], fingerprint: Fingerprint) -> Path:
    """Write the segment of some shards, whole or not at all, and return its folder.

    Args:
        cache: folder of segments, which exists.
        folder: of the token shards.
        shards: (name, seal) of each; every byte of them is verified.
        fingerprint: that they must have.

    Raises:
        InputError: a shard that is damaged or of another fingerprint, a folder that cannot be written to.
        OSError: the disk is full.
    """
    target = cache / name_segment(shards)
    with explain_writing(cache):
        temporary = Path(tempfile.mkdtemp(prefix=f'.{target.name}.', suffix='.part', dir=cache))
        try:
            with in_use(temporary):
                _fill(temporary, folder, shards, fingerprint)
                apply_umask(temporary)
                if target.exists():  # not whole, or of another version
                    shutil.rmtree(target)
                os.rename(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def _fill(folder: Path, source: Path, shards: Sequence[tuple[str, str]], fingerprint: Fingerprint) -> None:
    cached, first = [], None
    with _Files(folder) as files:
        for name, seal in shards:
            shard = open_shard(source / name, fingerprint)
            first = first or shard.meta
            if shard.meta.streams != first.streams:
                raise InputError(f'{shard.path} has other streams than {shards[0][0]}, with the same fingerprint. '
                                 'Encode its input shard again.')
            _add(files, shard)
            if read_seal(shard.path) != seal:
                raise InputError(f'{shard.path} was replaced while it was cached. Start again when nothing writes to '
                                 f'{source}.')
            counts = dict(shard.counts)
            rows = counts.pop(STATUS_OK, 0)
            cached.append(CachedShard(name, seal, shard.meta.source, rows, sum(counts.values()),
                                      tuple(shard.repeated)))
    assert first is not None
    text = json.dumps(dict(version=VERSION, meta=json.loads(first.to_json()), files=files.hashes,
                           shards=[asdict(shard) for shard in cached]), sort_keys=True)
    with open(folder / DESCRIPTION, 'w', encoding='utf-8') as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _add(files: _Files, shard: TokenShard) -> None:
    """Append the rows of a shard that have codes."""
    ok = shard.ok
    for stream in shard.meta.streams:
        files.add(f'codes_{stream.name}', shard.codes(stream.name), stream.dtype.newbyteorder('<'))
    files.add('index', shard.column('index_in_shard').to_numpy(zero_copy_only=False)[ok], KINDS['index'])
    files.add('view', shard.column('view').to_numpy(zero_copy_only=False)[ok], KINDS['view'])
    hashes = [(value or b'').ljust(8, b'\0')[:8] for value, there in zip(shard.column('image_hash').to_pylist(), ok)
              if there]
    files.add('hash', np.frombuffer(b''.join(hashes), '<u8'), KINDS['hash'])
    files.add_texts('keys', [key.encode() for key, there in zip(shard.column('key').to_pylist(), ok) if there])
    files.add_texts('texts', [json.dumps(texts, ensure_ascii=False).encode()
                              for texts, there in zip(shard.column('texts').to_pylist(), ok) if there])


class _Files(contextlib.AbstractContextManager):
    """The files of a segment while they are written.

    Attributes:
        hashes: file -> (bytes, hash), once they are closed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open: dict[str, tuple[BinaryIO, Any]] = {}
        self.ends: dict[str, int] = {}
        self.hashes: dict[str, tuple[int, str]] = {}

    def add(self, name: str, values: np.ndarray, dtype: Any) -> None:
        """Append numbers."""
        self._write(name, np.ascontiguousarray(values, dtype).tobytes())

    def add_texts(self, name: str, texts: Sequence[bytes]) -> None:
        """Append texts and their ends."""
        ends = np.cumsum([0, *map(len, texts)])[1:] + self.ends.get(name, 0)
        self.ends[name] = int(ends[-1]) if len(ends) else self.ends.get(name, 0)
        self._write(name, b''.join(texts))
        self.add(f'{name}_end', ends, KINDS[f'{name}_end'])

    def _write(self, name: str, data: bytes) -> None:
        if name not in self.open:
            self.open[name] = open(self.folder / f'{name}.bin', 'wb'), hashlib.sha256()
        file, digest = self.open[name]
        file.write(data)
        digest.update(data)

    def __exit__(self, *_: Any) -> None:
        for name, (file, digest) in self.open.items():
            with file:
                file.flush()
                os.fsync(file.fileno())
                self.hashes[f'{name}.bin'] = file.tell(), digest.hexdigest()
