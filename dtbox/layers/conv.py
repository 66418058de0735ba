"""Convolution blocks of the taming-transformers / RQ-VAE family (arXiv 2012.09841, 2203.01941), as DualToken's decoder
uses them, and the variants of MAGVIT-v2 and MaskGIT.

Legend: B batch, C channels, H and W height and width in pixels. GroupNorm has 32 groups and eps 1e-6 everywhere; there
is no time embedding and no dropout. Parameter names are the published ones, so that checkpoints load without renaming.
"""
from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.errors import InputError
from dtbox.layers.attention import sdpa
from dtbox.layers.recompute import run

GROUPS = 32
LARGE = 128 * 128
"""Pixels from which on maps have their channels last on the CPU. GroupNorm rounds more coarsely there."""


def group_norm(channels: int) -> nn.GroupNorm:
    """Return GroupNorm(32, eps 1e-6) over `channels`; `InputError` where 32 does not divide them."""
    if channels < 1 or channels % GROUPS:
        low = max(channels // GROUPS, 1) * GROUPS
        raise InputError(f'{channels} channels do not divide into the {GROUPS} groups of GroupNorm; '
                         f'choose a multiple of {GROUPS}, such as {low} or {low + GROUPS}.')
    return nn.GroupNorm(GROUPS, channels, eps=1e-6)


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """Return a 3x3 convolution, padding 1."""
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=bias)


class ResidualConv(nn.Module):
    """norm, silu, conv, norm, silu, conv, plus the input (through a 1x1 convolution where the channels change).

    Args:
        in_channels: channels in, a multiple of 32.
        out_channels: channels out, a multiple of 32.
        first_kernel: size of the first convolution: 3, or 1 as in DualToken's post-quantization block.
        bias: whether the convolutions have biases; those of MAGVIT-v2 and MaskGIT have none.
    """

    def __init__(self, in_channels: int, out_channels: int, first_kernel: int = 3, bias: bool = True):
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, first_kernel, padding=first_kernel // 2, bias=bias)
        self.norm2 = group_norm(out_channels)
        self.conv2 = conv3x3(out_channels, out_channels, bias=bias)
        self.nin_shortcut = (nn.Conv2d(in_channels, out_channels, 1, bias=bias) if in_channels != out_channels
                             else None)

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,H,W] -> [B,C',H,W]."""
        x = fast_layout(x)
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (x if self.nin_shortcut is None else self.nin_shortcut(x))


class ShortcutlessConv(nn.Module):
    """MaskGIT's residual block (arXiv 2202.04200; the PyTorch port of its VQGAN in 1d-tokenizer and open-muse).

    norm, silu, conv, norm, silu, conv gives h, without biases. Where the channels stay the result is x + h. Where they
    change it is h + nin_shortcut(h): the port applies the 1x1 shortcut to h and drops the input, and published weights
    were trained with this.

    Args:
        in_channels: channels in, a multiple of 32.
        out_channels: channels out, a multiple of 32.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = conv3x3(in_channels, out_channels, bias=False)
        self.norm2 = group_norm(out_channels)
        self.conv2 = conv3x3(out_channels, out_channels, bias=False)
        self.nin_shortcut = (nn.Conv2d(out_channels, out_channels, 1, bias=False) if in_channels != out_channels
                             else None)

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,H,W] -> [B,C',H,W]."""
        x = fast_layout(x)
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (x if self.nin_shortcut is None else self.nin_shortcut(h))


class SpatialAttention(nn.Module):
    """Single-head attention over all H*W positions, scale 1/sqrt(C), with residual.

    Args:
        channels: C, a multiple of 32.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.norm = group_norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)
        self.attend = sdpa

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,H,W] -> [B,C,H,W]."""
        h = self.norm(x)
        q, k, v = (f(h).flatten(2).transpose(1, 2).unsqueeze(1) for f in (self.q, self.k, self.v))
        h = self.attend(q, k, v).squeeze(1).transpose(1, 2).reshape(x.shape)
        return x + self.proj_out(h)


class Middle(nn.Module):
    """Residual block, attention, residual block: what stands at the coarsest resolution.

    Args:
        channels: C, a multiple of 32.
        attention: False leaves the attention out, as aMUSEd's VQGAN does.
    """

    def __init__(self, channels: int, attention: bool = True):
        super().__init__()
        self.block_1 = ResidualConv(channels, channels)
        self.attn_1 = SpatialAttention(channels) if attention else nn.Identity()
        self.block_2 = ResidualConv(channels, channels)

    def forward(self, x: Tensor, recompute: bool = False) -> Tensor:
        """x [B,C,H,W] -> [B,C,H,W]; `recompute` drops the activations and computes them again in the backward pass."""
        for part in (self.block_1, self.attn_1, self.block_2):
            x = run(part, x, recompute)
        return x


class Downsample(nn.Module):
    """A 3x3 convolution of stride 2, padded by one column on the right and one row below.

    Args:
        channels: C.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,H,W], H and W even -> [B,C,H/2,W/2]."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Nearest x2, then a 3x3 convolution.

    Args:
        channels: C.
        out_channels: C'; None keeps them.
    """

    def __init__(self, channels: int, out_channels: int | None = None):
        super().__init__()
        self.conv = conv3x3(channels, out_channels or channels)

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,H,W] -> [B,C',2H,2W]."""
        return upsample_conv(x, self.conv)


def upsample_conv(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Nearest x2, then a 3x3 convolution of padding 1, as one transposed convolution of the small map: of the nine
    pixels that a pixel of the result reads, four differ, so that 4/9 of the multiplications do. Equal up to rounding.

    Args:
        x: [B,C,H,W].
        conv: C to C' channels, without groups.

    Returns:
        [B,C',2H,2W].
    """
    if torch.compiler.is_exporting():
        return conv(F.interpolate(x, scale_factor=2, mode='nearest'))
    exact = conv.weight.to(torch.promote_types(conv.weight.dtype, torch.float32))
    weight = _double(_double(exact, 2), 3).transpose(0, 1).to(conv.weight.dtype)
    return F.conv_transpose2d(fast_layout(x, scale=2), weight, conv.bias, stride=2, padding=1)


def _double(weight: Tensor, dim: int) -> Tensor:
    """Weights w0, w1, w2 of a convolution along `dim` -> w2, w1 + w2, w0 + w1, w0: those of the transposed convolution
    of stride 2 that reads each pixel where the doubled map has it twice."""
    first, middle, last = weight.unbind(dim)
    return torch.stack([last, middle + last, first + middle, first], dim)


def fast_layout(x: Tensor, scale: int = 1) -> Tensor:
    """Return a map with its channels last in memory where convolutions on the CPU are faster so, from 128 x 128 pixels
    on.

    Args:
        x: [B,C,H,W].
        scale: of the rows and columns of what comes out over those of x.
    """
    if x.device.type != 'cpu' or x.shape[2] * x.shape[3] * scale ** 2 < LARGE or torch.compiler.is_exporting():
        return x
    return x.contiguous(memory_format=torch.channels_last)
