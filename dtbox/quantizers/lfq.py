"""Lookup-free quantization (LFQ, MAGVIT-v2, arXiv 2310.05737, section 3.1): the code of a token is the signs of its
channels.

C channels are C bits and 2^C codes, without a table and without a search. An entropy term makes the choice of each
token sure and the choices of a batch diverse.

Deviations from the paper:
- The first channel is the highest bit, as in vector-quantize-pytorch (`LFQ`), whose codes, features and terms these
  are; equation 4 makes it the lowest.
- More than `group` bits (18) are cut into equal groups taken as independent, as BSQ (arXiv 2406.07548) does. This
  bounds memory at 2^group.
- Entropies are exact and without a clamp; see `binary.py`.

Legend: B batch, N tokens, C code width (bits), M = B N samples.
"""
from __future__ import annotations

import torch
from torch import Tensor

from dtbox.quantizers.base import Quantizer, mean_square
from dtbox.quantizers.binary import SignCodes, check_binary, entropy_term, signs_of
from dtbox.registry import ESTIMATORS, QUANTIZERS
from dtbox.structures import QuantizerOutput


@QUANTIZERS.register_module()
class LFQ(Quantizer):
    """Lookup-free quantizer (MAGVIT-v2, arXiv 2310.05737): the signs of the channels are the bits of the code.

    Args:
        dim: code width C, the number of bits; 2^C codes.
        commitment_weight: of the term `commitment` = mean (z - sign(z))^2.
        entropy_weight: of the term `entropy` of training (equation 5): entropy of a sample's code - diversity * entropy
            over the batch, in nats.
        diversity: see `entropy_weight`.
        temperature: of the soft code, a softmax of -|z - c|^2 / temperature over all codes c.
        group: most bits whose joint distribution over the batch is taken; more are cut into equal groups, whose
            entropies are added.
        estimator: config of the gradient estimator of the sign.
    """
    example = dict(dim=4)

    def __init__(self, dim: int, commitment_weight: float = 0.25, entropy_weight: float = 0.1, diversity: float = 1.0,
                 temperature: float = 0.01, group: int = 18, estimator: dict = dict(type='StraightThrough')):
        super().__init__()
        check_binary(dim, group, temperature, (commitment_weight, entropy_weight, diversity))
        self.dim, self.codebook_sizes = dim, [2 ** dim]
        self.commitment_weight = commitment_weight
        self.entropy_weight = entropy_weight
        self.diversity = diversity
        self.temperature, self.group = temperature, group
        self.estimator = ESTIMATORS.build(estimator, where='estimator')
        self.sign_codes = SignCodes(dim)

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize z [B,N,C]; features are -1 or 1; terms `commitment` and, in training, `entropy`, at their weights.
        """
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            values = z.float()
            signs = signs_of(values.detach())
            codes = self.sign_codes.encode(signs)
            losses = dict(commitment=self.commitment_weight * mean_square(values - signs))
            if self.training and self.entropy_weight:
                losses['entropy'] = self.entropy_weight * self._entropy(values.flatten(0, 1))
            features = self.estimator(values, signs)
        return QuantizerOutput(features.to(z.dtype), codes, losses)

    def _entropy(self, values: Tensor) -> Tensor:
        """values [M, C] -> scalar."""
        logits = values * (4 / self.temperature)  # |z + 1|^2 - |z - 1|^2 = 4 z
        return entropy_term(logits, self.group, self.diversity)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,N,1]."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            return self.sign_codes.encode(signs_of(z.float()))

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B,N,1] -> features [B,N,C]."""
        self.check_codes(codes)
        return self.sign_codes.decode(codes)
