"""What a token shard is: a Parquet file with a row for each view of each image of one input shard.

Legend: N positions of an image, Q codes of a position (depths), K codebook size.
"""
from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dtbox.arguments import describe
from dtbox.errors import InputError, need_package
from dtbox.layout import CodeLayout
from dtbox.token_shards.fingerprint import Fingerprint

if TYPE_CHECKING:
    import pyarrow

FORMAT = 1
"""Version of the format; another number cannot be read by this code."""
ROW_GROUP = 4096
"""Rows of a row group."""
SUFFIX = '.parquet'
META_KEY = 'dtbox.tokens'
"""Key of the shard's description (`ShardMeta`, JSON) in the footer of the file."""
COUNTS_KEY = 'dtbox.counts'
"""Key of the numbers of rows by status, and of the keys that repeat."""
STATUS_OK = 'ok'
STATUS_BROKEN = 'broken'
GROUP_BITS = 16
"""Bits of each column of a stream whose codes do not fit into 32 bits."""


@dataclass(frozen=True)
class Stream:
    """Codes [N, Q] of an image.

    Attributes:
        name: of the stream.
        positions: N.
        depth: Q.
        size: codes lie in [0, size); the largest codebook where these differ.
        sizes: of each depth; empty where all have `size`.
    """
    name: str
    positions: int
    depth: int
    size: int
    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r'[\w-]+', self.name):
            raise InputError(f'a stream has the name {self.name!r}; expected letters, digits, `_` and `-`: it becomes '
                             'the name of a column.')
        numbers = (self.positions, self.depth, self.size, *self.sizes)
        if not all(type(number) is int and number > 0 for number in numbers) or self.size > 2 ** 63:
            raise InputError(f'the stream `{self.name}` has the sizes {numbers}; expected positive whole numbers, and '
                             'at most 2^63 codes.')
        if self.sizes and (len(self.sizes) != self.depth or max(self.sizes) != self.size):
            raise InputError(f'the stream `{self.name}` of {self.depth} depths has the codebooks {self.sizes}; '
                             f'expected one for each depth, the largest of {self.size}.')
        object.__setattr__(self, 'sizes', () if len(set(self.sizes)) < 2 else tuple(self.sizes))

    @property
    def limits(self) -> tuple[int, ...]:
        """Number of codes at each depth, Q of them."""
        return self.sizes or (self.size,) * self.depth

    @property
    def dtype(self) -> np.dtype:
        """Type of the codes in memory: uint16 up to 65,536 codes, uint32 up to 2^32, else uint64."""
        return np.dtype(np.uint16 if self.size <= 2 ** 16 else np.uint32 if self.size <= 2 ** 32 else np.uint64)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns: one, or one for each group of 16 bits (highest first) of codes beyond 32 bits."""
        if self.size <= 2 ** 32:
            return (f'codes_{self.name}',)
        groups = -(-(self.size - 1).bit_length() // GROUP_BITS)
        return tuple(f'codes_{self.name}_{group}' for group in range(groups))

    def to_dict(self) -> dict[str, Any]:
        """Return the stream as a plain dict."""
        return dict(name=self.name, positions=self.positions, depth=self.depth, size=self.size, sizes=list(self.sizes))


def make_streams(layout: CodeLayout) -> tuple[Stream, ...]:
    """Return the streams of a tokenizer's layout of codes.

    Raises:
        InputError: no stream, or a continuous one.
    """
    for stream in layout.streams:
        stream.need_codes()
    if not layout.streams:
        raise InputError('the tokenizer has no vocabularies, and so no codes to store. Take one with a quantizer.')
    return tuple(Stream(stream.name, stream.tokens, len(stream.sizes), max(stream.sizes), tuple(stream.sizes))
                 for stream in layout.streams)


@dataclass(frozen=True)
class ShardMeta:
    """What the footer of a token shard says of it.

    Attributes:
        fingerprint: of the tokenizer.
        streams: of codes, one or more.
        layout: `CodeLayout.to_dict()` of the tokenizer: where the tokens lie.
        source: name of the input shard.
        versions: package -> version that made the shard.
        embedding: width of the embeddings; None where there are none.
    """
    fingerprint: Fingerprint
    streams: tuple[Stream, ...]
    layout: dict = field(default_factory=dict)
    source: str = ''
    versions: dict = field(default_factory=dict)
    embedding: int | None = None

    def __post_init__(self) -> None:
        names = [stream.name for stream in self.streams]
        if not names or len(set(names)) < len(names):
            raise InputError(f'a token shard has the streams {names}; expected one or more of different names.')
        object.__setattr__(self, 'streams', tuple(self.streams))

    def stream(self, name: str) -> Stream:
        """Return the stream of a name; `InputError` where there is none."""
        for stream in self.streams:
            if stream.name == name:
                return stream
        raise InputError(f'there is no stream `{name}` in the token shards; there are: '
                         f'{", ".join(stream.name for stream in self.streams)}.')

    def to_json(self) -> str:
        """Return the description as JSON with sorted keys."""
        return json.dumps(dict(
            format=FORMAT, fingerprint=self.fingerprint.to_dict(), digest=self.fingerprint.digest, source=self.source,
            streams=[stream.to_dict() for stream in self.streams], layout=self.layout, order='position, depth',
            versions=self.versions, embedding=self.embedding), sort_keys=True)

    @staticmethod
    def from_json(text: str | bytes) -> ShardMeta:
        """Return the description that `to_json` wrote; `InputError` for another format or a damaged one."""
        try:
            values = json.loads(text)
            if values['format'] != FORMAT:
                raise InputError(f'its format is {describe(values["format"])}, and this version of dtbox reads '
                                 f'{FORMAT}. Read it with the version that wrote it.')
            fingerprint = Fingerprint.from_dict(values['fingerprint'])
            streams = tuple(Stream(**{**stream, 'sizes': tuple(stream['sizes'])}) for stream in values['streams'])
            same = {name: values[name] for name in ('layout', 'source', 'versions', 'embedding')}
        except (KeyError, TypeError, ValueError) as e:
            if isinstance(e, InputError):
                raise
            raise InputError(f'its description is damaged ({type(e).__name__}: {e}).') from e
        return ShardMeta(fingerprint, streams, **same)


def shard_name(source: str, fingerprint: Fingerprint) -> str:
    """Return the file name of the token shard of an input shard: a readable part, a hash of `source`, and the first 8
    digits of the fingerprint's digest."""
    readable = re.sub(r'[^A-Za-z0-9_.-]+', '_', re.sub(r'\.(tar|parquet)$', '', source.rstrip('/').rpartition('/')[2]))
    readable = readable.strip('._-')[:60] or 'shard'
    hashed = hashlib.sha256(source.encode('utf-8', 'surrogatepass')).hexdigest()[:8]
    return f'{readable}-{hashed}-{fingerprint.digest[:8]}{SUFFIX}'


