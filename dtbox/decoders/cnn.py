"""The CNN decoder of DualToken (arXiv 2503.14324), of the family of VQGAN (2012.09841) and RQ-VAE (2203.01941).

Features are laid out on a grid, resized to the latent size, widened by the post-quantization block and decoded level by
level. Parameter names under `post_quant_conv` and `decoder` are the published ones.

Legend: B batch, N tokens, D feature width, C latent channels, h and w latent rows and columns, H and W pixels.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.decoders.base import Decoder, run
from dtbox.errors import InputError
from dtbox.layers.conv import Middle, ResidualConv, SpatialAttention, Upsample, conv3x3, group_norm
from dtbox.layers.sizes import read_pair
from dtbox.layout import Grid
from dtbox.registry import DECODERS
from dtbox.values import Depth, Positive


class _Level(nn.Module):
    """Residual blocks of one resolution, each followed by attention where asked for, then the upsampling."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, attention: bool, upsample: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResidualConv(in_channels if j == 0 else out_channels, out_channels)
                                   for j in range(blocks))
        self.attn = nn.ModuleList(SpatialAttention(out_channels) for _ in range(blocks if attention else 0))
        self.upsample = Upsample(out_channels) if upsample else None

    def forward(self, x: Tensor, recompute: bool = False) -> Tensor:
        for j, block in enumerate(self.block):
            x = run(block, x, recompute)
            if len(self.attn):
                x = run(self.attn[j], x, recompute)
        return x if self.upsample is None else run(self.upsample, x, recompute)


class CNNStack(nn.Module):
    """Latent map to image: the part of the published checkpoints under `decoder.`.

    Args:
        in_channels: latent channels C.
        channels: base width, a multiple of 32.
        multipliers: width of each level over `channels`, full resolution first.
        blocks: residual blocks per level, less one (the published `num_res_blocks`).
        attention: for each level, full resolution first, whether its blocks are followed by attention.
        recompute: drop activations and compute them again in the backward pass.
        middle_attention: whether the middle block has attention.
    """

    def __init__(self, in_channels: int, channels: int, multipliers: Sequence[int], blocks: int,
                 attention: Sequence[bool], recompute: bool = False, middle_attention: bool = True) -> None:
        super().__init__()
        widths = [channels * m for m in multipliers]
        self.recompute = recompute
        self.conv_in = conv3x3(in_channels, widths[-1])
        self.mid = Middle(widths[-1], middle_attention)
        self.up = nn.ModuleList(
            _Level(widths[min(i + 1, len(widths) - 1)], width, blocks + 1, attention[i], upsample=i > 0)
            for i, width in enumerate(widths))
        self.norm_out = group_norm(widths[0])
        self.conv_out = conv3x3(widths[0], 3)

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,h,w] -> images [B,3,H,W]."""
        recompute = self.recompute and self.training
        x = self.mid(self.conv_in(x), recompute)
        for level in reversed(self.up):
            x = level(x, recompute)
        return self.conv_out(F.silu(self.norm_out(x)))


@DECODERS.register_module()
class CNNDecoder(Decoder):
    """DualToken's pixel decoder; its defaults are those of the published 384-pixel model (latent_size 24).

    Args:
        in_dim: feature width D, a multiple of 32 with the post-quantization block.
        layout: where the tokens lie, a Grid.
        image_size: (H, W) in pixels, or one number; must be latent size * 2^(levels - 1) without `working_size`.
        channels: base width, a multiple of 32.
        multipliers: width of each level over `channels`, full resolution first; its length is the number of levels.
        blocks: residual blocks per level, less one (the published `num_res_blocks`).
        latent_channels: C, channels that enter the decoder.
        attention_resolutions: rows of the feature maps that get attention, in pixels.
        latent_size: (h, w) that the token grid is resized to; None decodes on the token grid.
        post_quant: True: a residual block D -> C (DualToken); False: a plain 1x1 convolution (VILA-U); None: nothing, D
            is C.
        recompute: drop activations and compute them again in the backward pass: less memory, about a third more time.
        middle_attention: whether the middle block has attention; aMUSEd's VQGAN has none.
        unit_images: the network gives images in [0, 1], as aMUSEd's does; `forward` brings them to [-1, 1].
        working_size: (H, W) in pixels, or one number, that is decoded and then resized to `image_size`, bicubically
            (TokenFlow: 432 for images of 384); latent size * 2^(levels - 1). None decodes to `image_size`.
    """
    example = dict(in_dim=32, layout=Grid(4, 4), image_size=(16, 16), channels=32, multipliers=(1, 1, 1), blocks=1,
                   latent_channels=32,
                   attention_resolutions=(4,))

    def __init__(self, in_dim: int, layout: Grid, image_size: int | Sequence[int], channels: Positive = 128,
                 multipliers: Sequence[int] = (1, 1, 4, 4, 8), blocks: Depth = 2, latent_channels: Positive = 1024,
                 attention_resolutions: Sequence[Positive] = (24,), latent_size: int | Sequence[int] | None = None,
                 post_quant: bool | None = True, recompute: bool = False, middle_attention: bool = True,
                 unit_images: bool = False, working_size: int | Sequence[int] | None = None) -> None:
        super().__init__(in_dim, layout, image_size, latent_size)
        self.working_size = self.image_size if working_size is None else read_pair(working_size, 'working_size')
        self.check_multipliers(multipliers, self.working_size)
        self.unit_images = unit_images
        rows = [self.working_size[0] >> i for i in range(len(multipliers))]
        if post_quant is None and in_dim != latent_channels:
            raise InputError(f'without `post_quant` features of {in_dim} channels would enter a decoder of '
                             f'{latent_channels}; make them agree.',
                             'post_quant')
        self.post_quant_conv = (nn.Identity() if post_quant is None
                                else ResidualConv(in_dim, latent_channels, first_kernel=1) if post_quant
                                else nn.Conv2d(in_dim, latent_channels, 1))
        attention = [r in attention_resolutions for r in rows]
        self.decoder = CNNStack(latent_channels, channels, multipliers, blocks, attention, recompute,
                                middle_attention)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the final convolution."""
        return self.decoder.conv_out.weight

    def forward(self, features: Tensor) -> Tensor:
        """features [B,N,D] -> images [B,3,H,W], not clamped."""
        images = self.decoder(self.post_quant_conv(self.to_map(features)))
        images = images * 2 - 1 if self.unit_images else images
        if self.working_size == self.image_size:
            return images
        return F.interpolate(images, self.image_size, mode='bicubic', align_corners=False)
