"""Codes of images, computed once: in memory, and on disk where a folder is given.

Images are known by their content and codes by the hash of the tokenizer that made them, so that a cache never gives
those of another image or tokenizer. Codes take two bytes each up to 65,536 codes, else four.

Shapes: M images, N visual places, Q codes of a place.
"""
from __future__ import annotations

import os

import numpy as np
import torch
from torch import Tensor

from dtbox.conversations import ConversationBatch
from dtbox.errors import InputError
from dtbox.image_codes import BatchCodes
from dtbox.mllm.frozen_tokenizer import FrozenTokenizer
from dtbox.training.record_store import RecordStore, hash_images


class CodeCache:
    """Codes of a tokenizer.

    Args:
        tokenizer: FrozenTokenizer, which encodes what is not there.
        folder: where codes are kept over runs; None keeps them in memory.
        memory: images whose codes are kept in memory, the first ones.
        batch: images that are encoded at a time.

    Attributes:
        hits, misses: images found and encoded so far.
    """

    def __init__(self, tokenizer: FrozenTokenizer, folder: str | None = None, memory: int = 1 << 18,
                 batch: int = 64) -> None:
        if folder is not None and os.path.exists(folder) and not os.path.isdir(folder):
            raise InputError(f'{folder} is a file; expected a folder for the codes of images.', 'cache')
        self.tokenizer = tokenizer
        self.memory, self.batch = memory, batch
        streams = tokenizer.layout.streams
        self.shapes = {stream.name: (tokenizer.places, len(stream.sizes)) for stream in streams}
        largest = max(size for stream in streams for size in stream.sizes)
        self.dtype = np.dtype(np.uint16 if largest <= 1 << 16 else np.uint32)
        self.known: dict[bytes, bytes] = {}
        self.store = None
        if folder is not None:
            numbers = sum(rows * depths for rows, depths in self.shapes.values())
            self.store = RecordStore(os.path.join(folder, f'{tokenizer.digest}_{self.dtype.name}'),
                                     numbers * self.dtype.itemsize, 'the codes of images')
        self.hits, self.misses = 0, 0

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Return stream -> codes [M,N,Q] int64, on the CPU, of uint8 images [M,3,H,W]."""
        keys = hash_images(images)
        found = [self._find(key) for key in keys]
        missing = [i for i, record in enumerate(found) if record is None]
        self.hits, self.misses = self.hits + len(keys) - len(missing), self.misses + len(missing)
        for first in range(0, len(missing), self.batch):
            part = missing[first:first + self.batch]
            for i, record in zip(part, self._encode(images[part])):
                found[i] = record
                self._keep(keys[i], record)
        return self._unpack([record for record in found if record is not None])

    def read(self, batch: ConversationBatch) -> dict[str, Tensor]:
        """Return stream -> codes [M,N,Q] int64, on the CPU, of the images of a batch: those that it brings, and those
        of its other images.

        Raises:
            InputError: codes that another tokenizer made, or that do not fit this one.
        """
        given = batch.codes
        if given is None:
            return self(batch.images)
        self._check_given(given)
        if bool(given.known.all()):
            return {name: given.streams[name] for name in self.shapes}
        computed = self(batch.images[~given.known])
        whole = {name: given.streams[name].clone() for name in self.shapes}
        for name, codes in computed.items():
            whole[name][~given.known] = codes
        return whole

    def _check_given(self, given: BatchCodes) -> None:
        tokenizer = self.tokenizer
        if given.tokenizer != tokenizer.digest:
            raise InputError(f'the codes of {given.source} were made by a tokenizer with the weights '
                             f'{given.tokenizer}, and the model reads those of {tokenizer.digest} '
                             f'({tokenizer.source}). Take the tokenizer that made them (tokenizer=RUN), or encode the '
                             'images again with this one.')
        for name, shape in self.shapes.items():
            there = given.streams.get(name)
            if there is None or tuple(there.shape[1:]) != shape:
                found = 'none' if there is None else f'codes {list(there.shape[1:])}'
                raise InputError(f'{given.source} has {found} of the stream `{name}` for an image; expected '
                                 f'{list(shape)}, as {tokenizer.source} has it. Encode the images again.')

    def _find(self, key: bytes) -> bytes | None:
        if key in self.known:
            return self.known[key]
        if self.store is None:
            return None
        if key not in self.store:
            self.store.look()
        return self.store.read(key) if key in self.store else None

    def _keep(self, key: bytes, record: bytes) -> None:
        if len(self.known) < self.memory:
            self.known[key] = record
        if self.store is not None:
            self.store.add([(key, record)])

    def _encode(self, images: Tensor) -> list[bytes]:
        codes = self.tokenizer.encode(images.to(self.tokenizer.device).float() / 127.5 - 1)
        flat = torch.cat([codes[name].flatten(1) for name in self.shapes], 1).cpu().numpy().astype(self.dtype)
        return [row.tobytes() for row in flat]

    def _unpack(self, records: list[bytes]) -> dict[str, Tensor]:
        numbers = sum(rows * depths for rows, depths in self.shapes.values())
        flat = np.frombuffer(b''.join(records), dtype=self.dtype).reshape(len(records), numbers)
        whole = torch.from_numpy(flat.astype(np.int64))
        parts = whole.split([rows * depths for rows, depths in self.shapes.values()], 1)
        return {name: part.reshape(len(records), *shape) for (name, shape), part in zip(self.shapes.items(), parts)}