def read_name(name: str) -> str | None:
    """Return the 8 digits of the fingerprint in the name of a token shard; None for another file."""
    match = re.fullmatch(r'[A-Za-z0-9].*-[0-9a-f]{8}-([0-9a-f]{8})\.parquet', name)
    return match[1] if match else None


def need_pyarrow() -> Any:
    """Return the package pyarrow; `InputError` that names the extra where it is missing."""
    return need_package('pyarrow', 'tokens', 'reading and writing token shards')


def make_schema(meta: ShardMeta) -> pyarrow.Schema:
    """Return the columns of a token shard, in order."""
    pa = need_pyarrow()
    columns = [
        ('key', pa.string(), False), ('source_shard', pa.string(), False), ('index_in_shard', pa.int64(), False),
        ('image_hash', pa.binary(16), True), ('width', pa.int32(), True), ('height', pa.int32(), True),
        ('crop', pa.list_(pa.int32()), True), ('flip', pa.bool_(), False), ('view', pa.int16(), False),
        ('texts', pa.list_(pa.string()), False), ('status', pa.string(), False), ('error', pa.string(), True)]
    for stream in meta.streams:
        kind = pa.uint32() if 2 ** 16 < stream.size <= 2 ** 32 else pa.uint16()
        columns += [(name, pa.list_(pa.field('element', kind, nullable=False)), True) for name in stream.columns]
    if meta.embedding:
        columns.append(('embedding', pa.list_(pa.field('element', pa.float16(), nullable=False)), True))
    return pa.schema([pa.field(name, kind, nullable) for name, kind, nullable in columns])
