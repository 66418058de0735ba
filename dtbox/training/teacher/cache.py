"""The output of a frozen teacher, kept on disk: for images that come again just as they were, such as in a second run
with the same seed, the trials of a grid, or data without augmentation.

Images are known by their content (see `dtbox.training.record_store`). A folder TEACHER/ holds the shapes of a record
and the records.
"""
from __future__ import annotations

import json
import os
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from dtbox.errors import InputError, reason
from dtbox.files import parse_json, write_atomic
from dtbox.structures import TeacherOutput
from dtbox.training.record_store import RecordStore, hash_images

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}


class _Teacher(Protocol):
    """What the cache asks of a Teacher."""
    layer: int
    settings: str

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
        self.shapes: dict[str, Any] | None = None
        self.store: RecordStore | None = None
        self.hits, self.misses = 0, 0

    def __call__(self, teacher: _Teacher, images: Tensor, pixels: Tensor) -> TeacherOutput:
        """Return what a teacher says of images; what the folder does not have is computed and added to it.

        Args:
            teacher: Teacher.
            images: [B,3,H,W] in [-1,1] on the teacher's device.
            pixels: the same [B,3,H,W] as the data gave them, by whose content they are known.
        """
        folder = os.path.join(self.root, f'{teacher.digest()}_{teacher.layer}{teacher.settings}_{self.name}')
        if self.store is None:
            self._open(folder)
        keys = hash_images(pixels)
        if self.store is not None and any(k not in self.store for k in keys):
            self.store.look()
        missing = [i for i, k in enumerate(keys) if self.store is None or k not in self.store]
        self.hits, self.misses = self.hits + len(keys) - len(missing), self.misses + len(missing)
        computed = teacher(images[missing]) if missing else None
        if computed is not None and self.store is None:
            self._write_shapes(folder, computed)
        rows = {}
        for place, i in enumerate(missing):
            rows[i] = self._pack(computed.tokens[place], None if computed.pooled is None else computed.pooled[place])
        self.store.add([(keys[i], rows[i].view(torch.uint8).numpy().tobytes()) for i in missing])
        flat = torch.stack([rows[i] if i in rows else self._read(k) for i, k in enumerate(keys)])
        return self._unpack(flat.to(images.device))

    def _open(self, folder: str) -> None:
        """Open what is on disk, where there is something."""
        meta = os.path.join(folder, 'shapes.json')
        if not os.path.isfile(meta):
            return
        try:
            with open(meta, encoding='utf-8') as f:
                shapes = parse_json(f.read())
            self.shapes = {name: None if shape is None else torch.Size(shape) for name, shape in shapes.items()}
        except (OSError, ValueError, TypeError, AttributeError) as e:
            raise InputError(f'{meta} cannot be read ({reason(e)}). Remove the folder {folder}: the teacher\'s '
                             'outputs are computed again.', 'model.teacher.cache') from e
        self._make_store(folder)

    def _write_shapes(self, folder: str, computed: TeacherOutput) -> None:
        """Write down the shapes of a record."""
        pooled = computed.pooled
        self.shapes = dict(tokens=computed.tokens.shape[1:], pooled=None if pooled is None else pooled.shape[1:])
        plain = {name: None if shape is None else list(shape) for name, shape in self.shapes.items()}
        write_atomic(os.path.join(folder, 'shapes.json'), json.dumps(plain) + '\n')
        self._make_store(folder)

    def _make_store(self, folder: str) -> None:
        numbers = sum(shape.numel() for shape in self.shapes.values() if shape is not None)
        self.store = RecordStore(folder, numbers * self.dtype.itemsize, 'the output of the teacher')

    def _pack(self, tokens: Tensor, pooled: Tensor | None) -> Tensor:
        return torch.cat([tokens.reshape(-1), *([] if pooled is None else [pooled.reshape(-1)])]).to('cpu', self.dtype)

    def _unpack(self, flat: Tensor) -> TeacherOutput:
        count = self.shapes['tokens'].numel()
        pooled = None if self.shapes['pooled'] is None else flat[:, count:].float().reshape(-1, *self.shapes['pooled'])
        return TeacherOutput(flat[:, :count].float().reshape(-1, *self.shapes['tokens']), pooled)

    def _read(self, key: bytes) -> Tensor:
        return torch.from_numpy(np.frombuffer(self.store.read(key), dtype=np.uint8).copy()).view(self.dtype)
