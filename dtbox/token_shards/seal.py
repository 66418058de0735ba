"""The seal of a token shard: hashes in its footer of all bytes of the file, so that a changed bit is noticed.

Parquet has checksums of the content of pages, and none of page headers and the footer. The footer of a shard holds a
hash of everything before the footer, and one of the footer itself with the seal left blank.
"""
from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from dtbox.errors import InputError

MAGIC = b'PAR1'
SEAL_KEY = 'dtbox.seal'
DIGITS = 32
BLANK = '0' * (2 * DIGITS)
"""The seal before the file is written: as long as the two hashes."""
TEXT = b'\x18'
"""Header of the field of a value in the footer's list of keys and values: field 2, a string (Thrift's compact form)."""
TAIL = 1 << 16
"""Bytes read at the end of a file at once; most footers fit in."""


def _hash(data: bytes | memoryview) -> str:
    return hashlib.blake2b(data, digest_size=DIGITS // 2).hexdigest()


def _hash_start(file: BinaryIO, length: int) -> str:
    """Return the hash of the first `length` bytes of an open file."""
    file.seek(0)
    digest, left = hashlib.blake2b(digest_size=DIGITS // 2), length
    while left and (block := file.read(min(left, 1 << 20))):
        digest.update(block)
        left -= len(block)
    return digest.hexdigest()


def find_value(footer: bytes, key: str) -> tuple[int, int]:
    """Return where the value of a key of the file lies in the bytes of its footer: (start, stop).

    Raises:
        InputError: the key is not there.
    """
    name = key.encode()
    start = footer.rfind(bytes([len(name)]) + name + TEXT)
    if start < 0:
        raise InputError(f'its footer has no entry `{key}`')
    at = start + 1 + len(name) + len(TEXT)
    length, shift = 0, 0
    while at < len(footer):
        byte = footer[at]
        length |= (byte & 0x7f) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            break
    return at, at + length


def read_footer(path: str | os.PathLike) -> bytes:
    """Return the footer of a shard: its last bytes, with length and magic number at the end; its seal is verified.

    Raises:
        InputError: the file is cut short, no Parquet file, not a token shard, or a bit of the footer has changed.
        OSError: it cannot be read.
    """
    with open(path, 'rb') as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        tail = file.read()
        if size < 12 or tail[-4:] != MAGIC:
            raise InputError('it is cut short, or not a Parquet file: it does not end with a footer')
        length = int.from_bytes(tail[-8:-4], 'little') + 8
        if length + len(MAGIC) > size:
            raise InputError('its footer is damaged')
        if length > len(tail):
            file.seek(size - length)
            tail = file.read()
    footer = tail[-length:]
    start, stop = find_value(footer, SEAL_KEY)
    blank = footer[:start] + BLANK.encode() + footer[stop:]
    if stop - start != len(BLANK) or _hash(blank) != footer[start + DIGITS:stop].decode('ascii', 'replace'):
        raise InputError('its footer is damaged: its hash is another one')
    return footer


def put_seal(path: str | os.PathLike) -> None:
    """Replace the blank seal in the footer of a file that is whole by the hashes."""
    with open(path, 'r+b') as file:
        size = file.seek(-8, os.SEEK_END) + 8
        length = int.from_bytes(file.read(4), 'little') + 8
        file.seek(size - length)
        footer = file.read()
        start, stop = find_value(footer, SEAL_KEY)
        assert footer[start:stop] == BLANK.encode(), 'the blank seal has another place than expected'
        before = _hash_start(file, size - length)
        file.seek(size - length + start)
        file.write((before + _hash(footer)).encode())


def is_intact(path: str | os.PathLike, footer: bytes) -> bool:
    """Return whether all bytes before the footer are those that were written."""
    start, _ = find_value(footer, SEAL_KEY)
    with open(path, 'rb') as file:
        return _hash_start(file, Path(path).stat().st_size - len(footer)) == footer[start:start + DIGITS].decode()
