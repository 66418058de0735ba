"""Which groups of codes can hold the nearest one, by a product in bfloat16 whose error is bounded.

A product of bfloat16 numbers with sums in float32 takes half the time of one in float32 where the processor has an
instruction for it. Its scores are not exact, yet they leave only few groups of codes open, mostly one; these are
searched in float32 (`dtbox/quantizers/search.py`), so that the code is the one that a search of all codes finds.

Distances do not change when vectors and codes move together. With y = z - mean(e), c_k = e_k - mean(e) and
q_k = |c_k|^2 / 2 minus its mean, the nearest code has the largest R_k = y . c_k - q_k. The numbers are small, and the
best R_k is not below 0, since the R_k of a vector add up to 0. Numbers of bfloat16 that are not below 0 have the order
of the int16 with the same bits, whose maximum over a group costs a tenth of the product.

The bound. u = 2^-8 is the rounding of bfloat16, v = 2^-24 that of float32; E, H, F, G are the largest |c_k|,
|c_k|^2 / 2, |e_k|, |e_k|^2 / 2; n is the number of channels. Products of rounded factors are off by at most
(2u + u^2) |y| E together. Sums of n numbers, in any order, are off by n v (|y| E + H) (1 + 4u); what rounds y, c_k and
q_k, which is stored as three numbers of bfloat16, by less than (n + 4) v (|y| E + H). Together: e1. The plain search in
float32 is off by n v (|z| F + 2 G): e2. The code that wins there has then an approximate score of at least
b (1 - u (1 + 2u)) - 2 e1 - 2 e2, where b is the best approximate score after its rounding to bfloat16. What is below
that, rounded down, cannot win. v is doubled in the code, for the roundings of the bound itself.
"""
from __future__ import annotations

from typing import Callable, NamedTuple

import torch
from torch import Tensor

TILE = 8192
"""Most codes of a product."""
GROUPS = 64
"""Groups of a product at least: a maximum over fewer columns is slow."""
MOST_MEMBERS = 128
"""Most codes of a group."""
ENTRIES = 1 << 21
"""Scores that exist at a time for each thread: 4 MB."""
MAXIMA = 1 << 20
"""Maxima that exist at a time for each thread: 2 MB."""
MOST = 1 / 8
"""Part of the groups above which all codes are searched in float32 instead."""
U, V = 2.0 ** -8, 2.0 ** -23
TINY = 2.0 ** -100
"""Far above what processors flush to zero, far below every score that matters."""


def has_fast_products() -> bool:
    """Whether this CPU multiplies bfloat16 with sums in float32 by instructions of its own, and torch uses them."""
    native = [getattr(torch.cpu, name, None) for name in ('_is_avx512_bf16_supported', '_is_amx_tile_supported')]
    return torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled) \
        and any(is_supported is not None and is_supported() for is_supported in native) \
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()


class Candidates(NamedTuple):
    """Pairs of a vector and a group that may hold its nearest code, sorted by group, and vectors that have too many.

    Attributes:
        rows: [P] int64, the vector of a pair.
        counts: [groups] int64, pairs of each group.
        rest: [R] int64, vectors for which all codes have to be searched; they have no pairs.
    """

    rows: Tensor
    counts: Tensor
    rest: Tensor


