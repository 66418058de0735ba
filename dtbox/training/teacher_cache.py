"""What a frozen teacher says of pictures, kept on disk: for data that is seen again just as it was, such as a second run with the same seed, the
trials of a grid, or pictures that are not augmented.

Pictures are known by their content, so nothing stale is ever read. A folder TEACHER/ holds, for each process that wrote, a file of records of equal
size and a file of their keys (SHA-1); a record counts once its key is whole, so that a killed process leaves no half of one.
"""
import hashlib
import json
import os
import time
import uuid

import numpy as np
import torch

from dtbox.errors import InputError
from dtbox.files import no_room, write_atomic
from dtbox.structures import TeacherOutput

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}
KEY, LOOK = 20, 30.0
"""Bytes of a key; seconds after which what other processes have written is looked for again."""


class TeacherCache:
    """A store of teacher outputs.

    Args:
        folder: where; made when first written to.
        dtype: 'float32' or 'bfloat16', in which tokens and pooled outputs are kept.

    Attributes:
        hits, misses: pictures found and computed so far.
    """

    def __init__(self, folder, dtype='float32'):
        if dtype not in DTYPES:
            raise InputError(f'`cache_dtype` is {dtype!r}; expected one of {", ".join(DTYPES)}.', 'cache_dtype')
        if os.path.exists(folder) and not os.path.isdir(folder):
            raise InputError(f'{folder} is a file; expected a folder for what the teacher says.', 'cache')
        self.root, self.name, self.dtype = str(folder), dtype, DTYPES[dtype]
        self.folder, self.shapes, self.places, self.seen, self.looked = None, None, {}, {}, 0.0
        self.own, self.full, self.hits, self.misses = None, False, 0, 0

    def __call__(self, teacher, images, pixels):
        """Return the TeacherOutput of pictures (see `Teacher.remembered`)."""
        if self.folder is None:
            self.folder = os.path.join(self.root, f'{teacher.digest()}_{teacher.layer}_{self.name}')
        keys = [hashlib.sha1(p.numpy()).digest() for p in pixels.detach().cpu().contiguous()]
        if any(k not in self.places for k in keys) and time.monotonic() - self.looked > LOOK:
            self._look()
        missing = [i for i, k in enumerate(keys) if k not in self.places]
        self.hits, self.misses = self.hits + len(keys) - len(missing), self.misses + len(missing)
        made = teacher(images[missing]) if missing else None
        if made is not None and self.shapes is None:
            self._begin(made)
        rows = {}
        for place, i in enumerate(missing):
            rows[i] = self._pack(made.tokens[place], None if made.pooled is None else made.pooled[place])
        self._write([(keys[i], rows[i]) for i in missing])
        flat = torch.stack([rows[i] if i in rows else self._read(k) for i, k in enumerate(keys)])
        return self._unpack(flat.to(images.device))

    def _look(self):
        """Find the keys that are on disk."""
        self.looked = time.monotonic()
        meta = os.path.join(self.folder, 'shapes.json')
        if not os.path.isfile(meta):
            return
        with open(meta) as f:
            self.shapes = {name: None if shape is None else torch.Size(shape) for name, shape in json.load(f).items()}
        for file in sorted(os.listdir(self.folder)):
            if file.endswith('.keys'):
                stem = os.path.join(self.folder, file[:-len('.keys')])
                first = self.seen.get(stem, 0)
                with open(f'{stem}.keys', 'rb') as f:
                    f.seek(first * KEY)
                    new = f.read()
                count = len(new) // KEY
                for i in range(count):
                    self.places.setdefault(new[i * KEY:(i + 1) * KEY], (stem, first + i))
                self.seen[stem] = first + count

    def _begin(self, made):
        """Write down the shapes of a record."""
        self.shapes = dict(tokens=made.tokens.shape[1:], pooled=None if made.pooled is None else made.pooled.shape[1:])
        write_atomic(os.path.join(self.folder, 'shapes.json'), json.dumps({k: None if v is None else list(v) for k, v in self.shapes.items()}) + '\n')

    @property
    def _numbers(self):
        return sum(shape.numel() for shape in self.shapes.values() if shape is not None)

    def _pack(self, tokens, pooled):
        return torch.cat([tokens.reshape(-1), *([] if pooled is None else [pooled.reshape(-1)])]).to('cpu', self.dtype)

    def _unpack(self, flat):
        count = self.shapes['tokens'].numel()
        pooled = None if self.shapes['pooled'] is None else flat[:, count:].float().reshape(-1, *self.shapes['pooled'])
        return TeacherOutput(flat[:, :count].float().reshape(-1, *self.shapes['tokens']), pooled)

    def _read(self, key):
        stem, at = self.places[key]
        size = self._numbers * self.dtype.itemsize
        with open(f'{stem}.data', 'rb') as f:
            f.seek(at * size)
            raw = f.read(size)
        if len(raw) != size:
            raise InputError(f'{stem}.data is shorter than its keys say. Remove the folder {self.folder}; the teacher computes again what was in it.')
        return torch.from_numpy(np.frombuffer(raw, dtype=np.uint8).copy()).view(self.dtype)

    def _write(self, rows):
        if not rows or self.full:
            return
        try:
            if self.own is None:
                os.makedirs(self.folder, exist_ok=True)
                self.own = os.path.join(self.folder, uuid.uuid4().hex[:12])
                self.seen[self.own] = 0
            for key, row in rows:
                if key in self.places:  # twice in one batch
                    continue
                with open(f'{self.own}.data', 'ab') as f:
                    f.write(row.view(torch.uint8).numpy().tobytes())
                with open(f'{self.own}.keys', 'ab') as f:
                    f.write(key)
                self.places[key] = (self.own, self.seen[self.own])
                self.seen[self.own] += 1
        except OSError as e:
            if not no_room(e):
                raise
            import warnings
            self.full = True  # records after a torn one would not stand where their keys say
            warnings.warn(f'no space is left for what the teacher says in {self.folder}; nothing more is kept there, and the run goes on.',
                          stacklevel=2)
