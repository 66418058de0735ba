"""DualToken's discriminator (arXiv 2503.14324): a patch discriminator (arXiv 1611.07004) of residual blocks with
GroupNorm.

Legend: B batch, C channels, H and W height and width in pixels.
"""
from __future__ import annotations

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.discriminators.base import check_images
from dtbox.layers.conv import conv3x3, group_norm
from dtbox.registry import DISCRIMINATORS
from dtbox.values import Positive

SLOPE = 0.2


class _Block(nn.Module):
    """norm, leaky relu, strided conv; plus the input, resized (bilinear) where the size changed, through a 1x1
    convolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.leaky_relu(self.norm1(x), SLOPE))
        if h.shape[2:] != x.shape[2:]:
            x = F.interpolate(x, h.shape[2:], mode='bilinear', align_corners=False)
        return h + self.nin_shortcut(x)


@DISCRIMINATORS.register_module()
class PatchDiscriminator(nn.Module):
    """Images to one logit for each 8x8 pixels; no batch statistics. Convolution weights start as N(0, 0.02).

    Args:
        width: channels after the first convolution, a multiple of 32; the blocks have 2, 4 and 8 times as many.
    """
    example = dict(width=32)

    def __init__(self, width: Positive = 64):
        super().__init__()
        self.main = nn.Sequential(
            conv3x3(3, width, stride=2),
            nn.LeakyReLU(SLOPE),
            _Block(width, 2 * width, stride=2),
            _Block(2 * width, 4 * width, stride=2),
            _Block(4 * width, 8 * width, stride=1),
            conv3x3(8 * width, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0., .02)

    def forward(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] in [-1, 1] -> logits [B,1,ceil(H/8),ceil(W/8)], high for what looks real."""
        check_images(images)
        return self.main(images)
