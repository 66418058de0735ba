"""Open-MAGVIT2's decoder (arXiv 2409.04410, after MAGVIT-v2, 2310.05737): every level begins with a norm that the
quantized map adapts.

It differs from VQGAN's: convolutions of blocks without biases, no attention, upsampling by a convolution to four times
the channels and depth to space, as many blocks per level as the encoder. Parameters have the names of SEED-Voken under
`decoder.`.

Legend: B batch, N tokens, C channels, z bits of the quantized map, h and w latent rows and columns, H and W pixels.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.decoders.base import Decoder, run
from dtbox.layers.conv import GROUPS, ResidualConv, conv3x3, group_norm
from dtbox.layout import Grid
from dtbox.registry import DECODERS
from dtbox.values import Depth, Positive

EPS = 1e-6
"""Of the norms, and added to the variance of the quantized map."""


class AdaptiveGroupNorm(nn.Module):
    """GroupNorm(32) without weights of its own, scaled by the spread of the quantized map and shifted by its mean.

    Args:
        channels: C, a multiple of 32.
        bits: channels of the quantized map.
    """

    def __init__(self, channels: int, bits: int) -> None:
        super().__init__()
        group_norm(channels)  # refuses channels that the groups do not divide
        self.gamma = nn.Linear(bits, channels)
        self.beta = nn.Linear(bits, channels)

    def forward(self, x: Tensor, quantized: Tensor) -> Tensor:
        """x [B,C,H,W], quantized [B,z,h,w] -> [B,C,H,W]."""
        places = quantized.flatten(2)
        # unbiased, as published: of a single place it would divide by zero
        spread = (places.var(-1, correction=min(1, places.shape[-1] - 1)) + EPS).sqrt()
        scale, shift = self.gamma(spread), self.beta(places.mean(-1))
        return scale[..., None, None] * F.group_norm(x, GROUPS, eps=EPS) + shift[..., None, None]


class DepthToSpace(nn.Module):
    """A 3x3 convolution to 4 C channels, which become 2 x 2 places: channel (2 a + b) C + c goes to row offset a and
    column offset b of channel c (torch's PixelShuffle has the offsets last).

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, 4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,H,W] -> [B,C,2H,2W]."""
        x = self.conv1(x).unflatten(1, (2, 2, -1))
        return x.permute(0, 3, 4, 1, 5, 2).flatten(4).flatten(2, 3)


class _Level(nn.Module):
    """Residual blocks of one resolution, then the upsampling."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, upsample: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResidualConv(in_channels if j == 0 else out_channels, out_channels, bias=False)
                                   for j in range(blocks))
        self.upsample = DepthToSpace(out_channels) if upsample else None

    def forward(self, x: Tensor, recompute: bool = False) -> Tensor:
        for block in self.block:
            x = run(block, x, recompute)
        return x if self.upsample is None else run(self.upsample, x, recompute)


class MAGVIT2Stack(nn.Module):
    """Quantized map to image: the part of the published checkpoints under `decoder.`.

    Args:
        bits: channels of the quantized map.
        channels: base width, a multiple of 32.
        multipliers: width of each level over `channels`, full resolution first.
        blocks: residual blocks per level, and of the middle.
        recompute: drop activations and compute them again in the backward pass.
    """

    def __init__(self, bits: int, channels: int, multipliers: Sequence[int], blocks: int,
                 recompute: bool = False) -> None:
        super().__init__()
        widths = [channels * m for m in multipliers]
        entering = [*widths[1:], widths[-1]]
        self.recompute = recompute
        self.conv_in = conv3x3(bits, widths[-1])
        self.mid_block = nn.ModuleList(ResidualConv(widths[-1], widths[-1], bias=False) for _ in range(blocks))
        self.up = nn.ModuleList(_Level(before, width, blocks, upsample=i > 0)
                                for i, (before, width) in enumerate(zip(entering, widths)))
        self.adaptive = nn.ModuleList(AdaptiveGroupNorm(width, bits) for width in entering)
        self.norm_out = group_norm(widths[0])
        self.conv_out = conv3x3(widths[0], 3)

    def forward(self, quantized: Tensor) -> Tensor:
        """quantized [B,z,h,w] -> images [B,3,H,W]."""
        recompute = self.recompute and self.training
        x = self.conv_in(quantized)
        for block in self.mid_block:
            x = run(block, x, recompute)
        for level, norm in zip(reversed(self.up), reversed(self.adaptive)):
            x = level(norm(x, quantized), recompute)
        return self.conv_out(F.silu(self.norm_out(x)))


@DECODERS.register_module()
class MAGVIT2Decoder(Decoder):
    """Open-MAGVIT2's decoder (arXiv 2409.04410); its defaults are those of the published 256-pixel model.

    Args:
        in_dim: feature width D, the bits of `LFQ`.
        layout: where the tokens lie, a Grid.
        image_size: (H, W) in pixels, or one number; must be the grid * 2^(levels - 1).
        channels: base width, a multiple of 32.
        multipliers: width of each level over `channels`, full resolution first; its length is the number of levels.
        blocks: residual blocks per level, and of the middle.
        recompute: drop activations and compute them again in the backward pass.
    """
    example = dict(in_dim=8, layout=Grid(4, 4), image_size=(8, 8), channels=32, multipliers=(1, 2), blocks=1)

    def __init__(self, in_dim: int, layout: Grid, image_size: int | Sequence[int], channels: Positive = 128,
                 multipliers: Sequence[Positive] = (1, 1, 2, 2, 4), blocks: Depth = 4, recompute: bool = False) -> None:
        super().__init__(in_dim, layout, image_size)
        self.check_multipliers(multipliers)
        self.decoder = MAGVIT2Stack(in_dim, channels, multipliers, blocks, recompute)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the final convolution."""
        return self.decoder.conv_out.weight

    def forward(self, features: Tensor) -> Tensor:
        """features [B,N,D] -> images [B,3,H,W], nominally in [-1, 1], not clamped."""
        return self.decoder(self.to_map(features))
