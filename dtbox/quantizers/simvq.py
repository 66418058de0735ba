"""SimVQ (arXiv 2411.02038, section 3): a frozen random table times one learned matrix, against codebook collapse.

What is searched and looked up is the table times the matrix. A gradient at one code moves the matrix, and with it every
code, so that none falls out of use. Nothing is collected and `commit` has nothing to do: the optimizer does all the
learning.

- The terms have the paper's ratio 0.25 : 1, scaled so that `commitment` has the weight 1.
- The gradient is the straight-through one of the paper; `SimVQ` of vector-quantize-pytorch takes the rotation trick by
  default, here `estimator=dict(type='RotationTrick')`. With `rotation_trick=False` codes, features, losses and
  gradients are the package's.
- The matrix has no bias, as in the package.

Legend: B batch, N tokens, C code width, K codebook size.
"""
from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.errors import InputError
from dtbox.quantizers.base import Quantizer, check_sizes, mean_square
from dtbox.quantizers.search import nearest_codes
from dtbox.registry import ESTIMATORS, QUANTIZERS
from dtbox.structures import QuantizerOutput


@QUANTIZERS.register_module()
class SimVQ(Quantizer):
    """SimVQ (arXiv 2411.02038): the nearest row of a frozen random table times a learned matrix.

    Args:
        size: codebook size K.
        dim: code width C.
        latent_dim: width of the frozen table; None takes C.
        codebook_weight: of the term `codebook` = mean (sg(z) - q)^2, which trains the matrix, beside `commitment` =
            mean (z - sg(q))^2, whose weight is 1 (the paper: 1 and 0.25, that is 4).
        estimator: config of the gradient estimator.
    """
    example = dict(size=32, dim=4)

    def __init__(self, size: int, dim: int, latent_dim: int | None = None, codebook_weight: float = 4.0,
                 estimator: dict = dict(type='StraightThrough')):
        super().__init__()
        latent_dim = dim if latent_dim is None else latent_dim
        check_sizes(size=size, dim=dim, latent_dim=latent_dim)
        if not codebook_weight > 0:
            raise InputError(f'`codebook_weight` is {codebook_weight!r}; the matrix learns by this term alone, so it '
                             'has to '
                             'be positive.')
        self.dim = dim
        self.codebook_sizes = [size]
        self.codebook_weight = codebook_weight
        self.register_buffer('frozen', torch.randn(size, latent_dim) * latent_dim ** -0.5)
        self.transform = nn.Linear(latent_dim, dim, bias=False)
        self.estimator = ESTIMATORS.build(estimator, where='estimator')

    def table(self) -> Tensor:
        """Return the codebook [K, C], with the gradient to the matrix."""
        with torch.autocast(self.frozen.device.type, enabled=False):
            return F.linear(self.frozen.float(), self.transform.weight.float())

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize z [B,N,C], with the terms `commitment` and `codebook`."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            values, table = z.float(), self.table()
            codes = nearest_codes(values.detach().flatten(0, 1), table.detach()).view(values.shape[:2])
            rows = F.embedding(codes, table)
            losses = dict(commitment=mean_square(values - rows.detach()),
                          codebook=self.codebook_weight * mean_square(values.detach() - rows))
            features = self.estimator(values, rows.detach())
        return QuantizerOutput(features.to(z.dtype), codes[..., None], losses)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,N,1]."""
        self.check(z)
        return nearest_codes(z.flatten(0, 1), self.table()).view(*z.shape[:2], 1)

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B,N,1] -> features [B,N,C]."""
        self.check_codes(codes)
        return F.embedding(codes[..., 0], self.table())
