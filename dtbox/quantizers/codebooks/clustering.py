"""The table that learns by gradient and whose unused rows move towards features (CVQ-VAE, arXiv 2307.15139), as
TA-TiTok (arXiv 2501.07730) trains it.

Deviations from bytedance/1d-tokenizer: rows move once a step, after the optimizer, from all features of the step; its
code moves them within each forward pass. With `cosine` rows move towards directions, there towards whole features.

Legend: M vectors, K codes, C code width.
"""
from __future__ import annotations

import torch
from torch import Tensor

from dtbox import distributed
from dtbox.quantizers.codebooks.gradient import GradientCodebook
from dtbox.quantizers.search import nearest_codes
from dtbox.registry import CODEBOOKS
from dtbox.values import Average, Count, PositiveNumber, Seed


@CODEBOOKS.register_module()
class ClusteringCodebook(GradientCodebook):
    """A GradientCodebook whose rows move towards the nearest feature of a step, the more the less they are used.

    u <- decay u + (1 - decay) (fraction of the codes of the step), w = exp(-10 K u / (1 - decay) - 1e-3), and each row
    e <- (1 - w) e + w z with the feature z that is nearest to it (CVQ-VAE, arXiv 2307.15139, equations 4 to 6).

    Args:
        size, dim, start, cosine, delay, seed: see `Codebook`.
        decay: of the averaged use u.
        weight: of the term `codebook`, see `GradientCodebook`.

    Attributes:
        usage: u [K], which starts at 0.
    """

    def __init__(self, size: int, dim: int, decay: Average = 0.99, weight: PositiveNumber = 4.0,
                 start: dict | None = None, cosine: bool = False, delay: Count = 0, seed: Seed = 0) -> None:
        super().__init__(size, dim, decay, 0.0, weight, start, cosine, delay, seed)
        self.register_buffer('usage', torch.zeros(size))

    @property
    def collects(self) -> bool:
        """Always."""
        return True

    def refresh(self, vectors: Tensor, count: Tensor, batches: list[int]) -> None:
        """Move the rows; see the class. vectors [Q,B,N,C] of this rank, count [K] of all ranks."""
        self.usage.mul_(self.decay).add_(count / count.sum(), alpha=1 - self.decay)
        pull = torch.exp(-10 * self.size * self.usage / (1 - self.decay) - 1e-3)[:, None]
        self.weight.data.lerp_(self._find_nearest(vectors.flatten(0, -2)), pull)

    def _find_nearest(self, vectors: Tensor) -> Tensor:
        """vectors [M,C] of this rank -> for each row the nearest one of all ranks [K,C]."""
        table = self.table().detach()
        near = vectors[nearest_codes(table, vectors)] if len(vectors) else torch.zeros_like(table)
        if distributed.get_world_size() == 1:
            return near
        distance = (near - table).pow(2).sum(1) if len(vectors) else torch.full_like(table[:, 0], torch.inf)
        return share_rows(torch.where(is_least(distance)[:, None], near, 0))


def is_least(distance: Tensor) -> Tensor:
    """Return where this rank's distances [K] are the least of all ranks; one rank alone where several are as near."""
    return torch.stack(distributed.gather_tensor(distance)).argmin(0) == distributed.get_rank()


def share_rows(rows: Tensor) -> Tensor:
    """Sum rows [K,C], of which each rank has some and zeros elsewhere, over ranks."""
    distributed.sum_in_place(rows)
    return rows
