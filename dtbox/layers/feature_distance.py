"""The distance of one tap of LPIPS (arXiv 1801.03924, equation 1), with its gradient computed in the same sweep.

Written as tensors the size of a feature map, the formula makes a dozen of them and keeps half for the backward pass; at the first tap of VGG, 64
channels at full resolution, they cost as much as the convolutions. Here a sweep over pieces that stay in the cache gives value and gradient, and only
the gradient is kept.

Legend: B images, C channels, P positions.
"""
import torch

EPSILON = 1e-10
PIECE = dict(cpu=2 ** 17, other=2 ** 26)
"""Numbers of a piece: a few of them fit into a core's cache; elsewhere what matters is the number of calls."""


def unit_distance(made, real, weight):
    """Mean over positions of the weighted square distance of unit vectors.

    Args:
        made, real: features [B,C,...]; gradients reach `made` only. An all-zero vector stays zero, and gets a zero gradient.
        weight: of each channel [C].

    Returns:
        [B], float32 (float64 of such features).
    """
    return _UnitDistance.apply(made, real.detach(), weight.detach())


class _UnitDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx, made, real, weight):
        flat, wanted = made.detach().flatten(2), real.flatten(2)
        kind = torch.promote_types(made.dtype, torch.float32)
        column = weight.to(kind)[:, None]
        values = torch.zeros(len(made), dtype=kind, device=made.device)
        gradient = torch.empty_like(flat) if ctx.needs_input_grad[0] else None
        for pictures, places in _pieces(flat):
            pair = (x[pictures, :, places].to(kind) for x in (flat, wanted))
            value, pull = _piece(*pair, column, flat.shape[2], gradient is not None)
            values[pictures] += value
            if gradient is not None:
                gradient[pictures, :, places] = pull
        if gradient is not None:
            ctx.save_for_backward(gradient.view(made.shape))
        return values

    @staticmethod
    def backward(ctx, pull):
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
    return vectors.square().sum(1, keepdim=True).sqrt_()  # several times as fast as vector_norm, which does not like this dimension


def _piece(made, real, weight, places, want_gradient):
    """Return the part of the distance [b] and the gradient [b,C,p] (or None) of a piece."""
    length = _length(made)
    scale = 1 / (length + EPSILON)
    unit = made * scale
    apart = unit - real * (1 / (_length(real) + EPSILON))
    weighted = apart * weight
    value = (weighted * apart).sum((1, 2)) / places
    if not want_gradient:
        return value, None
    along = (unit * weighted).sum(1, keepdim=True)
    return value, weighted.sub_(unit.mul_(along)).mul_(scale.mul_(2 / places).mul_(length > 0))
