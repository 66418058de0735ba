"""Whether a file holds what was written to it."""
from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING

from dtbox.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def find_damage(path: str | os.PathLike, names: Container[str] | None = None) -> str | None:
    """Return the name of a record of a zip file (as torch writes checkpoints) whose content does not match its CRC-32;
    None where all do, or the file is no zip.

    Args:
        path: of the file.
        names: last parts of the names of the records to check; None checks all.

    Raises:
        InputError: records that are compressed.
    """
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            if record.compress_type != zipfile.ZIP_STORED:
                raise InputError(f'{path} holds the compressed record {record.filename[:80]!r}, which may unpack to '
                                 'any size; torch writes none. Unpack and save it again, if you trust it.')
            if names is None or record.filename.rpartition('/')[2] in names:
                try:
                    with archive.open(record) as file:
                        while file.read(1 << 22):
                            pass
                except (zipfile.BadZipFile, zlib.error, EOFError):
                    return record.filename
    return None


def compute_sha256(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file's content, 64 hex digits: about half a second for each gigabyte."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def hash_tensors(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the names and values of tensors, 16 hex digits; the order of names does not matter."""
    import torch
    h = hashlib.sha256()
    for name, value in sorted(state.items()):
        h.update(name.encode())
        h.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return h.hexdigest()[:16]
