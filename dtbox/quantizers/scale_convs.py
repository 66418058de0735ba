"""The convolutions that follow the enlarging of a scale in a multi-scale quantizer (VAR, arXiv 2404.02905, algorithm 1,
phi_k): x -> (1 - s) x + s conv(x), and which of them a scale has.

Legend: B batch, C channels, h and w rows and columns of the grid, S scales.
"""
from __future__ import annotations

from typing import Literal, Union

import numpy as np
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.layers.conv import conv3x3
from dtbox.values import Positive

EACH = 'each'
"""One convolution a scale."""
Sharing = Union[Positive, Literal['each']]
"""How many convolutions the scales share, or `EACH`."""


class ScaleConvs(nn.Module):
    """Residual 3x3 convolutions that scales share.

    Args:
        dim: channels C.
        sharing: number of convolutions; several lie at evenly spaced ticks between the first and the last scale, and a
            scale takes the nearest. Or 'each': one for each scale.
        strength: s in [0, 1], the part of the convolution in the sum.
        scales: S, which 'each' needs.
    """

    def __init__(self, dim: int, sharing: Sharing, strength: float, scales: int) -> None:
        super().__init__()
        self.each, self.strength = sharing == EACH, strength
        self.convs = nn.ModuleList(conv3x3(dim, dim) for _ in range(scales if self.each else int(sharing)))

    def choose(self, scale: int, scales: int) -> int:
        """Return which convolution scale number `scale` of `scales` has.

        VAR's rule: tick j of J at a + j (1 - 2a) / (J - 1), a = 1 / 3J for J = 4, else 1 / 2J; the nearest to
        scale / (scales - 1), the first of equals. In float64, whose rounding decides where two are equally near.
        """
        count = len(self.convs)
        if self.each:
            if scales != count:
                raise InputError(f'each of {format_count(count, "scale")} has a convolution of its own, and '
                                 f'{format_count(scales, "scale")} came. Give as many scales.', 'scales')
            return scale
        first = 1 / 3 / count if count == 4 else 1 / 2 / count
        ticks = np.linspace(first, 1 - first, count)
        return int(np.argmin(np.abs(ticks - scale / max(1, scales - 1))))

    def forward(self, x: Tensor, scale: int, scales: int) -> Tensor:
        """x [B,C,h,w] float32, enlarged rows of a scale -> the same shape."""
        conv = self.convs[self.choose(scale, scales)]
        y = F.conv2d(x, conv.weight.float(), conv.bias.float(), padding=1)
        return (1 - self.strength) * x + self.strength * y
