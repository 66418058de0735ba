"""MaskGIT's VQGAN encoder (arXiv 2202.04200) as 1d-tokenizer and open-muse publish it in PyTorch, as a staged encoder:
its levels are the layers.

It differs from VQGAN's: images in [0, 1], convolutions of blocks without biases, average pooling between the levels, no
attention, another shortcut (`ShortcutlessConv`), a 1x1 output convolution. Parameters have the published names, so that
checkpoints load under the prefix `encoder.`.

Legend: B batch, N tokens in row-major order, D width of a layer, h and w rows and columns of its grid, H and W pixels.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.encoders.levels import LevelEncoder
from dtbox.layers.conv import ShortcutlessConv, conv3x3, group_norm
from dtbox.layers.recompute import run
from dtbox.registry import ENCODERS
from dtbox.values import Depth, Positive


class _Level(nn.Module):
    """Residual blocks of one resolution, then the mean of each 2 x 2 places."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, pool: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList(ShortcutlessConv(in_channels if j == 0 else out_channels, out_channels)
                                   for j in range(blocks))
        self.pool = pool

    def forward(self, x: Tensor, recompute: bool = False) -> Tensor:
        for block in self.block:
            x = run(block, x, recompute)
        return F.avg_pool2d(x, 2) if self.pool else x


@ENCODERS.register_module()
class MaskGITEncoder(LevelEncoder):
    """MaskGIT's VQGAN encoder (arXiv 2202.04200); its defaults are those of the published 256-pixel model.

    That model has 16 x 16 tokens. Layers are those of `LevelEncoder`; it has no pool. Like every encoder it takes
    images in [-1, 1]; it brings them to the [0, 1] of the published weights.

    Args:
        image_size: pixels, an int or (height, width); a multiple of 2^(L - 1).
        channels: base width, a multiple of 32.
        multipliers: width of each level over `channels`, full resolution first; its length is L.
        blocks: residual blocks per level, and of the middle.
        latent_channels: width D of the last layer.
        weights: None; a local checkpoint or `dtbox://` name.
        prefix: of the encoder's keys in that file ('encoder.' in the published file).
        recompute: drop activations and compute them again in the backward pass.
    """
    unit_images = True
    example = dict(image_size=32, channels=32, multipliers=(1, 2), blocks=1, latent_channels=16)

    def __init__(self, image_size: int | Sequence[int], channels: Positive = 128,
                 multipliers: Sequence[Positive] = (1, 1, 2, 2, 4), blocks: Depth = 2, latent_channels: Positive = 256,
                 weights: str | None = None, prefix: str = '', recompute: bool = False) -> None:
        super().__init__(image_size, channels, multipliers, blocks, latent_channels, 1, weights, prefix, recompute)
        levels, widths = len(multipliers), self.widths[1:-1]
        self.conv_in = conv3x3(3, channels, bias=False)
        self.down = nn.ModuleList(_Level(width_in, width, blocks, pool=i < levels - 1)
                                  for i, (width_in, width) in enumerate(zip(self.widths, widths)))
        self.mid = nn.ModuleList(ShortcutlessConv(widths[-1], widths[-1]) for _ in range(blocks))
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], latent_channels, 1)

    def finish(self, x: Tensor, recompute: bool) -> Tensor:
        """See LevelEncoder."""
        for block in self.mid:
            x = run(block, x, recompute)
        return self.conv_out(F.silu(self.norm_out(x)))
