"""Multi-codebook quantization (MCQ, UniTok, arXiv 2502.20321): each chunk of channels has a codebook of its own.

Each chunk takes the nearest direction of its codebook. Eight codebooks of 4,096 codes make 4096^8 combinations at the
cost of eight small searches, and small tables stay in use.

As in UniTok and its published code: chunks and rows are L2-normalised, features are unit rows, straight-through to the
normalised chunk, tables learn by gradient from uniform +-c^-0.5 / 36, without averages and restarts. The terms have
UniTok's ratio 0.25 : 1, scaled so that `commitment` has the weight 1.

Deviations:
- `size` counts the codes of one sub-codebook, where UniTok's configuration counts those of all together (32768 = 8 x
  4096).
- The scores of the entropy exist for a block of rows at a time.

Tables that learn otherwise (averages, restarts, k-means starts) are `Product` of `VQ`.
Codes and features equal those of `VectorQuantize(heads=Q, separate_codebook_per_head=True, use_cosine_sim=True)` of
vector-quantize-pytorch.

Legend: B batch, N tokens, C code width, Q chunks, c = C / Q channels of a chunk, K codes of a sub-codebook, m rows of a
block.
"""
from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dtbox.errors import InputError
from dtbox.quantizers.base import Quantizer, check_sizes, mean_square
from dtbox.quantizers.search import nearest_codes
from dtbox.registry import ESTIMATORS, QUANTIZERS
from dtbox.structures import QuantizerOutput

ENTRIES = 1 << 21
"""Scores that exist at a time for the entropy: 8 MB."""


@QUANTIZERS.register_module()
class MCQ(Quantizer):
    """Multi-codebook quantizer (UniTok, arXiv 2502.20321): one code per chunk of channels, the direction nearest to the
    chunk's.

    Chunks and rows are L2-normalised; the features are the unit rows of all chunks, side by side.

    Args:
        size: codes K of each sub-codebook (UniTok: 4096).
        dim: code width C (64).
        parts: chunks Q (8).
        codebook_weight: of the term `codebook` = mean (sg(f) - q)^2, which trains the tables, beside `commitment` =
            mean (f - sg(q))^2, whose weight is 1 (UniTok: 1 and 0.25, that is 4).
        entropy_weight: of the term `entropy` of training: mean entropy of a chunk's softmax - entropy of their mean
            over the batch, averaged over the chunks (UniTok: 0).
        temperature: of the softmax of -|f - q|^2 / temperature in `entropy`.
        estimator: config of the gradient estimator.
    """
    example = dict(size=16, dim=8, parts=2)

    def __init__(self, size: int, dim: int, parts: int, codebook_weight: float = 4.0, entropy_weight: float = 0.0,
                 temperature: float = 0.01, estimator: dict = dict(type='StraightThrough')):
        super().__init__()
        check_sizes(size=size, dim=dim, parts=parts)
        if dim % parts or dim == parts:
            raise InputError(f'`dim` is {dim} and `parts` {parts}; expected chunks of one width of at least 2 '
                             'channels, since '
                             'one channel alone has no direction to learn. Choose `parts` that divides `dim` and is '
                             'smaller.')
        if not codebook_weight > 0 or entropy_weight < 0 or not temperature > 0:
            raise InputError(f'`codebook_weight` is {codebook_weight}, `entropy_weight` {entropy_weight}, '
                             '`temperature` '
                             f'{temperature}; expected a positive weight, since the tables learn by it, at least 0, '
                             'and a '
                             'positive temperature.')
        self.dim = dim
        self.parts = parts
        self.codebook_sizes = [size] * parts
        self.codebook_weight = codebook_weight
        self.entropy_weight = entropy_weight
        self.temperature = temperature
        self.estimator = ESTIMATORS.build(estimator, where='estimator')
        width = dim // parts
        self.weight = nn.Parameter(torch.empty(parts, size, width).uniform_(-1, 1) * width ** -0.5 / 36)

    def table(self) -> Tensor:
        """Return the unit rows of all sub-codebooks [Q, K, c]."""
        return F.normalize(self.weight.float(), dim=-1)

    def smooth(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> the direction of every chunk [B,N,C]."""
        return F.normalize(z.unflatten(-1, (self.parts, -1)), dim=-1).flatten(-2)

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize z [B,N,C], with the terms `commitment`, `codebook` and, in training where it has a weight,
        `entropy`."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            values, table = self.smooth(z.float()), self.table()
            codes = self._search(values.detach(), table.detach())
            rows = self._lookup(codes, table)
            losses = dict(commitment=mean_square(values - rows.detach()),
                          codebook=self.codebook_weight * mean_square(values.detach() - rows))
            if self.training and self.entropy_weight:
                losses['entropy'] = self.entropy_weight * self._entropy(values, table)
            features = self.estimator(values, rows.detach())
        return QuantizerOutput(features.to(z.dtype), codes, losses)

    def _search(self, values: Tensor, table: Tensor) -> Tensor:
        """values [B,N,C], table [Q,K,c] -> codes [B,N,Q]."""
        chunks = values.flatten(0, 1).chunk(self.parts, -1)
        codes = torch.stack([nearest_codes(chunk, rows) for chunk, rows in zip(chunks, table)], -1)
        return codes.view(*values.shape[:2], self.parts)

    def _lookup(self, codes: Tensor, table: Tensor) -> Tensor:
        """codes [B,N,Q], table [Q,K,c] -> rows [B,N,C]."""
        first = torch.arange(self.parts, device=codes.device) * table.shape[1]
        return F.embedding(codes + first, table.flatten(0, 1)).flatten(-2)

    def _entropy(self, values: Tensor, table: Tensor) -> Tensor:
        """values [B,N,C], table [Q,K,c] -> scalar."""
        total, count = 0.0, max(1, values.shape[0] * values.shape[1])
        for chunk, rows in zip(values.flatten(0, 1).chunk(self.parts, -1), table):
            blocks = [checkpoint(self._block, part, rows, use_reentrant=False, preserve_rng_state=False)
                      for part in chunk.split(max(1, ENTRIES // len(rows)))]
            sample, mean = (sum(column) / count for column in zip(*blocks))
            total = total + sample + (mean * mean.clamp_min(torch.finfo(mean.dtype).tiny).log()).sum()
        return total / self.parts

    def _block(self, chunk: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """chunk [m, c], rows [K, c], both of length 1 -> summed entropy, summed probabilities [K]."""
        log_p = (chunk @ rows.t() * (2 / self.temperature)).log_softmax(1)
        p = log_p.exp()
        return -(p * log_p).sum(), p.sum(0)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,N,Q]."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            return self._search(self.smooth(z.float()), self.table())

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B,N,Q] -> features [B,N,C]."""
        self.check_codes(codes)
        return self._lookup(codes, self.table())
