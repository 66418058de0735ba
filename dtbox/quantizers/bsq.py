"""Binary spherical quantization (BSQ, arXiv 2406.07548): the corner of the hypercube nearest to the direction of a
token.

A token is put on the unit sphere, and its signs, divided by sqrt(C), are the feature: the nearest corner of the cube
inscribed in the sphere. 2^C codes without a table; the error is bounded, and lengths play no role.

Deviations from the paper:
- The temperature is that of a softmax of -|u - c|^2 / temperature, as in LFQ; the paper's tau, which multiplies u . c,
  is 2 / temperature.
- Within a group of 9 bits the distribution over the batch is exact; groups are taken as independent. `group=1` is the
  paper's formula, every bit by itself; `group=dim` is exact (up to 24 bits) and equals `LFQ(spherical=True)` of
  vector-quantize-pytorch.
- No table of the soft codes is made; see `binary.py`.
- The first channel is the highest bit, as in the published code and the package.

Legend: B batch, N tokens, C code width (bits; L in the paper), M = B N samples.
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.quantizers.base import Quantizer, mean_square
from dtbox.quantizers.binary import SignCodes, check_binary, entropy_term, signs_of
from dtbox.registry import ESTIMATORS, QUANTIZERS
from dtbox.structures import QuantizerOutput


@QUANTIZERS.register_module()
class BSQ(Quantizer):
    """Binary spherical quantizer (arXiv 2406.07548): the signs of the direction of a token, as a unit vector.

    Args:
        dim: code width C, the number of bits; 2^C codes.
        commitment_weight: of the term `commitment` = mean (u - q)^2, u = z / |z|, q = sign(u) / sqrt(C).
        entropy_weight: of the term `entropy` of training: entropy of a sample's code - diversity * entropy over the
            batch, in nats.
        diversity: see `entropy_weight`.
        temperature: of the soft code, a softmax of -|u - c|^2 / temperature over all codes c.
        group: most bits whose joint distribution over the batch is taken; 1 takes all bits as independent, as the paper
            does.
        estimator: config of the gradient estimator of the sign.
    """
    example = dict(dim=4, group=3)

    def __init__(self, dim: int, commitment_weight: float = 0.25, entropy_weight: float = 0.1, diversity: float = 1.0,
                 temperature: float = 0.01, group: int = 9, estimator: dict = dict(type='StraightThrough')):
        super().__init__()
        check_binary(dim, group, temperature, (commitment_weight, entropy_weight, diversity), fewest=2)
        self.dim = dim
        self.codebook_sizes = [2 ** dim]
        self.length = dim ** -0.5
        self.commitment_weight = commitment_weight
        self.entropy_weight = entropy_weight
        self.diversity = diversity
        self.temperature, self.group = temperature, group
        self.estimator = ESTIMATORS.build(estimator, where='estimator')
        self.sign_codes = SignCodes(dim)

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize z [B,N,C]; features have length 1; terms `commitment` and, in training, `entropy`, at their weights.
        """
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            values = z.float()
            signs = signs_of(values.detach())
            codes, corner = self.sign_codes.encode(signs), signs * self.length
            values = F.normalize(values, dim=-1)
            losses = dict(commitment=self.commitment_weight * mean_square(values - corner))
            if self.training and self.entropy_weight:
                losses['entropy'] = self.entropy_weight * self._entropy(values.flatten(0, 1))
            features = self.estimator(values, corner)
        return QuantizerOutput(features.to(z.dtype), codes, losses)

    def _entropy(self, values: Tensor) -> Tensor:
        """values [M, C] of length 1 -> scalar."""
        return entropy_term(values * (4 * self.length / self.temperature), self.group, self.diversity)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,N,1]."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            return self.sign_codes.encode(signs_of(z.float()))

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B,N,1] -> features [B,N,C]."""
        self.check_codes(codes)
        return self.sign_codes.decode(codes) * self.length

    def smooth(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> its direction u."""
        return F.normalize(z, dim=-1)
