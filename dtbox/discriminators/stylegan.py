"""StyleGAN2's residual discriminator (arXiv 1912.04958), which many tokenizers train with (ViT-VQGAN, MaskGIT, BSQ).

Weights have an equalized learning rate: they start as N(0, 1) and are scaled by 1 / sqrt(inputs) when they are used.
Leaky ReLUs (slope 0.2) are followed by a gain of sqrt(2). Images are blurred by [1, 3, 3, 1] before each convolution of
stride 2. One more channel holds the standard deviation over a group of images.

Legend: B batch, C channels, H and W pixels, G images of a group.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.discriminators.base import check_images
from dtbox.errors import InputError
from dtbox.layers.sizes import read_pair
from dtbox.registry import DISCRIMINATORS
from dtbox.values import Positive

SLOPE = 0.2
GAIN = 2 ** 0.5
LAST = 4
"""Pixels of the smaller side of the map that the linear layers read."""
TAPS = (1.0, 3.0, 3.0, 1.0)
"""Of the blur, along each axis; not yet divided by their sum."""


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2 times sqrt(2)."""
    return F.leaky_relu(x, SLOPE) * GAIN


def blur(x: Tensor, before: int, after: int) -> Tensor:
    """Convolve x [B,C,H,W] with [1,3,3,1] along both axes, `before` and `after` zeros added at the ends of each:
    -> [B,C,H+before+after-3,W+before+after-3]."""
    taps = torch.tensor(TAPS, dtype=x.dtype, device=x.device)
    taps, channels = taps / taps.sum(), x.shape[1]
    x = F.pad(x, [before, after, before, after])
    x = F.conv2d(x, taps.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(x, taps.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


def group_size(batch: int, most: int) -> int:
    """Return how many neighbouring images share a standard deviation.

    A training step joins reconstructions and images in one batch: a group that divides half of an even batch never
    holds both.

    Args:
        batch: images of the batch.
        most: largest group.
    """
    half = batch // 2 if batch % 2 == 0 else batch
    return max((size for size in range(1, most + 1) if half % size == 0), default=1)


def add_deviation(x: Tensor, most: int) -> Tensor:
    """Append the standard deviation over each group, averaged over channels and pixels: [B,C,H,W] -> [B,C+1,H,W].

    Args:
        x: features of the batch.
        most: largest group, see `group_size`.
    """
    groups = x.unflatten(0, (-1, group_size(len(x), most)))
    deviation = (groups.var(1, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
    column = deviation.repeat_interleave(groups.shape[1])[:, None, None, None]
    return torch.cat([x, column.expand(-1, 1, *x.shape[2:])], 1)


class EqualConv(nn.Module):
    """A convolution with an equalized learning rate; of stride 2 it blurs first.

    Args:
        in_channels, out_channels: C.
        kernel: size, 1 or 3.
        half: stride 2, after the blur.
        bias: whether there is one; it starts at 0.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, half: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.kernel, self.half = kernel, half
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.scale = (in_channels * kernel ** 2) ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,H,W] -> [B,C',H,W], or [B,C',H/2,W/2]."""
        if not self.half:
            return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.kernel // 2)
        pad = len(TAPS) - 2 + self.kernel - 1
        return F.conv2d(blur(x, (pad + 1) // 2, pad // 2), self.weight * self.scale, self.bias, stride=2)


class EqualLinear(nn.Module):
    """A linear layer with an equalized learning rate.

    Args:
        in_features, out_features: widths.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.scale = in_features ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        """x [B,in_features] -> [B,out_features]."""
        return F.linear(x, self.weight * self.scale, self.bias)


class _Block(nn.Module):
    """Two 3x3 convolutions, the second of stride 2, plus the input through a 1x1 convolution of stride 2, over
    sqrt(2)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = EqualConv(in_channels, in_channels, 3)
        self.conv2 = EqualConv(in_channels, out_channels, 3, half=True)
        self.skip = EqualConv(in_channels, out_channels, 1, half=True, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return (activate(self.conv2(activate(self.conv1(x)))) + self.skip(x)) / GAIN


@DISCRIMINATORS.register_module()
class StyleGANDiscriminator(nn.Module):
    """StyleGAN2's residual discriminator: images to one logit each.

    Args:
        image_size: (H, W) in pixels, or one number; the smaller side is 4 times a power of two, at least 8, and the
            larger one divides as often by 2.
        width: channels at full resolution; StyleGAN2 has 128 for 256 pixels.
        widest: most channels; they double with each halving up to it.
        group: most images that share a standard deviation.
    """
    example = dict(image_size=16, width=8, widest=16)

    def __init__(self, image_size: int | Sequence[int], width: Positive = 128, widest: Positive = 512,
                 group: Positive = 4) -> None:
        super().__init__()
        self.image_size, self.group = read_pair(image_size, 'image_size'), group
        halvings = (min(self.image_size) // LAST).bit_length() - 1
        if halvings < 1 or min(self.image_size) != LAST << halvings or max(self.image_size) % (1 << halvings):
            raise InputError(f'`image_size` is {self.image_size}; expected a smaller side of 8, 16, 32, ... pixels, '
                             'and a larger one that can be halved as often.', 'image_size')
        widths = [min(width << i, widest) for i in range(halvings + 1)]
        last = widths[-1]
        cells = self.image_size[0] * self.image_size[1] >> 2 * halvings
        self.from_rgb = EqualConv(3, widths[0], 1)
        self.blocks = nn.ModuleList(_Block(a, b) for a, b in zip(widths, widths[1:]))
        self.conv = EqualConv(last + 1, last, 3)
        self.fc1 = EqualLinear(last * cells, last)
        self.fc2 = EqualLinear(last, 1)

    def forward(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] in [-1, 1] -> logits [B,1], high for what looks real."""
        check_images(images)
        if tuple(images.shape[2:]) != self.image_size:
            raise InputError(f'the discriminator got images of {tuple(images.shape[2:])} pixels; it was built for '
                             f'{self.image_size}. Set its `image_size`.')
        x = activate(self.from_rgb(images))
        for block in self.blocks:
            x = block(x)
        x = activate(self.conv(add_deviation(x, self.group)))
        return self.fc2(activate(self.fc1(x.flatten(1))))