class CoarseTable:
    """A codebook in bfloat16, prepared for `find`.

    Args:
        codebook: [K, C] float32.
    """

    def __init__(self, codebook: Tensor) -> None:
        size, self.dim = codebook.shape
        self.members = min(MOST_MEMBERS, max(1, min(size, TILE) // GROUPS))
        self.groups = -(-size // self.members)
        self.width = self.dim + 3 + (self.dim + 3) % 2  # an even number of channels: instructions multiply pairs
        self.mean = codebook.mean(0)
        step = TILE // self.members * self.members
        height = sum(float(half_norms(part - self.mean).sum()) for part in codebook.split(step)) / size
        self.tiles = [self._tile(part - self.mean, height) for part in codebook.split(step)]
        self.length = max(float(part.norm(dim=1).max()) for part in codebook.split(step))
        self.centred = max(float((part - self.mean).norm(dim=1).max()) for part in codebook.split(step))

    def _tile(self, rows: Tensor, height: float) -> Tensor:
        """Centred rows [k, C] and the mean of half norms -> [width, members * groups]: column i * groups + g is member
        i of group g; padded with codes that nothing is near to."""
        table = rows.new_zeros(len(rows), self.width, dtype=torch.bfloat16)
        table[:, :self.dim] = rows
        offset = half_norms(rows) - height
        for channel in range(self.dim, self.dim + 3):
            table[:, channel] = -offset
            offset = offset + table[:, channel].float()
        missing = -len(rows) % self.members
        if missing:
            padding = table.new_zeros(missing, self.width)
            padding[:, self.dim] = -3e38
            table = torch.cat([table, padding])
        return table.view(-1, self.members, self.width).permute(2, 1, 0).reshape(self.width, -1)

    def find(self, z: Tensor, take_scratch: Callable[[Tensor, int], Tensor]) -> Candidates:
        """Find the groups that may hold the nearest code of each vector. Where most of the first vectors have too many,
        as with codes that are nearly equal, all are left to the plain search.

        Args:
            z: [M, C] float32.
            take_scratch: like, size -> memory for at least `size` float32 numbers.
        """
        widest = max(tile.shape[1] for tile in self.tiles)
        step = max(16, torch.get_num_threads() * ENTRIES // widest)
        scores = take_scratch(z, -(-min(step, len(z)) * widest // 2)).view(torch.bfloat16)
        maxima = torch.empty(len(z), self.groups, dtype=torch.int16)
        y = z - self.mean
        for start in range(0, len(z), step):
            end = start + step
            self._maxima(y[start:end], scores, maxima[start:end])
            if not start and self._open(z[:end], y[:end], maxima[:end])[1].float().mean() > 0.5:
                none = torch.empty(0, dtype=torch.int64)
                return Candidates(none, none, torch.arange(len(z)))
        candidates, rest = self._open(z, y, maxima)
        candidates &= ~rest[:, None]
        return Candidates(candidates.t().nonzero()[:, 1], candidates.sum(0), rest.nonzero().flatten())

    def _open(self, z: Tensor, y: Tensor, maxima: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors, centred ones, maxima [m, groups] -> groups that may hold the nearest code [m, groups]; vectors for
        which these are too many [m]."""
        least = self._least(z, y, maxima.amax(1).view(torch.bfloat16).float())
        candidates = maxima >= least[:, None]
        return candidates, (least == 0) | (candidates.sum(1) > max(1, MOST * self.groups))

    def _maxima(self, y: Tensor, scores: Tensor, out: Tensor) -> None:
        """Write the best approximate score of each group, bits of bfloat16 in int16, to `out` [m, groups]."""
        rounded = y.new_ones(len(y), self.width, dtype=torch.bfloat16)
        rounded[:, :self.dim] = y
        start = 0
        for tile in self.tiles:
            product = scores[:len(y) * tile.shape[1]].view(len(y), -1)
            torch.mm(rounded, tile, out=product)
            end = start + tile.shape[1] // self.members
            torch.amax(product.view(torch.int16).view(len(y), self.members, -1), 1, out=out[:, start:end])
            start = end

    def _least(self, z: Tensor, y: Tensor, best: Tensor) -> Tensor:
        """Vectors [M, C], centred ones, and their best approximate scores [M] -> what a group's maximum has to reach
        [M], the bits of bfloat16 in int16; 0 where the bound says nothing (also for NaN and infinite values)."""
        n, product = self.width, y.norm(dim=1) * self.centred
        coarse = (2 * U + U * U) * product + (2 * n + 4) * V * (1 + 4 * U) * (product + self.centred ** 2 / 2)
        exact = n * V * (z.norm(dim=1) * self.length + self.length ** 2)
        low = best * (1 - U * (1 + 2 * U) - V) - 2 * (coarse + exact) - TINY * (1 + product)
        bits = low.view(torch.int32) >> 16  # cuts off: rounds down what is above 0
        return torch.where(low > TINY, bits, 0).to(torch.int16)


def half_norms(rows: Tensor) -> Tensor:
    """Rows [K, C] -> |e|^2 / 2 [K]."""
    return rows.pow(2).sum(1) / 2
