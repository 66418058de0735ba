"""Multi-scale residual quantization in which every scale is trained by itself (TokenFlow, arXiv 2412.03069, MSVQ).

Legend: B batch, N tokens of the grid, L places of all scales, C code width, h and w rows and columns of the grid.
"""
from __future__ import annotations

from torch import Tensor

from dtbox.quantizers.multi_scale_base import MultiScale
from dtbox.registry import QUANTIZERS
from dtbox.structures import QuantizerOutput


@QUANTIZERS.register_module()
class ScaleWiseRQ(MultiScale):
    """Multi-scale residual quantizer whose losses and gradients are those of every scale's own quantizer (TokenFlow's
    MSVQ, arXiv 2412.03069, published code).

    The codes are those of `MultiScaleRQ`. Each scale's features carry the gradient of its quantizer's estimator to z;
    the terms are those that it reports, averaged over the scales. TokenFlow has a JointVQ with a GradientCodebook,
    no convolutions, and `drop=0.1`. It subtracts rows of length 1 from a residual that is not normalised; JointVQ gives
    just these.

    Args:
        scales, quantizer, convs, strength, drop: see `MultiScale`.
    """
    example = dict(scales=[1, 2, 3], quantizer=dict(type='JointVQ', size=32, members=dict(semantic=4, pixel=3)))
    # no one smooth map: a sum over the scales of straight-through gradients through means and enlargements
    smooth = None  # type: ignore[assignment]

    def rows(self, out: QuantizerOutput) -> Tensor:
        """Rows of the codes, with the gradient of the scale's features; a straight-through sum would round otherwise
        with gradients than without, and so would the codes of the next scale."""
        return self.inner.decode(out.codes).detach().float() + (out.features - out.features.detach())

    def terms(self, out: QuantizerOutput, target: Tensor, total: Tensor) -> dict[str, Tensor]:
        """Terms of the scale's quantizer."""
        return out.losses

    def finish(self, z: Tensor, total: Tensor) -> Tensor:
        """The sum."""
        return total
