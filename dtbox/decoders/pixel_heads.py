"""Pixel heads: tokens on a grid to images, the end of a transformer decoder; a slot of `TimmDecoder`.

A patch vector holds its pixels row by row, the colours of a pixel side by side: (row, column, colour), as in MAE and
RAE.

Legend: B batch, h and w rows and columns of tokens, D their width, P and R height and width of a patch, H = h P and
W = w R pixels.
"""
from __future__ import annotations

import torch.nn as nn
from torch import Tensor

from dtbox.decoders.light import paint
from dtbox.layers.conv import conv3x3
from dtbox.registry import PIXEL_HEADS
from dtbox.values import Positive

COLOURS = 3


class PixelHead(nn.Module):
    """Base class of pixel heads.

    A subclass implements `forward` and `last_layer`.

    Args:
        width: of the tokens, D.
        patch: (P, R) in pixels, of the image that one token becomes.
    """

    def __init__(self, width: int, patch: tuple[int, int]) -> None:
        super().__init__()
        self.width, self.patch = width, patch
        self.pixels = patch[0] * patch[1]

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the final layer (see `Decoder.last_layer`)."""
        raise NotImplementedError

    def forward(self, tokens_bhwd: Tensor) -> Tensor:
        """tokens [B,h,w,D] -> images [B,3,H,W], not clamped."""
        raise NotImplementedError


@PIXEL_HEADS.register_module()
class LinearPixels(PixelHead):
    """One linear layer to the pixels of a patch (MAE, arXiv 2111.06377; RAE, arXiv 2510.11690).

    Args:
        width: of the tokens, D.
        patch: (P, R) in pixels.
    """

    def __init__(self, width: int, patch: tuple[int, int]) -> None:
        super().__init__(width, patch)
        self.fc = nn.Linear(width, COLOURS * self.pixels)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the linear layer."""
        return self.fc.weight

    def forward(self, tokens_bhwd: Tensor) -> Tensor:
        """tokens [B,h,w,D] -> images [B,3,H,W], not clamped."""
        return paint(self.fc(tokens_bhwd), *self.patch)


@PIXEL_HEADS.register_module()
class ConvPixels(PixelHead):
    """A linear layer to channels of every pixel, then a 3x3 convolution over the whole image, which hides the edges of
    patches (with 3 channels: one-stage TiTok, arXiv 2501.07730).

    Args:
        width: of the tokens, D.
        patch: (P, R) in pixels.
        channels: of a pixel before the convolution.
    """

    def __init__(self, width: int, patch: tuple[int, int], channels: Positive = COLOURS) -> None:
        super().__init__(width, patch)
        self.fc = nn.Linear(width, channels * self.pixels)
        self.conv_out = conv3x3(channels, COLOURS)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the convolution."""
        return self.conv_out.weight

    def forward(self, tokens_bhwd: Tensor) -> Tensor:
        """tokens [B,h,w,D] -> images [B,3,H,W], not clamped."""
        return self.conv_out(paint(self.fc(tokens_bhwd), *self.patch))


@PIXEL_HEADS.register_module()
class TanhPixels(PixelHead):
    """Linear, tanh, linear to the pixels of a patch (ViT-VQGAN, arXiv 2110.04627, section 3.1).

    Args:
        width: of the tokens, D.
        patch: (P, R) in pixels.
        hidden: width between the two layers; None takes 4 D.
    """

    def __init__(self, width: int, patch: tuple[int, int], hidden: Positive | None = None) -> None:
        super().__init__(width, patch)
        hidden = hidden or 4 * width
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, COLOURS * self.pixels)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the second linear layer."""
        return self.fc2.weight

    def forward(self, tokens_bhwd: Tensor) -> Tensor:
        """tokens [B,h,w,D] -> images [B,3,H,W], not clamped."""
        return paint(self.fc2(self.fc1(tokens_bhwd).tanh()), *self.patch)
