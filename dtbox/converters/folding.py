"""Pixels of published models into the first and the last layer.

Images are in [-1, 1] here, and (x - mean) / std of x in [0, 1] there. A linear layer at either end takes the difference
in, exactly up to rounding.

Legend: D width, P pixels of a side of a patch.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def fold_input(weight: Tensor, bias: Tensor, mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return kernel and bias that read images in [-1, 1] where the given ones read (x - mean) / std.

    Args:
        weight, bias: of a patch embedding without padding, [D, 3, P, P] and [D].
        mean, std: of the colours of x in [0, 1].
    """
    kernel = weight.double()
    m, s = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (mean, std))
    shift = (kernel * ((0.5 - m) / s)).sum((1, 2, 3))
    return (kernel / (2 * s)).float(), (bias.double() + shift).float()


def fold_output(weight: Tensor, bias: Tensor, mean: Sequence[float], std: Sequence[float],
                colours_first: bool = False) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a layer to the pixels of a patch in [-1, 1], in the order (row, column, colour), where
    the given ones make (x - mean) / std.

    Args:
        weight, bias: [3 P P, D] and [3 P P].
        mean, std: of the colours of x in [0, 1].
        colours_first: whether the given order is (colour, row, column).

    Raises:
        InputError: rows that are not those of whole pixels.
    """
    if len(weight) % 3:
        raise InputError(f'the last layer has {format_count(len(weight), "row")}; expected 3 colours of each pixel of '
                         'a patch.')
    shape, order = ((3, -1), (1, 0)) if colours_first else ((-1, 3), (0, 1))
    w = weight.double().unflatten(0, shape).permute(*order, 2)
    b = bias.double().unflatten(0, shape).permute(*order)
    m, s = (torch.tensor(values, dtype=torch.float64) for values in (mean, std))
    return (w * 2 * s[:, None]).flatten(0, 1).float(), (b * 2 * s + 2 * m - 1).flatten().float()
