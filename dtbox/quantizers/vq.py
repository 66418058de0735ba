"""Vector quantization (VQ-VAE, arXiv 1711.00937): one code per token, the nearest row of one codebook."""
from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.errors import InputError
from dtbox.quantizers.base import Quantizer, in_backward, mean_square
from dtbox.quantizers.search import make_search
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
    nests = True

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
            codes = self.searcher()(z.detach())
            if self.training and self.collecting and not in_backward():
                self.collect(z.float(), codes)
            quantized = self.codebook.lookup(codes[..., 0])
            losses = dict(commitment=mean_square(values - quantized.detach()),
                          **self.codebook.losses(values, quantized))
            features = self.estimator(values, quantized.detach())
        return QuantizerOutput(features.to(z.dtype), codes, losses)

    def searcher(self) -> Callable[[Tensor], Tensor]:
        """See Quantizer."""
        find = self.codebook.searcher()
        return lambda z: find(self.codebook.prepare(z.float()).flatten(0, 1)).view(*z.shape[:2], 1)

    def collect(self, z: Tensor, codes: Tensor) -> None:
        """See Quantizer."""
        self.codebook.collect(self.codebook.prepare(z.detach())[None], codes[..., 0][None])

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,N,1]."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            return self.searcher()(z)

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


@QUANTIZERS.register_module()
class DirectionVQ(VQ):
    """Vector quantizer that finds a code by direction and hands out its row with its length (VAR, arXiv 2404.02905:
    `using_znorm` of its code): the row of the highest cosine.

    Args:
        size, dim, codebook, estimator: see `VQ`. A codebook with `cosine` would hand out directions: leave it off.
    """
    example = dict(size=32, dim=4)

    def __init__(self, size: int, dim: int, codebook: dict = dict(type='EMACodebook'),
                 estimator: dict = dict(type='StraightThrough')) -> None:
        super().__init__(size, dim, codebook, estimator)
        if self.codebook.cosine:
            raise InputError('`cosine` hands out directions, and DirectionVQ rows with their lengths. Leave it off, or '
                             'take VQ.', 'codebook')

    def searcher(self) -> Callable[[Tensor], Tensor]:
        """See Quantizer."""
        find = make_search(F.normalize(self.codebook.table().detach().float(), dim=-1))
        return lambda z: find(F.normalize(z.float(), dim=-1).flatten(0, 1)).view(*z.shape[:2], 1)
