"""Product (grouped) residual quantization (GRVQ, HiFi-Codec, arXiv 2305.02765): groups of channels, each with a
residual quantizer of its own.

Legend: B batch, N tokens, C code width, G groups, D depth, Q = G D codes per token.
"""
from __future__ import annotations

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.errors import InputError
from dtbox.quantizers.base import Quantizer, check_sizes
from dtbox.registry import QUANTIZERS
from dtbox.structures import QuantizerOutput


@QUANTIZERS.register_module()
class ProductRQ(Quantizer):
    """Product residual quantizer (GRVQ, HiFi-Codec, arXiv 2305.02765): the channels are split into groups, each
    quantized by an RQ.

    With `depth=1` it is product quantization. The codes of a token are those of the first group, depth by depth, then
    those of the next.

    Args:
        size: codebook size.
        dim: code width C of all groups together.
        groups: groups G.
        depth: codes D of a group.
        shared: one table for all depths of a group, or one each; groups never share.
        codebook: config of the tables and how they learn.
        estimator: config of the gradient estimator.
    """
    example = dict(size=16, dim=4, groups=2, depth=2)

    def __init__(self, size: int, dim: int, groups: int, depth: int, shared: bool = True,
                 codebook: dict = dict(type='EMACodebook'),
                 estimator: dict = dict(type='StraightThrough')) -> None:
        super().__init__()
        check_sizes(size=size, dim=dim, groups=groups, depth=depth)
        if dim % groups:
            raise InputError(f'{dim} channels do not divide into {groups} groups. Choose `groups` that divides `dim`.')
        part = dict(type='RQ', size=size, dim=dim // groups, depth=depth, shared=shared, codebook=codebook,
                    estimator=estimator)
        self.groups = nn.ModuleList(QUANTIZERS.build(dict(part)) for _ in range(groups))
        self.dim, self.codebook_sizes = dim, [size] * depth * groups

    @property
    def estimator(self) -> nn.Module:
        """The gradient estimator."""
        return self.groups[0].estimator

    def forward(self, z: Tensor) -> QuantizerOutput:
        """z [B,N,C] -> QuantizerOutput with the terms of the residual quantizers, averaged over the groups."""
        self.check(z)
        outs = [group(part) for group, part in zip(self.groups, z.chunk(len(self.groups), -1))]
        losses = {name: sum(out.losses[name] for out in outs) / len(outs) for name in outs[0].losses}
        return QuantizerOutput(torch.cat([out.features for out in outs], -1),
                               torch.cat([out.codes for out in outs], -1), losses)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,N,Q]."""
        self.check(z)
        return torch.cat([group.encode(part) for group, part in zip(self.groups, z.chunk(len(self.groups), -1))], -1)

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B,N,Q] -> features [B,N,C]."""
        self.check_codes(codes)
        return torch.cat([group.decode(part) for group, part in zip(self.groups, codes.chunk(len(self.groups), -1))],
                         -1)

    def smooth(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> what is quantized."""
        return torch.cat([group.smooth(part) for group, part in zip(self.groups, z.chunk(len(self.groups), -1))], -1)

    def init_weights(self) -> None:
        """See Quantizer."""
        for group in self.groups:
            group.init_weights()

    def commit(self) -> None:
        """Update the codebooks of all groups."""
        for group in self.groups:
            group.commit()

    def discard(self) -> None:
        """Forget what was collected."""
        for group in self.groups:
            group.discard()
