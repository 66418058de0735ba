"""The decoder of MaskGIT-VQGAN (MaskGIT, arXiv 2202.04200), as bytedance/1d-tokenizer has it: no attention.

Parameter names are the published ones. Images come as the weights give them; those of the release are in [0, 1] until
the converter has folded the change of range into the last convolution.

Legend: B batch, N tokens, D feature width, h and w latent rows and columns, H and W pixels.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.counts import format_count
from dtbox.decoders.base import Decoder, run
from dtbox.errors import InputError
from dtbox.layers.conv import conv3x3, group_norm
from dtbox.layers.maskgit_conv import MaskGITResidual
from dtbox.layout import Grid
from dtbox.registry import DECODERS
from dtbox.values import Depth, Positive


class _Level(nn.Module):
    """Residual blocks of one resolution, then nearest x2 and a convolution where the next level is larger."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, upsample: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList(MaskGITResidual(in_channels if j == 0 else out_channels, out_channels)
                                   for j in range(blocks))
        self.upsample_conv = conv3x3(out_channels, out_channels) if upsample else None

    def forward(self, x: Tensor, recompute: bool = False) -> Tensor:
        for block in self.block:
            x = run(block, x, recompute)
        return x if self.upsample_conv is None else self.upsample_conv(F.interpolate(x, scale_factor=2, mode='nearest'))


@DECODERS.register_module()
class MaskGITDecoder(Decoder):
    """MaskGIT-VQGAN's decoder (arXiv 2202.04200); its defaults are those of the published model (f16, 1024 codes).

    Args:
        in_dim: feature width D.
        layout: where the tokens lie, a Grid.
        image_size: (H, W) in pixels, or one number; must be latent size * 2^(levels - 1).
        channels: base width, a multiple of 32.
        multipliers: width of each level over `channels`, full resolution first; its length is the number of levels.
        blocks: residual blocks per level, and in the middle.
        latent_size: (h, w) that the token grid is resized to; None decodes on the token grid.
        recompute: drop activations and compute them again in the backward pass.
    """
    example = dict(in_dim=8, layout=Grid(4, 4), image_size=(16, 16), channels=32, multipliers=(1, 2, 1), blocks=1)

    def __init__(self, in_dim: int, layout: Grid, image_size: int | Sequence[int], channels: Positive = 128,
                 multipliers: Sequence[Positive] = (1, 1, 2, 2, 4), blocks: Depth = 2,
                 latent_size: int | Sequence[int] | None = None, recompute: bool = False) -> None:
        super().__init__(in_dim, layout, image_size, latent_size)
        if not multipliers or not all(type(m) is int and m > 0 for m in multipliers):
            raise InputError(f'`multipliers` is {multipliers!r}; expected a positive whole number for each level.')
        self.check_scale(len(multipliers) - 1, f'`multipliers` has {format_count(len(multipliers), "level")}')
        widths = [channels * m for m in multipliers]
        self.recompute = recompute
        self.conv_in = conv3x3(in_dim, widths[-1])
        self.mid = nn.ModuleList(MaskGITResidual(widths[-1], widths[-1]) for _ in range(blocks))
        self.up = nn.ModuleList(_Level(widths[min(i + 1, len(widths) - 1)], width, blocks, upsample=i > 0)
                                for i, width in enumerate(widths))
        self.norm_out = group_norm(widths[0])
        self.conv_out = conv3x3(widths[0], 3)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the final convolution."""
        return self.conv_out.weight

    def forward(self, features: Tensor) -> Tensor:
        """features [B,N,D] -> images [B,3,H,W], not clamped."""
        return self.decode_map(self.to_map(features))

    def decode_map(self, x: Tensor) -> Tensor:
        """x [B,D,h,w] -> images [B,3,H,W], not clamped."""
        recompute = self.recompute and self.training
        x = self.conv_in(x)
        for block in self.mid:
            x = run(block, x, recompute)
        for level in reversed(self.up):
            x = level(x, recompute)
        return self.conv_out(F.silu(self.norm_out(x)))
