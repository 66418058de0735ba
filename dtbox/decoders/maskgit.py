"""MaskGIT's VQGAN decoder (arXiv 2202.04200) as 1d-tokenizer and open-muse publish it in PyTorch; TiTok's second stage
ends in it, too.

It differs from VQGAN's: images in [0, 1], convolutions of blocks without biases, no attention, another shortcut
(`ShortcutlessConv`), as many blocks per level as the encoder. Parameters have the published names under `decoder.`.

Legend: B batch, N tokens, C latent channels, h and w latent rows and columns, H and W pixels.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.decoders.base import Decoder, run
from dtbox.layers.conv import ShortcutlessConv, conv3x3, group_norm, upsample_conv
from dtbox.layout import Grid
from dtbox.registry import DECODERS
from dtbox.values import Depth, Positive


class _Level(nn.Module):
    """Residual blocks of one resolution, then nearest x2 and a 3x3 convolution."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, upsample: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList(ShortcutlessConv(in_channels if j == 0 else out_channels, out_channels)
                                   for j in range(blocks))
        self.upsample_conv = conv3x3(out_channels, out_channels) if upsample else None

    def forward(self, x: Tensor, recompute: bool = False) -> Tensor:
        for block in self.block:
            x = run(block, x, recompute)
        conv = self.upsample_conv
        return x if conv is None else run(lambda y: upsample_conv(y, conv), x, recompute)


class MaskGITStack(nn.Module):
    """Latent map to image in [0, 1]: the part of the published checkpoints under `decoder.`.

    Args:
        in_channels: latent channels C.
        channels: base width, a multiple of 32.
        multipliers: width of each level over `channels`, full resolution first.
        blocks: residual blocks per level, and of the middle.
        recompute: drop activations and compute them again in the backward pass.
    """

    def __init__(self, in_channels: int, channels: int, multipliers: Sequence[int], blocks: int,
                 recompute: bool = False) -> None:
        super().__init__()
        widths = [channels * m for m in multipliers]
        self.recompute = recompute
        self.conv_in = conv3x3(in_channels, widths[-1])
        self.mid = nn.ModuleList(ShortcutlessConv(widths[-1], widths[-1]) for _ in range(blocks))
        self.up = nn.ModuleList(_Level(widths[min(i + 1, len(widths) - 1)], width, blocks, upsample=i > 0)
                                for i, width in enumerate(widths))
        self.norm_out = group_norm(widths[0])
        self.conv_out = conv3x3(widths[0], 3)

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,h,w] -> images [B,3,H,W], nominally in [0, 1], not clamped."""
        recompute = self.recompute and self.training
        x = self.conv_in(x)
        for block in self.mid:
            x = run(block, x, recompute)
        for level in reversed(self.up):
            x = level(x, recompute)
        return self.conv_out(F.silu(self.norm_out(x)))


@DECODERS.register_module()
class MaskGITDecoder(Decoder):
    """MaskGIT's VQGAN decoder (arXiv 2202.04200); its defaults are those of the published 256-pixel model.

    Like every decoder it gives images in [-1, 1]; the published network inside gives [0, 1].

    Args:
        in_dim: feature width D, the latent channels.
        layout: where the tokens lie, a Grid.
        image_size: (H, W) in pixels, or one number; must be the grid * 2^(levels - 1).
        channels: base width, a multiple of 32.
        multipliers: width of each level over `channels`, full resolution first; its length is the number of levels.
        blocks: residual blocks per level, and of the middle.
        recompute: drop activations and compute them again in the backward pass.
    """
    example = dict(in_dim=16, layout=Grid(4, 4), image_size=(8, 8), channels=32, multipliers=(1, 2), blocks=1)

    def __init__(self, in_dim: int, layout: Grid, image_size: int | Sequence[int], channels: Positive = 128,
                 multipliers: Sequence[Positive] = (1, 1, 2, 2, 4), blocks: Depth = 2, recompute: bool = False) -> None:
        super().__init__(in_dim, layout, image_size)
        self.check_multipliers(multipliers)
        self.decoder = MaskGITStack(in_dim, channels, multipliers, blocks, recompute)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the final convolution."""
        return self.decoder.conv_out.weight

    def forward(self, features: Tensor) -> Tensor:
        """features [B,N,D] -> images [B,3,H,W], nominally in [-1, 1], not clamped."""
        return self.decoder(self.to_map(features)) * 2 - 1
