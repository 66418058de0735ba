"""Vector quantization (VQ-VAE, arXiv 1711.00937): one code per token, the nearest row of one codebook."""
from __future__ import annotations

import torch
from torch import Tensor

from dtbox.quantizers.base import Quantizer, in_backward, mean_square
from dtbox.registry import CODEBOOKS, ESTIMATORS, QUANTIZERS
from dtbox.structures import QuantizerOutput


@QUANTIZERS.register_module()
class VQ(Quantizer):
    """Vector quantizer (VQ-VAE, arXiv 1711.00937): the nearest row of one codebook.

    Args:
        size: codebook size K.
        dim: code width C.
        codebook: config of the table and how it learns; size and dim are filled in.
        estimator: config of the gradient estimator.
    """
    example = dict(size=32, dim=4)

    def __init__(self, size: int, dim: int, codebook: dict = dict(type='EMACodebook'),
                 estimator: dict = dict(type='StraightThrough')) -> None:
        super().__init__()
        self.codebook = CODEBOOKS.build(codebook, where='codebook', size=size, dim=dim)
        self.estimator = ESTIMATORS.build(estimator, where='estimator')
        self.dim, self.codebook_sizes = dim, [size]

    def forward(self, z: Tensor) -> QuantizerOutput:
        """z [B,N,C] -> QuantizerOutput with the term `commitment` = mean (z - sg(q))^2, and those of the codebook."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            values = self.codebook.prepare(z.float())
            codes = self.codebook.search(values.detach().flatten(0, 1)).view(values.shape[:2])
            if self.training and not in_backward():
                self.codebook.collect(values.detach()[None], codes[None])
            quantized = self.codebook.lookup(codes)
            losses = dict(commitment=mean_square(values - quantized.detach()),
                          **self.codebook.losses(values, quantized))
            features = self.estimator(values, quantized.detach())
        return QuantizerOutput(features.to(z.dtype), codes[..., None], losses)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,N,1]."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            return self.codebook.search(self.codebook.prepare(z.float()).flatten(0, 1)).view(*z.shape[:2], 1)

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B,N,1] -> features [B,N,C]."""
        self.check_codes(codes)
        return self.codebook.lookup(codes[..., 0])

    def smooth(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> what is quantized: z, or its direction."""
        return self.codebook.prepare(z)

    def init_weights(self) -> None:
        """See Quantizer."""
        self.codebook.init_weights()

    def commit(self) -> None:
        """Update the codebook."""
        self.codebook.commit()

    def discard(self) -> None:
        """Forget what was collected."""
        self.codebook.discard()
