"""The distance of one tap of LPIPS (arXiv 1801.03924, equation 1), with its gradient computed in the same sweep.

Written as tensors the size of a feature map, the formula makes a dozen of them and keeps half for the backward pass; at
the first tap of VGG, 64 channels at full resolution, they cost as much as the convolutions. Here a sweep over pieces
that stay in the cache gives value and gradient, and only the gradient is kept.

Legend: B images, C channels, P positions.
"""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-10
PIECE = dict(cpu=2 ** 17, other=2 ** 26)
"""Numbers of a piece: a few of them fit into a core's cache; elsewhere what matters is the number of calls."""


def unit_distance(reconstruction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean over positions of the weighted square distance of unit vectors.

    Args:
        reconstruction, target: features [B,C,...]; gradients reach `reconstruction` only. An all-zero vector stays
            zero, and gets a zero gradient.
        weight: of each channel [C].

    Returns:
        [B], float32 (float64 of such features).
    """
    return _UnitDistance.apply(reconstruction, target.detach(), weight.detach())


class _UnitDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, reconstruction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        flat, wanted = reconstruction.detach().flatten(2), target.flatten(2)
        kind = torch.promote_types(reconstruction.dtype, torch.float32)
        column = weight.to(kind)[:, None]
        values = torch.zeros(len(reconstruction), dtype=kind, device=reconstruction.device)
        gradient = torch.empty_like(flat) if ctx.needs_input_grad[0] else None
        for rows, places in _pieces(flat):
            value, pull = _piece(flat[rows, :, places].to(kind), wanted[rows, :, places].to(kind), column,
                                 flat.shape[2], gradient is not None)
            values[rows] += value
            if gradient is not None:
                gradient[rows, :, places] = pull
        if gradient is not None:
            ctx.save_for_backward(gradient.view(reconstruction.shape))
        return values

    @staticmethod
    def backward(ctx: Any, pull: Tensor) -> tuple[Tensor | None, None, None]:
        if torch.is_grad_enabled():  # asked for with create_graph; the sum that it is for would silently lack this part
            raise NotImplementedError('LPIPS has a first derivative only; take it out of what is differentiated twice.')
        gradient, = ctx.saved_tensors
        return gradient * pull.to(gradient.dtype).view(-1, *[1] * (gradient.ndim - 1)), None, None


def _pieces(flat):
    """Yield (slice of images, slice of positions) of features [B,C,P]."""
    images, channels, places = flat.shape
    most = PIECE['cpu' if flat.device.type == 'cpu' else 'other']
    together = max(1, most // (channels * places))
    columns = places if together > 1 else max(1, most // channels)
    for i in range(0, images, together):
        for k in range(0, places, columns):
            yield slice(i, i + together), slice(k, k + columns)


def _length(vectors):
    # several times as fast as vector_norm, which does not like this dimension
    return vectors.square().sum(1, keepdim=True).sqrt_()


def _piece(reconstruction, target, weight, places, want_gradient):
    """Return the part of the distance [b] and the gradient [b,C,p] (or None) of a piece."""
    length = _length(reconstruction)
    scale = 1 / (length + EPSILON)
    unit = reconstruction * scale
    apart = unit - target * (1 / (_length(target) + EPSILON))
    weighted = apart * weight
    value = (weighted * apart).sum((1, 2)) / places
    if not want_gradient:
        return value, None
    along = (unit * weighted).sum(1, keepdim=True)
    return value, weighted.sub_(unit.mul_(along)).mul_(scale.mul_(2 / places).mul_(length > 0))
