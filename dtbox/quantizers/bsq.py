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

import torch.nn.functional as F
from torch import Tensor

from dtbox.quantizers.binary import BinaryQuantizer, check_binary
from dtbox.registry import QUANTIZERS


@QUANTIZERS.register_module()
class BSQ(BinaryQuantizer):
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
    nests = True

    def __init__(self, dim: int, commitment_weight: float = 0.25, entropy_weight: float = 0.1, diversity: float = 1.0,
                 temperature: float = 0.01, group: int = 9, estimator: dict = dict(type='StraightThrough')):
        check_binary(dim, group, temperature, (commitment_weight, entropy_weight, diversity), fewest=2)
        super().__init__(dim, dim ** -0.5, commitment_weight, entropy_weight, diversity, temperature, group, estimator)

    def smooth(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> its direction u."""
        return F.normalize(z, dim=-1)
