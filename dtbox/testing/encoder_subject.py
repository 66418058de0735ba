"""The encoder under test and its data.

Legend: B batch, P prefix tokens, N patch tokens, D width, H and W pixels.
"""
from __future__ import annotations

from typing import Sequence

import torch
from torch import Tensor

from dtbox.encoders.base import Encoder
from dtbox.registry import ENCODERS
from dtbox.testing.rank_group import Ranks
from dtbox.testing.subject import Subject, make_generator

TOLERANCE = 1e-4
"""Largest difference between an image alone and in a batch, whose products may be summed in another order."""


class EncoderSubject(Subject):
    """An encoder under test.

    Attributes:
        depth: number of blocks.
        prefix: number of prefix tokens P.
        size: (H, W).
    """
    registry, base = ENCODERS, Encoder

    def __init__(self, cfg: dict, plugins: str | Sequence[str] = (), ranks: Ranks | None = None):
        super().__init__(cfg, plugins, ranks)
        example = self.build()
        self.depth = example.depth
        self.prefix = example.num_prefix_tokens
        self.size = tuple(example.image_size)

    def images(self, b: int = 3, seed: int = 0) -> Tensor:
        """Return images [B,3,H,W] in [-1, 1]."""
        return torch.rand(b, 3, *self.size, generator=make_generator(seed)) * 2 - 1

    def cut(self, encoder: Encoder, tokens: Tensor, layer: int) -> Tensor:
        """Return the patch tokens of a layer: those after the prefix tokens; what follows them are latent tokens."""
        return tokens[:, self.prefix:][:, :encoder.layout(layer).tokens]


def run_whole(encoder: Encoder, images: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
    """Return tokens [B,P+N,D] after the last block and the patch tokens of every layer, 0 included."""
    return encoder.run(encoder.embed(images), 0, encoder.depth, range(encoder.depth + 1))
