"""Which layer to take: the rule that turns scores of single images into a pair of layers.

A layer counts as good as the best one when it is shown not to lose more than a tolerance: the upper end of the 95 %
interval of its mean loss, paired over the same images, lies within the tolerance (a non-inferiority test, one margin
for all layers). So ties go to all that tie, and where there are too few images to tell, the best layer stands alone.

- Semantic layer: the shallowest that is as good as the best one.
- Pixel layer: the deepest that is as good as the best one and no deeper than the semantic layer, since behind it the
  trunk may carry quantized features alone (DualToken, arXiv 2503.14324, section 3: shallow layers for pixels, deep ones
  for semantics). Where none is, the best one for pixels among those no deeper than the semantic layer.

The embedding (layer 0) shows what a linear map of the patches holds. It is no candidate: it would win for pixels by
running no block at all.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

Z = 1.96
"""Half the width of a 95 % interval, in standard errors."""


@dataclass(frozen=True)
class Standing:
    """How a layer does against the best one.

    Attributes:
        score: its mean.
        loss: mean paired difference, the best candidate minus this one; 0 for that one.
        half: half the width of the 95 % interval of `loss`; infinite with fewer than two images.
        good: whether it is a candidate, and loss + half within the tolerance.
    """
    score: float
    loss: float
    half: float
    good: bool


def compute_standings(groups: dict[int, list], tolerance: float) -> dict[int, Standing]:
    """Compare layers.

    Args:
        groups: dict layer -> list of arrays with a number for each query, the same queries for every layer; the score
            of a layer is the mean of the arrays' means (as R@1 of both directions is averaged). The standard errors of
            the arrays are averaged, too: the upper bound, which is reached where the directions fail on the same
            images.
        tolerance: in the unit of the numbers.

    Returns:
        dict layer -> Standing.
    """
    scores = {layer: float(np.mean([np.mean(values) for values in parts])) for layer, parts in groups.items()}
    candidates = [layer for layer in groups if layer] or list(groups)
    best = max(candidates, key=lambda layer: scores[layer])
    found = {}
    for layer, parts in groups.items():
        gaps = [np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64) for a, b in zip(groups[best], parts)]
        loss = float(np.mean([gap.mean() for gap in gaps]))
        half = Z * float(np.mean([gap.std(ddof=1) / len(gap) ** 0.5 if len(gap) > 1 else np.inf for gap in gaps]))
        half = 0.0 if layer == best else half
        found[layer] = Standing(scores[layer], loss, half, layer == best or layer in candidates and loss
                                + half <= tolerance)
    return found


@dataclass(frozen=True)
class Pair:
    """What is proposed.

    Attributes:
        pixel, semantic: layers; `semantic` is None where no semantics could be measured.
        remark: what is odd about it, or ''.
    """
    pixel: int
    semantic: Optional[int]
    remark: str = ''


def propose(pixel: dict[int, Standing], semantic: dict[int, Standing] | None = None) -> Any:
    """Apply the rule of this module.

    Args:
        pixel, semantic: dict layer -> Standing; `semantic` None where it was not measured.
    """
    if semantic is None:
        return Pair(max(layer for layer, s in pixel.items() if s.good), None)
    deep = min(layer for layer, s in semantic.items() if s.good)
    open_layers = {layer: s for layer, s in pixel.items() if layer <= deep and (layer or not deep)}
    good = [layer for layer, s in open_layers.items() if s.good]
    if good:
        remark = 'one layer serves both' if max(good) == deep else ''
        return Pair(max(good), deep, remark)
    best = max(open_layers, key=lambda layer: open_layers[layer].score)
    return Pair(best, deep, f'no layer up to {deep} is as good for pixels as the best one; {best} comes closest')
