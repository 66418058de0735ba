"""Records of equal size on disk, found by a key: what is computed once from an image and read ever after.

A folder holds, for each process that wrote, a file of records and a file of their keys (SHA-1 of the image's content,
so that nothing stale is ever read). A record counts once its key is whole, so that a killed process leaves no half of
one. Several processes may write at once.
"""
from __future__ import annotations

import hashlib
import os
import time
import uuid
import warnings
from typing import Sequence

from torch import Tensor

from dtbox.errors import InputError, Remark
from dtbox.files import is_disk_full

KEY = 20
"""Bytes of a key."""
LOOK = 30.0
"""Seconds after which a store looks again for what other processes have written."""


def hash_images(pixels: Tensor) -> list[bytes]:
    """Return the SHA-1 of each image of a batch [B,3,H,W]."""
    return [hashlib.sha1(p.numpy()).digest() for p in pixels.detach().cpu().contiguous()]


class RecordStore:
    """Records in a folder.

    Args:
        folder: made when it is first written to.
        size: bytes of a record.
        what: what the records are, for messages.
    """

    def __init__(self, folder: str, size: int, what: str) -> None:
        self.folder, self.size = folder, size
        self.what, self.full = what, False
        self.places: dict[bytes, tuple[str, int]] = {}
        self.seen: dict[str, int] = {}
        self.own: str | None = None
        self.looked: float | None = None

    def __contains__(self, key: bytes) -> bool:
        return key in self.places

    def look(self) -> None:
        """Find the keys that are on disk, unless that was done a moment ago."""
        if self.looked is not None and time.monotonic() - self.looked <= LOOK:
            return
        self.looked = time.monotonic()
        for file in sorted(os.listdir(self.folder)) if os.path.isdir(self.folder) else ():
            if file.endswith('.keys'):
                self._read_keys(os.path.join(self.folder, file[:-len('.keys')]))

    def _read_keys(self, stem: str) -> None:
        first = self.seen.get(stem, 0)
        with open(f'{stem}.keys', 'rb') as f:
            f.seek(first * KEY)
            new = f.read()
        count = len(new) // KEY
        for i in range(count):
            self.places.setdefault(new[i * KEY:(i + 1) * KEY], (stem, first + i))
        self.seen[stem] = first + count

    def read(self, key: bytes) -> bytes:
        """Return the record of a key that is there.

        Raises:
            InputError: a file that is shorter than its keys say.
        """
        stem, at = self.places[key]
        with open(f'{stem}.data', 'rb') as f:
            f.seek(at * self.size)
            raw = f.read(self.size)
        if len(raw) != self.size:
            raise InputError(f'{stem}.data is shorter than its keys say. Remove the folder {self.folder}; {self.what} '
                             'in it is computed again.')
        return raw

    def add(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Append records (key, record); on a full disk nothing more is kept, and a warning says so."""
        if not rows or self.full:
            return
        try:
            if self.own is None:
                os.makedirs(self.folder, exist_ok=True)
                self.own = os.path.join(self.folder, uuid.uuid4().hex[:12])
                self.seen[self.own] = 0
            for key, row in rows:
                if key not in self.places:  # not the second of two equal images in one batch
                    self._append(key, row)
        except OSError as e:
            if not is_disk_full(e):
                raise
            self.full = True  # records after a torn one would not stand where their keys say
            warnings.warn(f'no space is left in {self.folder} for {self.what}; nothing more is kept there, and the run '
                          'continues.', Remark, stacklevel=2)

    def _append(self, key: bytes, row: bytes) -> None:
        with open(f'{self.own}.data', 'ab') as f:
            f.write(row)
        with open(f'{self.own}.keys', 'ab') as f:
            f.write(key)
        self.places[key] = (str(self.own), self.seen[str(self.own)])
        self.seen[str(self.own)] += 1
