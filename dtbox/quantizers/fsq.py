"""Finite scalar quantization (FSQ, arXiv 2309.15505): each channel is bounded and rounded to a few levels; the codebook
is the grid, so there is nothing to learn and nothing to collapse.

Deviation: the shift of even level counts uses atanh, the inverse of the bounding tanh, where the paper's listing has
tan.
"""
from __future__ import annotations

import math

import torch
from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.quantizers.base import Quantizer
from dtbox.registry import ESTIMATORS, QUANTIZERS
from dtbox.structures import QuantizerOutput


@QUANTIZERS.register_module()
class FSQ(Quantizer):
    """Finite scalar quantizer (FSQ, arXiv 2309.15505): one code per token, codebook size the product of the levels.

    Args:
        levels: number of levels of each channel, at least 3 each ([8, 8, 8, 5, 5, 5] gives 64,000 codes). With 2 the
            shift of even counts would be so large that nearly all inputs get one level.
        estimator: config of the gradient estimator of the rounding.
        eps: how far the bound stays from the outermost levels' edges.
    """
    example = dict(levels=[5, 4, 3])
    nests = True

    def __init__(self, levels: list[int], estimator: dict = dict(type='StraightThrough'), eps: float = 1e-3) -> None:
        super().__init__()
        if not levels or any(not isinstance(n, int) or n < 3 for n in levels):
            raise InputError(f'`levels` is {levels!r}; expected a list of integers of at least 3, one per channel. For '
                             'channels of one bit take BSQ or LFQ.')
        if math.prod(levels) >= 2 ** 63:
            raise InputError(f'`levels` {levels} make {format_count(math.prod(levels), "code")}, more than an int64 '
                             'can number. Take fewer channels or levels.')
        self.dim, self.estimator = len(levels), ESTIMATORS.build(estimator, where='estimator')
        sizes = torch.tensor(levels, dtype=torch.int64)
        self.codebook_sizes = [math.prod(levels)]
        half = (sizes - 1).double() * (1 + eps) / 2
        offset = torch.where(sizes % 2 == 0, 0.5, 0.0).double()
        for name, value in dict(half_range=half, offset=offset, shift=(offset / half).atanh()).items():
            self.register_buffer(name, value.float(), persistent=False)
        self.register_buffer('levels', sizes, persistent=False)
        self.register_buffer('half_width', (sizes // 2).float(), persistent=False)
        basis = torch.cat([sizes.new_ones(1), sizes[:-1]]).cumprod(0)
        self.register_buffer('basis', basis, persistent=False)
        # codes as one product of whole numbers, in the narrowest float type that holds them all exactly
        codes = math.prod(levels)
        self.exact = torch.float32 if codes <= 2 ** 24 else torch.float64 if codes <= 2 ** 53 else None
        self.zero = sum(math.prod(levels[:i]) * (n // 2) for i, n in enumerate(levels))

    def _bound(self, z: Tensor) -> Tensor:
        return torch.addcmul(-self.offset, (z + self.shift).tanh(), self.half_range)

    def _to_codes(self, rounded: Tensor) -> Tensor:
        """rounded [..., C] in [-level // 2, ...] -> codes [..., 1]."""
        if self.exact is None:
            return ((rounded.long() + self.half_width.long()) * self.basis).sum(-1, keepdim=True)
        return (rounded.to(self.exact) @ self.basis.to(self.exact)[:, None]).long() + self.zero

    def smooth(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> the bounded values that are rounded, in [-1, 1]."""
        return self._bound(z) / self.half_width

    def forward(self, z: Tensor) -> QuantizerOutput:
        """z [B,N,C] -> QuantizerOutput; features in [-1, 1]; no losses."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            bounded = self._bound(z.float())
            rounded = bounded.detach().round()
            features = self.estimator(bounded, rounded) / self.half_width
        return QuantizerOutput(features.to(z.dtype), self._to_codes(rounded), {})

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,N,1]."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            return self._to_codes(self._bound(z.float()).round())

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B,N,1] -> features [B,N,C]."""
        self.check_codes(codes)
        digits = codes // self.basis % self.levels
        return (digits - self.half_width) / self.half_width
