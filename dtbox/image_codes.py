"""Images that are known by their codes alone: what token shards hold, on its way to a language model.

Shapes: M images of a batch, H and W pixels, N visual places, Q codes of a place.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dtbox.errors import InputError


@dataclass(frozen=True)
class ImageCodes:
    """The codes of one image; they stand where a conversation has pixels.

    Attributes:
        streams: stream -> codes [N, Q], of any type of integers.
        tokenizer: hash of the weights that made them (`dtbox.checksums.hash_tensors`).
        source: where they come from, for messages.
    """
    streams: Mapping[str, np.ndarray]
    tokenizer: str
    source: str = 'the data'


@dataclass(frozen=True)
class BatchCodes:
    """The codes of those images of a batch that are known by their codes.

    Attributes:
        streams: stream -> codes [M, N, Q] int64, zeros for the other images.
        known: bool [M], whether an image is known by its codes; others have pixels.
        tokenizer, source: as of `ImageCodes`.
    """
    streams: Mapping[str, Tensor]
    known: Tensor
    tokenizer: str
    source: str

    def select(self, images: Sequence[int]) -> BatchCodes | None:
        """Return the codes of some images; None where none of these is known by its codes."""
        rows = torch.as_tensor(images, dtype=torch.int64, device='cpu')
        if not bool(self.known[rows].any()):
            return None
        streams = {name: codes[rows] for name, codes in self.streams.items()}
        return replace(self, known=self.known[rows], streams=streams)


def join_codes(images: Sequence[Any]) -> BatchCodes | None:
    """Return the codes of a batch.

    Args:
        images: `ImageCodes`, or anything else for an image with pixels.

    Raises:
        InputError: codes of several tokenizers, or of different streams or shapes.
    """
    coded = [(i, image) for i, image in enumerate(images) if isinstance(image, ImageCodes)]
    if not coded:
        return None
    first = coded[0][1]
    for _, image in coded:
        if image.tokenizer != first.tokenizer:
            raise InputError(f'the codes of one batch come from two tokenizers: {first.source} has those of '
                             f'{first.tokenizer}, {image.source} those of {image.tokenizer}. Encode both with the same '
                             'one.')
        shapes = [{name: codes.shape for name, codes in one.streams.items()} for one in (first, image)]
        if shapes[0] != shapes[1]:
            raise InputError(f'the codes of one batch differ in their streams or shapes: {first.source} has '
                             f'{_describe(shapes[0])}, {image.source} {_describe(shapes[1])}.')
    rows = [i for i, _ in coded]
    known = torch.zeros(len(images), dtype=torch.bool, device='cpu')
    known[rows] = True
    streams = {}
    for name, codes in first.streams.items():
        whole = np.zeros((len(images), *codes.shape), dtype=np.int64)
        whole[rows] = np.stack([image.streams[name] for _, image in coded])
        streams[name] = torch.from_numpy(whole)
    return BatchCodes(streams, known, first.tokenizer, first.source)


def _describe(shapes: Mapping[str, Sequence[int]]) -> str:
    return ', '.join(f'{name} {list(shape)}' for name, shape in shapes.items())
