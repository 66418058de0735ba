"""Open-MAGVIT2's encoder (arXiv 2409.04410, after MAGVIT-v2, 2310.05737) as a staged encoder: its levels are the
layers.

It differs from VQGAN's: convolutions of blocks without biases, no attention, downsampling padded on all sides, as many
residual blocks in the middle as in a level, a 1x1 output convolution whose channels are the bits of the code.
Parameters have the names of SEED-Voken, so that checkpoints load under the prefix `encoder.`.

Legend: B batch, D width of a layer, h and w rows and columns of its grid.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.encoders.levels import LevelEncoder
from dtbox.layers.conv import ResidualConv, conv3x3, group_norm
from dtbox.layers.recompute import run
from dtbox.registry import ENCODERS
from dtbox.values import Depth, Positive


class _Level(nn.Module):
    """Residual blocks of one resolution, then a convolution of stride 2 with one pixel of padding on each side."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, downsample: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResidualConv(in_channels if j == 0 else out_channels, out_channels, bias=False)
                                   for j in range(blocks))
        self.downsample = conv3x3(out_channels, out_channels, stride=2) if downsample else None

    def forward(self, x: Tensor, recompute: bool = False) -> Tensor:
        for block in self.block:
            x = run(block, x, recompute)
        return x if self.downsample is None else run(self.downsample, x, recompute)


@ENCODERS.register_module()
class MAGVIT2Encoder(LevelEncoder):
    """Open-MAGVIT2's convolutional encoder (arXiv 2409.04410); its defaults are those of the published 256-pixel model.

    That model has 16 x 16 tokens of 18 bits. Layers are those of `LevelEncoder`; it has no pool.

    Args:
        image_size: pixels, an int or (height, width); a multiple of 2^(L - 1).
        channels: base width, a multiple of 32.
        multipliers: width of each level over `channels`, full resolution first; its length is L.
        blocks: residual blocks per level, and of the middle.
        latent_channels: width D of the last layer, the bits of `LFQ`.
        weights: None; a local checkpoint or `dtbox://` name.
        prefix: of the encoder's keys in that file ('encoder.' in SEED-Voken).
        recompute: drop activations and compute them again in the backward pass.
    """
    example = dict(image_size=32, channels=32, multipliers=(1, 2), blocks=1, latent_channels=8)

    def __init__(self, image_size: int | Sequence[int], channels: Positive = 128,
                 multipliers: Sequence[Positive] = (1, 1, 2, 2, 4), blocks: Depth = 4, latent_channels: Positive = 18,
                 weights: str | None = None, prefix: str = '', recompute: bool = False) -> None:
        super().__init__(image_size, channels, multipliers, blocks, latent_channels, 1, weights, prefix, recompute)
        levels, widths = len(multipliers), self.widths[1:-1]
        self.conv_in = conv3x3(3, channels, bias=False)
        self.down = nn.ModuleList(_Level(width_in, width, blocks, downsample=i < levels - 1)
                                  for i, (width_in, width) in enumerate(zip(self.widths, widths)))
        self.mid_block = nn.ModuleList(ResidualConv(widths[-1], widths[-1], bias=False) for _ in range(blocks))
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], latent_channels, 1)

    def finish(self, x: Tensor, recompute: bool) -> Tensor:
        """See LevelEncoder."""
        for block in self.mid_block:
            x = run(block, x, recompute)
        return self.conv_out(F.silu(self.norm_out(x)))
