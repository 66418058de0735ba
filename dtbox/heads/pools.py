"""Heads: the trunk's own pool, or a mean over tokens with a norm and a linear layer.

Legend: B batch, P prefix tokens, N tokens, D width, E joint width, M regions of an image.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch.nn as nn
from torch import Tensor

from dtbox.errors import InputError
from dtbox.layers.region_pooling import pool_regions
from dtbox.layout import need_grid
from dtbox.registry import HEADS


class Head(nn.Module):
    """Base class of heads.

    Attributes:
        reads: None where the head reads the trunk after its last block, or the name of the vocabulary it reads.
        pooled_dim: width E of what comes out.
        example: constructor arguments of a small instance, for the contract suite; None where there is none.
    """
    example: ClassVar[dict[str, Any] | None] = None
    reads: str | None = None
    pooled_dim: int = 0

    def forward(self, tokens: Tensor, encoder: nn.Module) -> Tensor:
        """tokens [B,P+N,D] (trunk) or features [B,N,D] (vocabulary) -> [B,E], not normalised."""
        raise NotImplementedError

    def pool_regions(self, tokens: Tensor, masks: Sequence[Tensor], encoder: nn.Module,
                     grid: tuple[int, int] | None = None) -> list[Tensor]:
        """Pool single regions: what `forward` takes and B masks bool [M,H,W] -> B tensors [M,E].

        Args:
            tokens, encoder: as for `forward`.
            masks: of the size of the images.
            grid: (rows, columns) of the vocabulary's tokens, where the head reads one.
        """
        return encoder.pool_regions(tokens, masks)


@HEADS.register_module()
class TrunkPool(Head):
    """The trunk's own final norm and pool (SigLIP's attention pool, CLIP's class token, ...), without further weights.

    Args:
        encoder: name of the encoder whose pool it is; filled in where there is one encoder.
        pooled_dim: width that the encoder's pool gives; filled in by the tokenizer.
    """

    def __init__(self, encoder: str = 'trunk', pooled_dim: int | None = None) -> None:
        super().__init__()
        if not pooled_dim:
            raise InputError(f'TrunkPool reads the pool of encoder `{encoder}`, which has none. Choose MeanPool.')
        self.encoder, self.pooled_dim = encoder, pooled_dim

    def forward(self, tokens: Tensor, encoder: nn.Module) -> Tensor:
        """tokens [B,P+N,D] after the last block -> [B,E]."""
        return encoder.pool(tokens)


@HEADS.register_module()
class MeanPool(Head):
    """Mean over the patch tokens, LayerNorm, linear (UniTok's image head, arXiv 2502.20321).

    Args:
        in_dim: width D; filled in by the tokenizer.
        out_dim: width E of the joint space.
        reads: vocabulary whose features are pooled; None pools the trunk's patch tokens.
        encoder: name of the encoder; filled in where there is one.
    """
    example = dict(out_dim=8)

    def __init__(self, in_dim: int, out_dim: int, reads: str | None = None, encoder: str = 'trunk') -> None:
        super().__init__()
        self.reads = reads
        self.encoder = encoder
        self.pooled_dim = out_dim
        self.norm = nn.LayerNorm(in_dim, eps=1e-6)
        self.fc = nn.Linear(in_dim, out_dim)

    def forward(self, tokens: Tensor, encoder: nn.Module) -> Tensor:
        """tokens -> [B,E]."""
        tokens = tokens if self.reads else encoder.patches(tokens)
        return self.fc(self.norm(tokens.mean(1)))

    def pool_regions(self, tokens: Tensor, masks: Sequence[Tensor], encoder: nn.Module,
                     grid: tuple[int, int] | None = None) -> list[Tensor]:
        """See Head."""
        tokens = tokens if self.reads else encoder.patches(tokens)
        cells = grid or need_grid(encoder.layout(encoder.depth), 'pooling of regions').map_shape
        return pool_regions(tokens, masks, cells, lambda part: self.fc(self.norm(part.mean(1))))
