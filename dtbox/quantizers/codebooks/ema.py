"""The table that follows its vectors by exponential moving averages (VQ-VAE, arXiv 1711.00937, appendix A.1), with the
restart of unused codes (Jukebox, arXiv 2005.00341) as RQ-VAE (arXiv 2203.01941) and DualToken do it.

Legend: K codes, C code width, R codes that get new rows.
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.quantizers.codebooks.base import Codebook
from dtbox.registry import CODEBOOKS
from dtbox.values import Count, Factor, Fraction, PositiveNumber, Seed

FADED = 1e-3
"""Averaged count below which a row is left as it is."""


@CODEBOOKS.register_module()
class EMACodebook(Codebook):
    """A table that follows its vectors by exponential moving averages (arXiv 1711.00937, appendix A.1).

    n <- decay n + (1 - decay) count, s <- decay s + (1 - decay) sum, E = s / smoothed n.

    Args:
        size, dim, decay, restart, start, cosine, delay, seed: see `Codebook`; `decay` is that of both averages.
        eps: of the Laplace smoothing.
    """

    def __init__(self, size: int, dim: int, decay: Fraction = 0.99, restart: Factor = 1.0, eps: PositiveNumber = 1e-5,
                 start: dict | None = None, cosine: bool = False, delay: Count = 0, seed: Seed = 0) -> None:
        super().__init__(size, dim, decay, restart, start, cosine, delay, seed)
        self.eps = eps
        weight = self.prepare(torch.randn(size, dim))
        self.register_buffer('weight', weight)
        # without restart an unused code would be divided by a count near 0: let each start as if it had been used once
        self.register_buffer('cluster_size', torch.zeros(size) if restart > 0 else torch.ones(size))
        self.register_buffer('embed_sum', weight.clone())
        self.register_buffer('updates', torch.zeros((), dtype=torch.int64))

    def learn(self, total: Tensor) -> None:
        """Average the sums."""
        self.embed_sum.mul_(self.decay).add_(total, alpha=1 - self.decay)

    def replace(self, codes: Tensor, rows: Tensor) -> None:
        """Give codes new sums; `settle` makes them rows."""
        self.embed_sum[codes] = rows

    def settle(self) -> None:
        """Divide the sums by the smoothed counts."""
        if self.cosine:
            table = F.normalize(self.embed_sum, dim=-1)
        else:
            table = smoothed(self.cluster_size, self.embed_sum, self.eps)
        # a code that has not been used for long keeps its row: its sums have faded away, and the smoothing would pull
        # it to zero
        self.weight.copy_(torch.where(self.cluster_size[:, None] < FADED, self.weight, table))

    def begin(self, table: Tensor, count: Tensor | None) -> None:
        """Start from a table, as if each row had the vectors that it has; where that is not known, twice what it takes
        not to restart."""
        table = self.prepare(table.to(self.weight))
        count = torch.full_like(self.cluster_size,
                                max(1.0, 2 * self.restart)) if count is None else count.to(self.cluster_size)
        self.weight.copy_(table)
        self.cluster_size.copy_(count)
        self.embed_sum.copy_(table * count.clamp_min(FADED)[:, None])


def smoothed(cluster_size: Tensor, embed_sum: Tensor, eps: float) -> Tensor:
    """Return the table: sums over Laplace-smoothed counts (spec: n (c + eps) / (n + K eps))."""
    n = cluster_size.sum()
    return embed_sum / (n * (cluster_size + eps) / (n + len(cluster_size) * eps)).unsqueeze(1)
