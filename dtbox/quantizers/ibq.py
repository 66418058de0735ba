"""Index backpropagation quantization (IBQ, arXiv 2412.02692, section 3): the straight-through estimator on the one-hot
code.

The code is the row with the highest dot product, searched as published: the argmax of the float32 softmax, so that rows
whose probabilities round to the same number go to the first. Forward the one-hot of the best row, backward the softmax
over all rows: the choice of the code is differentiable, so that every code gets a gradient at every step, not the
chosen ones alone, and large tables stay in use.

Deviations from the paper:
- The scores [N, K] exist for a block of rows at a time (8 MB) and are computed again in the backward pass. Values and
  gradients are those of the one-hot matrices.
- The feature is exactly the row, not the row plus the rounding of (hard - soft + soft).
- The paper does not fix the weight of the entropy; 0.05 is a choice made here.
- The batch of the entropy is that of one rank.
- The published code adds 1e-5 to the mean probabilities inside the logarithm of the entropy, which `floor` does; the
  paper does not.

Legend: B batch, N tokens, C code width, M = B N samples, K codebook size, m rows of a block.
"""
from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dtbox.errors import InputError
from dtbox.quantizers.base import Quantizer, check_sizes, mean_square
from dtbox.registry import QUANTIZERS
from dtbox.structures import QuantizerOutput

ENTRIES = 1 << 21
"""Scores that exist at a time: 8 MB."""


@QUANTIZERS.register_module()
class IBQ(Quantizer):
    """Index backpropagation quantizer (arXiv 2412.02692): the code of the highest dot product, its gradient that of a
    softmax.

    Terms of the double quantization loss, with h the row of the code and q the same with the gradient of the softmax:
    `index` = mean (z - q)^2, `commitment` = mean (z - sg(h))^2, `codebook` = codebook_weight mean (sg(z) - h)^2.

    Args:
        size: codebook size K.
        dim: code width C.
        codebook_weight: beta of the paper.
        entropy_weight: of the term `entropy` of training: mean entropy of a sample's softmax - entropy of their mean
            over the batch, in nats.
        temperature: of the softmax in `entropy`.
        floor: added to the mean probabilities of the batch inside the logarithm of `entropy` (SEED-Voken: 1e-5).
    """
    example = dict(size=32, dim=4)

    def __init__(self, size: int, dim: int, codebook_weight: float = 0.25, entropy_weight: float = 0.05,
                 temperature: float = 0.01, floor: float = 0.0):
        super().__init__()
        check_sizes(size=size, dim=dim)
        if not temperature > 0 or min(codebook_weight, entropy_weight, floor) < 0:
            raise InputError(f'`temperature` is {temperature}, the weights are {codebook_weight} and {entropy_weight}, '
                             f'`floor` is {floor}; expected a positive temperature, and weights and a floor of at '
                             'least 0.')
        self.dim, self.codebook_sizes = dim, [size]
        self.codebook_weight = codebook_weight
        self.entropy_weight = entropy_weight
        self.temperature, self.floor = temperature, floor
        self.weight = nn.Parameter(torch.empty(size, dim).uniform_(-1 / size, 1 / size))

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize z [B,N,C], with the terms of the class and, in training, `entropy`, at their weights."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            values, table = z.float(), self.weight.float()
            codes, expected, entropy = self._blocks(values.flatten(0, 1), table)
            codes = codes.view(values.shape[:2])
            rows = F.embedding(codes, table)
            features = rows if expected is None else rows + (expected - expected.detach()).view_as(rows)
            losses = dict(index=mean_square(values - features), commitment=mean_square(values - rows.detach()),
                          codebook=self.codebook_weight * mean_square(values.detach() - rows))
            if entropy is not None:
                losses['entropy'] = self.entropy_weight * entropy
        return QuantizerOutput(features.to(z.dtype), codes[..., None], losses)

    def _blocks(self, z: Tensor, table: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """z [M, C], table [K, C] -> codes [M], softmax-weighted rows [M, C] (None without gradient), entropy (None in
        evaluation)."""
        gradient, with_entropy = torch.is_grad_enabled(), self.training and self.entropy_weight > 0
        blocks = []
        for part in z.split(max(1, ENTRIES // len(table))):
            blocks.append(checkpoint(self._block, part, table, with_entropy, use_reentrant=False,
                                     preserve_rng_state=False)
                          if gradient else self._block(part, table, with_entropy))
        codes, expected, sample, mean = zip(*blocks)
        entropy = None
        if with_entropy:
            mean = sum(mean) / max(1, len(z))
            log_mean = (mean.clamp_min(torch.finfo(mean.dtype).tiny) + self.floor).log()
            entropy = sum(sample) / max(1, len(z)) + (mean * log_mean).sum()
        return torch.cat(codes), torch.cat(expected) if gradient else None, entropy

    def _block(self, z: Tensor, table: Tensor, with_entropy: bool) -> tuple:
        """z [m, C] -> codes [m], softmax-weighted rows [m, C], summed entropy of the samples, summed probabilities [K].
        """
        scores = z @ table.t()
        soft = scores.softmax(1)
        codes, expected = soft.argmax(1), soft @ table.detach() if torch.is_grad_enabled() else None
        if not with_entropy:
            return codes, expected, None, None
        log_p = (scores / self.temperature).log_softmax(1)
        p = log_p.exp()
        return codes, expected, -(p * log_p).sum(), p.sum(0)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,N,1]."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            table = self.weight.float()
            parts = z.float().flatten(0, 1).split(max(1, ENTRIES // len(table)))
            return torch.cat([(part @ table.t()).softmax(1).argmax(1) for part in parts]).view(*z.shape[:2], 1)

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B,N,1] -> features [B,N,C]."""
        self.check_codes(codes)
        return F.embedding(codes[..., 0], self.weight)

    def smooth(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> rows weighted by the softmax of their scores."""
        return (z @ self.weight.t()).softmax(-1) @ self.weight
