"""Peak signal-to-noise ratio, structural similarity and absolute error, one number per image.

SSIM: Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004. All are computed in
float64 (float32 where a device has none): flat areas lose all digits of a float32 variance.

Shapes: B images, C channels, H x W pixels.
"""
from __future__ import annotations

import torch
from torch import Tensor

from dtbox.arguments import describe, read_arguments, read_count, read_floats, read_number
from dtbox.errors import InputError

_BLOCK = 1 << 21  # numbers at a time in `ssim`: about 150 MB of float64 on the way


@read_arguments(images=read_floats)
def to_unit(images: Tensor) -> Tensor:
    """Map images from [-1, 1] to [0, 1]; what lies outside is clamped."""
    return (precise(images).clamp(-1, 1) + 1) / 2


def precise(x: Tensor) -> Tensor:
    """Return `x` without gradient in float64, or in float32 on devices that have no float64."""
    x = x.detach()
    return x.float() if x.device.type == 'mps' else x.double()


@read_arguments(x=read_floats, y=read_floats)
def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, 10 log10(1 / (mse + 1e-8)): at most 80 dB.

    Args:
        x, y: images [B,C,H,W] in [0, 1].

    Returns:
        [B] in dB. The score of a set is the mean over its images, not that of the pooled error.

    Raises:
        InputError: when the shapes differ or are not those of images.
    """
    _check(x, y)
    mse = (precise(x) - precise(y)).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(mse + 1e-8)


@read_arguments(x=read_floats, y=read_floats)
def absolute_error(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute error of each image [B], in the unit of the images.

    Args:
        x, y: images [B,C,H,W] of any range.

    Raises:
        InputError: when the shapes differ or are not those of images.
    """
    _check(x, y)
    return (precise(x) - precise(y)).abs().mean(dim=(1, 2, 3))


@read_arguments(x=read_floats, y=read_floats, size=read_count(), sigma=read_number(0, above=True),
                k1=read_number(0, above=True), k2=read_number(0, above=True))
def ssim(x: Tensor, y: Tensor, size: int = 11, sigma: float = 1.5, k1: float = 0.01, k2: float = 0.03) -> Tensor:
    """Structural similarity of each image: Gaussian window, population variances, range 1, channels averaged.

    Only windows that lie inside the image count ("valid" borders).

    Args:
        x, y: images [B,C,H,W] in [0, 1], H and W at least `size`.
        size: side of the window in pixels.
        sigma: its standard deviation in pixels.
        k1, k2: stabilisers of means and variances, relative to the range.

    Returns:
        [B], 1 for equal images.

    Raises:
        InputError: when the shapes differ, are not those of images, or the window does not fit.
    """
    _check(x, y)
    if min(x.shape[-2:]) < size:
        raise InputError(f'SSIM needs images of at least {size} x {size} pixels, got {x.shape[-2]} x {x.shape[-1]}.')
    step = max(1, _BLOCK // x[0].numel())
    parts = [_ssim(precise(a), precise(b), size, sigma, k1 ** 2, k2 ** 2)
             for a, b in zip(x.split(step), y.split(step))]
    return torch.cat(parts)


def _ssim(x: Tensor, y: Tensor, size: int, sigma: float, c1: float, c2: float) -> Tensor:
    at = torch.arange(size, dtype=x.dtype, device=x.device) - (size - 1) / 2
    window = torch.exp(-at.square() / (2 * sigma ** 2))
    window = (window / window.sum()).tolist()
    mx, my, xx, yy, xy = (_blur(v, window) for v in (x, y, x * x, y * y, x * y))
    vx = xx - mx * mx
    vy = yy - my * my
    cov = xy - mx * my
    similarity = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return similarity.mean(dim=(1, 2, 3))


def _blur(x: Tensor, window: list[float]) -> Tensor:
    """Separable convolution of the last two dimensions, valid borders; quicker than a conv2d in float64 on the CPU."""
    for dim in (-1, -2):
        length = x.shape[dim] - len(window) + 1
        total = x.narrow(dim, 0, length) * window[0]
        for i, weight in enumerate(window[1:], 1):
            total.add_(x.narrow(dim, i, length), alpha=weight)
        x = total
    return x


def _check(x: Tensor, y: Tensor) -> None:
    if x.shape != y.shape or x.ndim != 4 or not x.numel() or x.device != y.device:
        raise InputError(f'x is {describe(x)} and y {describe(y)}; expected two batches of images of one shape '
                         '[B, C, H, W] on one device.')
