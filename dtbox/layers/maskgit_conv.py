"""Convolution blocks of MaskGIT-VQGAN (MaskGIT, arXiv 2202.04200), as bytedance/1d-tokenizer has them.

They differ from `dtbox.layers.conv`: convolutions of blocks have no bias, and the shortcut of a block that changes the
width is applied to what the block computed, not to its input. The published weights were trained with that.

Legend: B batch, C channels, H and W height and width in pixels.
"""
from __future__ import annotations

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.layers.conv import group_norm


class MaskGITResidual(nn.Module):
    """norm, silu, conv, norm, silu, conv, plus the input; where the channels change, plus a 1x1 convolution of the
    block's own result instead.

    Args:
        in_channels: channels in, a multiple of 32.
        out_channels: channels out, a multiple of 32.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = group_norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        same = in_channels == out_channels
        self.nin_shortcut = None if same else nn.Conv2d(out_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,H,W] -> [B,C',H,W]."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (x if self.nin_shortcut is None else self.nin_shortcut(h))
