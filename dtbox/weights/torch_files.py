"""Files of torch.save, read and compared with their checksums in one pass.

torch's files are zip archives with one stored record a storage and a CRC-32 of each, which torch.load does not
compare. Here the structure is read first, with tensors on the meta device; then threads read the records that the
tensors lie in, straight into their memory, and compute the CRC-32 of what has just been read. That takes no longer than
torch.load alone, which reads in one thread.
"""
from __future__ import annotations

import contextlib
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch

from dtbox.checksums import find_damage

BLOCK = 1 << 22
"""Bytes that are read at a time."""
THREADS = 4
"""That read at most."""
LOCAL_HEADER = struct.Struct('<26xHH')
"""Of a zip file, before each record: lengths of its name and of what follows the name."""


class Damaged(Exception):
    """A record does not match its checksum; `record` is its name."""

    def __init__(self, record: str) -> None:
        super().__init__(f'the record {record} does not match its checksum')
        self.record = record


class _Record(NamedTuple):
    """Name, size and CRC-32 of a stored record."""
    name: str
    size: int
    crc: int


def load_checked(path: str) -> Any:
    """Return the content of a file of torch.save on the CPU, every record of it compared with its checksum.

    Args:
        path: of the file; one of torch's older format has no checksums.

    Raises:
        Damaged: a record that does not match its checksum.
        InputError: compressed records.
        Exception: as torch.load(weights_only=True).
    """
    if not zipfile.is_zipfile(path):
        return torch.load(path, map_location='cpu', weights_only=True)
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    small = {info.filename.rpartition('/')[2] for info in infos if not _is_data(info.filename)}
    if (damage := find_damage(path, small)) is not None:
        raise Damaged(damage)
    records = _find_records(path, infos)
    content = load_structure(path)
    tensors = list(_find_tensors(content))
    if not all(map(_is_plain, tensors)):
        return _load_and_compare(path)
    sizes = {tensor.untyped_storage()._checkpoint_offset: tensor.untyped_storage().nbytes() for tensor in tensors}
    if any(offset not in records or records[offset].size != size for offset, size in sizes.items()):
        return _load_and_compare(path)  # which refuses tensors that are larger than their records
    storages = _read_records(path, records, sizes)

    def fill(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_meta:  # of a dict or list that stands in two places
            return tensor
        storage = storages[tensor.untyped_storage()._checkpoint_offset]
        return torch.empty(0, dtype=tensor.dtype).set_(storage, tensor.storage_offset(), tensor.shape, tensor.stride())
    return _replace(content, fill)


def load_structure(path: str) -> Any:
    """Return the content of a file of torch.save without values: its tensors are on the meta device. A file that was
    written by a machine with another order of bytes, or holds sparse tensors, is read whole.

    Args:
        path: of the file.

    Raises:
        Exception: as torch.load(weights_only=True).
    """
    with zipfile.ZipFile(path) as archive:
        orders = [archive.read(info) for info in archive.infolist()
                  if info.filename.endswith('/byteorder') and info.file_size < 20]
    if all(order == sys.byteorder.encode() for order in orders):  # else torch would swap bytes that are not there
        with contextlib.suppress(NotImplementedError):  # torch looks at the values of sparse tensors
            return torch.load(path, map_location='meta', weights_only=True, mmap=True)
    return torch.load(path, map_location='cpu', weights_only=True)


def _load_and_compare(path: str) -> Any:
    """What `load_checked` returns, read twice: for tensors that are not plain views of a record."""
    if (damage := find_damage(path)) is not None:
        raise Damaged(damage)
    return torch.load(path, map_location='cpu', weights_only=True)


def _is_data(name: str) -> bool:
    return name.rpartition('/')[0].rpartition('/')[2] == 'data'


def _is_plain(tensor: torch.Tensor) -> bool:
    return type(tensor) is torch.Tensor and tensor.is_meta and tensor.layout == torch.strided \
        and not tensor.is_quantized and not tensor.is_nested \
        and hasattr(tensor.untyped_storage(), '_checkpoint_offset')


def _find_tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors of dicts, lists and tuples."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _find_tensors(item)


def _replace(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Return dicts, lists and tuples with their tensors changed; dicts and lists are changed in place."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        for key, item in value.items():
            value[key] = _replace(item, change)
    elif isinstance(value, list):
        value[:] = [_replace(item, change) for item in value]
    elif type(value) is tuple:
        return tuple(_replace(item, change) for item in value)
    return value


def _find_records(path: str, infos: list[zipfile.ZipInfo]) -> dict[int, _Record]:
    """Return where the bytes of each data record begin -> the record."""
    found = {}
    with open(path, 'rb', buffering=0) as file:
        for info in infos:
            if _is_data(info.filename):
                file.seek(info.header_offset)
                header = file.read(LOCAL_HEADER.size)
                if len(header) < LOCAL_HEADER.size:
                    raise Damaged(info.filename)
                begin = info.header_offset + LOCAL_HEADER.size + sum(LOCAL_HEADER.unpack(header))
                found[begin] = _Record(info.filename, info.file_size, info.CRC)
    return found


def _read_records(path: str, records: dict[int, _Record], wanted: Container[int]) -> dict[int, torch.UntypedStorage]:
    """Read all records and compare each with its CRC-32; returns those of the wanted offsets."""
    def read(offset: int) -> torch.UntypedStorage | None:
        record = records[offset]
        storage = torch.UntypedStorage(record.size if offset in wanted else min(BLOCK, record.size))
        memory = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
        crc, done = 0, 0
        with open(path, 'rb', buffering=0) as file:
            file.seek(offset)
            while done < record.size:
                start = done if offset in wanted else 0
                part = memoryview(memory[start:start + min(BLOCK, record.size - done)])
                count = file.readinto(part)
                if not count:
                    raise Damaged(record.name)
                crc, done = zlib.crc32(part[:count], crc), done + count
        if crc != record.crc:
            raise Damaged(record.name)
        return storage if offset in wanted else None

    order = sorted(records, key=lambda offset: -records[offset].size)
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        return {offset: storage for offset, storage in zip(order, pool.map(read, order)) if storage is not None}
