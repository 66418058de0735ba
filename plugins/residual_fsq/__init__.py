"""Residual finite scalar quantization: each depth rounds what the depths before left over to a finer grid.

FSQ is arXiv 2309.15505, the residual scheme that of RQ-VAE (arXiv 2203.01941); the grid is the symmetric one of arXiv
2411.19842.

Legend: B batch, N tokens, C code width, Q depth, L levels of a channel.
"""
from __future__ import annotations

import math

import torch
from torch import Tensor

from dtbox.errors import InputError
from dtbox.quantizers.base import Quantizer, check_sizes
from dtbox.registry import ESTIMATORS, QUANTIZERS
from dtbox.structures import QuantizerOutput


@QUANTIZERS.register_module()
class ResidualFSQ(Quantizer):
    """Residual FSQ (arXiv 2309.15505, used residually): grids of L levels in [-1, 1], each 1/L as wide as the one
    before.

    A feature is first bounded to +-L / (L - 1): the grid and half a step beyond it. So what a depth leaves over is at
    most half its step, which is the same bound for the next grid, and nothing is cut off.

    Args:
        levels: number of levels L of each channel, at least 2 each; a code has prod(levels) values.
        depth: codes per token Q.
        estimator: config of the gradient estimator of the rounding.
    """
    example = dict(levels=[5, 4, 3], depth=2)

    def __init__(self, levels: list[int], depth: int, estimator: dict = dict(type='StraightThrough')) -> None:
        super().__init__()
        check_sizes(depth=depth)
        if not levels or any(not isinstance(n, int) or n < 2 for n in levels):
            raise InputError(f'`levels` is {levels!r}; expected a list of integers of at least 2, one per channel.')
        if math.prod(levels) >= 2 ** 63 or max(levels) ** depth > 2 ** 24:
            raise InputError(f'`levels` {list(levels)} at depth {depth} make {math.prod(levels)} codes a depth and '
                             f'{max(levels)}^{depth} steps a '
                             'channel; an int64 numbers less than 2^63 codes, and float32 tells 2^24 steps apart. Take '
                             'fewer.')
        self.dim = len(levels)
        self.depth = depth
        self.codebook_sizes = [math.prod(levels)] * depth
        self.estimator = ESTIMATORS.build(estimator, where='estimator')
        sizes = torch.tensor(levels, dtype=torch.int64)
        self.register_buffer('levels', sizes, persistent=False)
        self.register_buffer('basis', torch.cat([sizes.new_ones(1), sizes[:-1]]).cumprod(0), persistent=False)

    def smooth(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> bounded to +-L / (L - 1)."""
        bound = 1 + 1 / (self.levels - 1).float()
        return (z / bound).tanh() * bound

    def forward(self, z: Tensor) -> QuantizerOutput:
        """z [B,N,C] -> QuantizerOutput; no losses."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            bounded = self.smooth(z.float())
            codes, total = self._walk(bounded.detach())
            features = self.estimator(bounded, total)
        return QuantizerOutput(features.to(z.dtype), codes, {})

    def _walk(self, bounded: Tensor) -> tuple[Tensor, Tensor]:
        """bounded [B,N,C] -> codes [B,N,Q], sum of the grid points [B,N,C]."""
        codes_q = []
        residual = bounded
        total = torch.zeros_like(bounded)
        for depth in range(self.depth):
            scale, steps = self._scale(depth), self.levels - 1
            digits = (steps * ((residual / scale).clamp(-1, 1) + 1) / 2 + 0.5).floor()
            point = self._point(digits, depth)
            residual, total = residual - point, total + point
            codes_q.append((digits.long() * self.basis).sum(-1))
        return torch.stack(codes_q, -1), total

    def _scale(self, depth: int) -> Tensor:
        return self.levels.float() ** -depth

    def _point(self, digits: Tensor, depth: int) -> Tensor:
        """Level of each channel, 0 to L - 1 [..., C] -> grid points of a depth [..., C]."""
        return (2.0 / (self.levels - 1) * digits - 1.0) * self._scale(depth)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,N,Q]."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            return self._walk(self.smooth(z.float()))[0]

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B,N,Q] -> features [B,N,C], the sum of the grid points."""
        self.check_codes(codes)
        digits = codes[..., None] // self.basis % self.levels
        return sum(self._point(digits[..., depth, :], depth) for depth in range(self.depth))
