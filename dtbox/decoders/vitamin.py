"""UniTok's decoder (arXiv 2502.20321), ViTamin (arXiv 2404.02132) upside down: transformer blocks on the token grid,
then inverted bottlenecks that double the size four times.

Parameters have the names of the published file, so that checkpoints load under the prefix `decoder.`. Deviation: the
published decoder clamps to [-1, 1] outside training; a dtbox decoder never does.

Legend: B batch, N tokens, D feature width, C channels, H and W pixels.
"""
from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch.nn as nn
from torch import Tensor

from dtbox.decoders.base import Decoder, run
from dtbox.errors import InputError
from dtbox.layers.conv import Upsample, conv3x3
from dtbox.layout import Grid
from dtbox.registry import DECODERS

EPSILON = 1e-6
"""Of every norm."""


def channel_norm(channels: int) -> nn.Module:
    """Return a LayerNorm over the channels of [B,C,H,W]."""
    from timm.layers import LayerNorm2d
    return LayerNorm2d(channels, eps=EPSILON)


class InvertedBottleneck(nn.Module):
    """ViTamin's block of a 1x1, a depthwise 3x3 and a 1x1 convolution; `up` doubles the size on both paths.

    Args:
        in_channels, out_channels: C; they may differ only where the block doubles the size.
        up: whether the size doubles.
    """

    def __init__(self, in_channels: int, out_channels: int, up: bool) -> None:
        super().__init__()
        middle = 4 * out_channels
        self.shortcut = Upsample(in_channels, out_channels) if up else nn.Identity()
        self.pre_norm = channel_norm(in_channels)
        self.conv1_1x1 = nn.Conv2d(in_channels, middle, 1)
        self.act = nn.GELU()
        self.up = Upsample(middle) if up else nn.Identity()
        self.conv2_kxk = nn.Conv2d(middle, middle, 3, padding=1, groups=middle)
        self.conv3_1x1 = nn.Conv2d(middle, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,H,W] -> [B,C',H,W], or [B,C',2H,2W] where it doubles the size."""
        y = self.up(self.act(self.conv1_1x1(self.pre_norm(x))))
        return self.conv3_1x1(self.act(self.conv2_kxk(y))) + self.shortcut(x)


class InvertedStem(nn.Module):
    """The last doubling: nearest x2 and a convolution, norm, GELU, a convolution to three colours."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = Upsample(channels)
        self.norm1 = channel_norm(channels)
        self.act = nn.GELU()
        self.conv2 = conv3x3(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,H,W] -> images [B,3,2H,2W]."""
        return self.conv2(self.act(self.norm1(self.conv1(x))))


@DECODERS.register_module()
class ViTaminDecoder(Decoder):
    """UniTok's decoder (arXiv 2502.20321): ViTamin's blocks and stages upside down; images are 16 times the token grid.

    Args:
        in_dim: feature width D, that of the transformer blocks.
        layout: where the tokens lie, a Grid.
        image_size: (H, W) in pixels, or one number; 16 times the latent size.
        depth: transformer blocks.
        heads: attention heads; divides `in_dim`.
        mlp_ratio: hidden width of the gated MLP over `in_dim`.
        channels: of the two convolutional stages.
        blocks: inverted bottlenecks of each.
        latent_size: (h, w) that the token grid is resized to; None decodes on the token grid.
        recompute: drop activations of the blocks and compute them again in the backward pass.
    """
    example = dict(in_dim=16, layout=Grid(2, 2), image_size=(32, 32), depth=1, heads=2, channels=(8, 4), blocks=(1, 1))

    def __init__(self, in_dim: int, layout: Grid, image_size: int | Sequence[int], depth: int = 31, heads: int = 16,
                 mlp_ratio: float = 2.0, channels: Sequence[int] = (320, 160), blocks: Sequence[int] = (4, 2),
                 latent_size: int | Sequence[int] | None = None, recompute: bool = False) -> None:
        super().__init__(in_dim, layout, image_size, latent_size)
        from timm.layers.activations import GELUTanh
        from timm.models.vision_transformer import Block
        from timm.models.vitamin import GeGluMlp
        if len(channels) != 2 or len(blocks) != 2 or min(*channels, *blocks, depth) < 1:
            raise InputError(f'`depth` is {depth}, `channels` {channels} and `blocks` {blocks}; expected positive '
                             'numbers, two of channels and two of blocks.')
        if in_dim % heads:
            raise InputError(f'features of width {in_dim} do not divide into {heads} heads; choose a divisor of '
                             f'{in_dim}.', 'heads')
        self.check_scale(4, 'two stages and two ends')
        self.recompute = recompute
        norm = partial(nn.LayerNorm, eps=EPSILON)
        self.blocks = nn.ModuleList(
            Block(in_dim, heads, mlp_ratio, qkv_bias=True, norm_layer=norm, act_layer=GELUTanh, mlp_layer=GeGluMlp)
            for _ in range(depth))
        self.norm = norm(in_dim)
        wide, thin = channels
        self.up_conv1 = Upsample(in_dim, wide)
        self.up_conv2 = nn.ModuleList(InvertedBottleneck(wide, wide, up=i == 0) for i in range(blocks[0]))
        self.up_conv3 = nn.ModuleList(InvertedBottleneck(thin if i else wide, thin, up=i == 0)
                                      for i in range(blocks[1]))
        self.up_conv4 = InvertedStem(thin)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the final convolution."""
        return self.up_conv4.conv2.weight

    def forward(self, features: Tensor) -> Tensor:
        """features [B,N,D] -> images [B,3,H,W], not clamped."""
        recompute = self.recompute and self.training
        x = self.to_map(features).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = run(block, x, recompute)
        x = self.norm(x).transpose(1, 2).unflatten(2, self.latent)
        for part in (self.up_conv1, *self.up_conv2, *self.up_conv3, self.up_conv4):
            x = run(part, x, recompute)
        return x
