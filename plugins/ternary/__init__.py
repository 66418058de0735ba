"""Ternary: each channel of a token says -1, 0 or 1, the nearest of the three (1.58 bits a channel). A tutorial.

This is a whole plugin: one class, registered under its own name. No paper; the simplest table-free quantizer after
signs.

Legend: B batch, N tokens, C code width.
"""
import torch
from torch import Tensor

from dtbox.errors import InputError
from dtbox.quantizers.base import Quantizer, check_sizes, mean_square
from dtbox.registry import ESTIMATORS, QUANTIZERS
from dtbox.structures import QuantizerOutput

__version__ = '1.0'


@QUANTIZERS.register_module()
class Ternary(Quantizer):
    """Rounds every channel to -1, 0 or 1.

    Args:
        dim: code width C, at most 39; there are 3 ** C codes, and an int64 numbers them.
        estimator: config of the gradient estimator.
    """
    example = dict(dim=4)  # a small instance, for the contract's checks and for `dtbox plugins list`

    def __init__(self, dim: int, estimator: dict = dict(type='StraightThrough')):
        super().__init__()
        check_sizes(dim=dim)
        if dim > 39:
            raise InputError(f'`dim` is {dim}; codes are int64, so it can be 39 at most.')
        self.dim, self.codebook_sizes = dim, [3 ** dim]  # one code per token
        self.estimator = ESTIMATORS.build(estimator, where='estimator')
        self.register_buffer('powers', 3 ** torch.arange(dim), persistent=False)

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize z [B,N,C], with the term `commitment` = mean (z - sg(q))^2."""
        self.check(z)  # refuses other shapes, NaN and infinite values
        with torch.autocast(z.device.type, enabled=False):  # codes are found in float32
            values = z.float()
            codes = self._to_codes(values.detach())
            quantized = self.decode(codes)
            features = self.estimator(values, quantized)  # the value of `quantized`, the gradient to `values`
        return QuantizerOutput(features.to(z.dtype), codes, dict(commitment=mean_square(values - quantized)))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,N,1] int64."""
        self.check(z)
        return self._to_codes(z.float())

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B,N,1] -> features [B,N,C], -1, 0 or 1."""
        self.check_codes(codes)
        return (codes // self.powers % 3) - 1.0

    def _to_codes(self, z: Tensor) -> Tensor:
        """z [B,N,C] float32 -> codes [B,N,1]."""
        return ((z.clamp(-1, 1).round().long() + 1) * self.powers).sum(-1, keepdim=True)
