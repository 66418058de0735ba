"""Product (grouped) quantization: the channels are cut into groups, each with a quantizer of its own.

With vector quantizers inside this is product quantization (Jegou et al., TPAMI 2011), with residual ones GRVQ
(HiFi-Codec, arXiv 2305.02765), with directions of tables multi-codebook quantization (UniTok, arXiv 2502.20321;
`mcq.py` holds all its tables in one tensor), with signs or levels grouped LFQ, BSQ and FSQ, which may have more bits in
all than the 62 of one int64 code.

Legend: B batch, N tokens, C code width, G groups, q codes of a group, Q = G q codes per token.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.layout import TokenLayout
from dtbox.quantizers.base import Quantizer, check_sizes
from dtbox.registry import QUANTIZERS
from dtbox.structures import QuantizerOutput
from dtbox.values import Positive


@QUANTIZERS.register_module()
class Product(Quantizer):
    """Product quantizer: the channels are cut into groups, each quantized by its own quantizer of one kind.

    The codes of a token are those of the first group, then those of the next. Terms are those of the inner quantizers,
    averaged over the groups.

    Args:
        quantizer: config of the quantizer of one group; its width c is that of a group, so that C = G c.
        groups: groups G.
    """
    example = dict(quantizer=dict(type='VQ', size=16, dim=4), groups=2)

    def __init__(self, quantizer: Mapping[str, Any], groups: Positive) -> None:
        super().__init__()
        check_sizes(groups=groups)
        self.groups = nn.ModuleList(QUANTIZERS.build(dict(quantizer), where='quantizer') for _ in range(groups))
        first = self.groups[0]
        if not first.codebook_sizes:
            raise InputError(f'`quantizer` is a {type(first).__name__}, which has no codes; there is nothing to group. '
                             'Take it without Product.', 'quantizer')
        self.dim, self.codebook_sizes = groups * first.dim, list(first.codebook_sizes) * groups
        self.updates_in_forward = first.updates_in_forward
        if first.smooth is None:
            setattr(self, 'smooth', None)  # hides the method, as the contract asks

    @property
    def estimator(self) -> nn.Module | None:
        """The gradient estimator of the groups; None where they have none."""
        return getattr(self.groups[0], 'estimator', None)

    def _join(self, call: Callable[[Any, Tensor], Tensor], whole: Tensor) -> Tensor:
        """Apply a call to each group and its part of the last axis; join what comes back along the last axis."""
        return torch.cat([call(group, part) for group, part in zip(self.groups, whole.chunk(len(self.groups), -1))], -1)

    def set_layout(self, layout: TokenLayout) -> TokenLayout:
        """See Quantizer; all groups lay their codes out alike."""
        return [group.set_layout(layout) for group in self.groups][0]

    def forward(self, z: Tensor) -> QuantizerOutput:
        """z [B,N,C] -> QuantizerOutput with the terms of the groups, averaged."""
        self.check(z)
        outs = [group(part) for group, part in zip(self.groups, z.chunk(len(self.groups), -1))]
        losses = {name: sum(out.losses[name] for out in outs) / len(outs) for name in outs[0].losses}
        return QuantizerOutput(torch.cat([out.features for out in outs], -1),
                               torch.cat([out.codes for out in outs], -1), losses)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,N,Q]."""
        self.check(z)
        return self._join(lambda group, part: group.encode(part), z)

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B,N,Q] -> features [B,N,C]."""
        self.check_codes(codes)
        return self._join(lambda group, part: group.decode(part), codes)

    def smooth(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> what is quantized [B,N,C]."""
        return self._join(lambda group, part: group.smooth(part), z)

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


@QUANTIZERS.register_module()
class ProductRQ(Product):
    """Product residual quantizer (GRVQ, HiFi-Codec, arXiv 2305.02765): `Product` of `RQ`, by the sizes of the whole.

    With `depth=1` it is product quantization. A group shares one table between its depths by default, as RQ does;
    HiFi-Codec has one each, which is `shared=False`. Groups never share.

    Args:
        size: codebook size.
        dim: code width C of all groups together.
        groups: groups G.
        depth: codes of a group.
        shared: one table for all depths of a group, or one each.
        codebook: config of the tables and how they learn.
        estimator: config of the gradient estimator.
    """
    example = dict(size=16, dim=4, groups=2, depth=2)

    def __init__(self, size: int, dim: int, groups: int, depth: int, shared: bool = True,
                 codebook: dict = dict(type='EMACodebook'), estimator: dict = dict(type='StraightThrough')) -> None:
        check_sizes(size=size, dim=dim, groups=groups, depth=depth)
        if dim % groups:
            raise InputError(f'{format_count(dim, "channel")} do not divide into '
                             f'{format_count(groups, "group")}. Choose `groups` that divides `dim`.')
        super().__init__(dict(type='RQ', size=size, dim=dim // groups, depth=depth, shared=shared, codebook=codebook,
                              estimator=estimator), groups)
