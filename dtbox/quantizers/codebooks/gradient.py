"""The table that learns by gradient (VQ-VAE, arXiv 1711.00937, equation 3, second term)."""
from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.errors import InputError
from dtbox.quantizers.base import mean_square
from dtbox.quantizers.codebooks.base import Codebook
from dtbox.registry import CODEBOOKS


@CODEBOOKS.register_module()
class GradientCodebook(Codebook):
    """A table that the optimizer trains: the term `codebook` = mean (sg(z) - q)^2 (arXiv 1711.00937, equation 3).

    Args:
        size, dim, decay, restart, start, cosine, delay, seed: see `Codebook`. The table starts uniform in +-1/K as in
            the paper's reference code, or as unit vectors where `cosine` is set.
        weight: of the term beside the quantizer's `commitment`, whose weight is 1 (the paper: 1 and 0.25, that is 4).
    """

    def __init__(self, size: int, dim: int, decay: float = 0.99, restart: float = 0.0, weight: float = 4.0,
                 start: dict | None = None, cosine: bool = False, delay: int = 0, seed: int = 0) -> None:
        super().__init__(size, dim, decay, restart, start, cosine, delay, seed)
        if not weight > 0:
            raise InputError(f'`weight` is {weight!r}; the table learns by this term alone, so it has to be positive.')
        self.term = weight
        rows = F.normalize(torch.randn(size, dim), dim=-1) if cosine else torch.empty(size, dim).uniform_(-1 / size,
                                                                                                          1 / size)
        self.weight = nn.Parameter(rows)
        self.register_buffer('cluster_size', torch.ones(size))
        self.register_buffer('updates', torch.zeros((), dtype=torch.int64))

    @property
    def collects(self) -> bool:
        """Only where a start from data or restarts need it."""
        return self.restart > 0 or (self.start is not None and self.start.needs_data)

    def losses(self, values: Tensor, rows: Tensor) -> dict[str, Tensor]:
        """See Codebook."""
        return dict(codebook=self.term * mean_square(values.detach() - rows))

    def replace(self, codes: Tensor, rows: Tensor) -> None:
        """Overwrite rows; the optimizer's averages of them stay."""
        self.weight.data[codes] = rows.to(self.weight)

    def begin(self, table: Tensor, count: Tensor | None) -> None:
        """Start from a table."""
        self.weight.data.copy_(self.prepare(table.to(self.weight)))
        self.cluster_size.fill_(max(1.0, 2 * self.restart)) if count is None else self.cluster_size.copy_(count)

