"""The output of a frozen teacher, kept on disk: for images that come again just as they were, such as in a second run
with the same seed, the trials of a grid, or data without augmentation.

Images are known by their content, so nothing stale is ever read. A folder TEACHER/ holds, for each process that wrote,
a file of records of equal size and a file of their keys (SHA-1). A record counts once its key is whole, so that a
killed process leaves no half of one.
"""
from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
import warnings
from typing import Any, Protocol, Sequence

import numpy as np
import torch
from torch import Tensor

from dtbox.errors import InputError, Remark, reason
from dtbox.files import is_disk_full, parse_json, write_atomic
from dtbox.structures import TeacherOutput

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}
KEY = 20
"""Bytes of a key."""
LOOK = 30.0
"""Seconds after which the cache looks again for what other processes have written."""


class _Teacher(Protocol):
    """What the cache asks of a Teacher."""
    layer: int

    def digest(self) -> str: ...

    def __call__(self, images: Tensor) -> TeacherOutput: ...


class TeacherCache:
    """A store of teacher outputs.

    Args:
        folder: where; made when it is first written to.
        dtype: 'float32' or 'bfloat16', of the tokens and pooled outputs on disk.

    Attributes:
        hits, misses: images found and computed so far.
    """

    def __init__(self, folder: str, dtype: str = 'float32') -> None:
        if dtype not in DTYPES:
            raise InputError(f'`cache_dtype` is {dtype!r}; expected one of {", ".join(DTYPES)}.', 'cache_dtype')
        if os.path.exists(folder) and not os.path.isdir(folder):
            raise InputError(f'{folder} is a file; expected a folder for the output of the teacher.', 'cache')
        self.root, self.name = str(folder), dtype
        self.dtype = DTYPES[dtype]
        self.folder: str | None = None
        self.shapes: dict[str, Any] | None = None
        self.places, self.seen = {}, {}
        self.own: str | None = None
        self.looked = 0.0
        self.full = False
        self.hits, self.misses = 0, 0

    def __call__(self, teacher: _Teacher, images: Tensor, pixels: Tensor) -> TeacherOutput:
        """Return what a teacher says of images; what the folder does not have is computed and added to it.

        Args:
            teacher: Teacher.
            images: [B,3,H,W] in [-1,1] on the teacher's device.
            pixels: the same [B,3,H,W] as the data gave them, by whose content they are known.
        """
        if self.folder is None:
            self.folder = os.path.join(self.root, f'{teacher.digest()}_{teacher.layer}_{self.name}')
        keys = [hashlib.sha1(p.numpy()).digest() for p in pixels.detach().cpu().contiguous()]
        if any(k not in self.places for k in keys) and time.monotonic() - self.looked > LOOK:
            self._look()
        missing = [i for i, k in enumerate(keys) if k not in self.places]
        self.hits, self.misses = self.hits + len(keys) - len(missing), self.misses + len(missing)
        computed = teacher(images[missing]) if missing else None
        if computed is not None and self.shapes is None:
            self._write_shapes(computed)
        rows = {}
        for place, i in enumerate(missing):
            rows[i] = self._pack(computed.tokens[place], None if computed.pooled is None else computed.pooled[place])
        self._write([(keys[i], rows[i]) for i in missing])
        flat = torch.stack([rows[i] if i in rows else self._read(k) for i, k in enumerate(keys)])
        return self._unpack(flat.to(images.device))

    def _look(self) -> None:
        """Find the keys that are on disk."""
        self.looked = time.monotonic()
        meta = os.path.join(self.folder, 'shapes.json')
        if not os.path.isfile(meta):
            return
        try:
            with open(meta, encoding='utf-8') as f:
                shapes = parse_json(f.read())
            self.shapes = {name: None if shape is None else torch.Size(shape) for name, shape in shapes.items()}
        except (OSError, ValueError, TypeError, AttributeError) as e:
            raise InputError(f'{meta} cannot be read ({reason(e)}). Remove the folder {self.folder}: the teacher\'s '
                             'outputs are computed again.', 'model.teacher.cache') from e
        for file in sorted(os.listdir(self.folder)):
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

    def _write_shapes(self, computed: TeacherOutput) -> None:
        """Write down the shapes of a record."""
        pooled = computed.pooled
        self.shapes = dict(tokens=computed.tokens.shape[1:], pooled=None if pooled is None else pooled.shape[1:])
        plain = {name: None if shape is None else list(shape) for name, shape in self.shapes.items()}
        write_atomic(os.path.join(self.folder, 'shapes.json'), json.dumps(plain) + '\n')

    @property
    def _numbers(self) -> int:
        return sum(shape.numel() for shape in self.shapes.values() if shape is not None)

    def _pack(self, tokens: Tensor, pooled: Tensor | None) -> Tensor:
        return torch.cat([tokens.reshape(-1), *([] if pooled is None else [pooled.reshape(-1)])]).to('cpu', self.dtype)

    def _unpack(self, flat: Tensor) -> TeacherOutput:
        count = self.shapes['tokens'].numel()
        pooled = None if self.shapes['pooled'] is None else flat[:, count:].float().reshape(-1, *self.shapes['pooled'])
        return TeacherOutput(flat[:, :count].float().reshape(-1, *self.shapes['tokens']), pooled)

    def _read(self, key: bytes) -> Tensor:
        stem, at = self.places[key]
        size = self._numbers * self.dtype.itemsize
        with open(f'{stem}.data', 'rb') as f:
            f.seek(at * size)
            raw = f.read(size)
        if len(raw) != size:
            raise InputError(f'{stem}.data is shorter than its keys say. Remove the folder {self.folder}; the teacher '
                             'computes again what was in it.')
        return torch.from_numpy(np.frombuffer(raw, dtype=np.uint8).copy()).view(self.dtype)

    def _write(self, rows: Sequence[tuple[bytes, Tensor]]) -> None:
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
            warnings.warn(f'no space is left in {self.folder} for the output of the teacher; nothing more is kept '
                          'there, and the run continues.', Remark, stacklevel=2)

    def _append(self, key: bytes, row: Tensor) -> None:
        with open(f'{self.own}.data', 'ab') as f:
            f.write(row.view(torch.uint8).numpy().tobytes())
        with open(f'{self.own}.keys', 'ab') as f:
            f.write(key)
        self.places[key] = (self.own, self.seen[self.own])
        self.seen[self.own] += 1
