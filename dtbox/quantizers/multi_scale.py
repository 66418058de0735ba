"""VAR's multi-scale residual quantizer (arXiv 2404.02905): losses over the partial sums of the scales.

Deviation: the published counters of used codes (`ema_vocab_hit_SV`) are not kept; the metric `CodeUsage` measures use.

Legend: B batch, N tokens of the grid, C code width, h and w rows and columns of the grid.
"""
from __future__ import annotations

from torch import Tensor

from dtbox.quantizers.base import mean_square
from dtbox.quantizers.multi_scale_base import MultiScale, ScaleSizes
from dtbox.quantizers.scale_convs import Sharing
from dtbox.registry import ESTIMATORS, QUANTIZERS
from dtbox.structures import QuantizerOutput
from dtbox.values import Fraction


@QUANTIZERS.register_module()
class MultiScaleRQ(MultiScale):
    """VAR's multi-scale residual quantizer (arXiv 2404.02905), with losses over the partial sums.

    Terms, means over the scales i with F_i the sum of the scales up to i: `commitment` = mean (z - sg(F_i))^2, and
    `codebook` = w mean (sg(z) - F_i)^2, which trains the convolutions and a table that learns by gradient; w is the
    `weight` of a GradientCodebook, 4 where there is none, so that 0.25 times the terms is VAR's loss. What else the
    quantizer of the scales reports (`entropy`) is averaged over the scales. The features are straight-through ones.

    Args:
        scales, quantizer, convs, strength, drop: see `MultiScale`; VAR's 256-pixel tokenizer has the scales 1, 2, 3, 4,
            5, 6, 8, 10, 13, 16, `convs=4` and `strength=0.5`.
        estimator: config of the gradient estimator, from the features to z.
    """
    example = dict(scales=[1, 2, 3], quantizer=dict(type='VQ', size=32, dim=4), convs=2)
    replaced = ('commitment', 'codebook')

    def __init__(self, scales: ScaleSizes, quantizer: dict, convs: Sharing | None = 4, strength: Fraction = 0.5,
                 drop: Fraction = 0.0, estimator: dict = dict(type='StraightThrough')) -> None:
        super().__init__(scales, quantizer, convs, strength, drop)
        self.estimator = ESTIMATORS.build(estimator, where='estimator')
        self.codebook_weight = getattr(getattr(self.inner, 'codebook', None), 'term', 4.0)

    def rows(self, out: QuantizerOutput) -> Tensor:
        """Rows of the codes, with the gradient of their table."""
        return self.inner.decode(out.codes).float()

    def terms(self, out: QuantizerOutput, target: Tensor, total: Tensor) -> dict[str, Tensor]:
        """See the class."""
        terms = {name: value for name, value in out.losses.items() if name not in self.replaced}
        terms['commitment'] = mean_square(target - total.detach())
        if any(p.requires_grad for p in self.parameters()):
            terms['codebook'] = self.codebook_weight * mean_square(target.detach() - total)
        return terms

    def finish(self, z: Tensor, total: Tensor) -> Tensor:
        """The sum, with the estimator's gradient to z."""
        return self.estimator(z, total.detach())
