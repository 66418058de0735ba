"""Two decoders that train on a CPU: a small ViT and a small CNN with depth-to-space upsampling.

Most work happens on the token grid; at full resolution only a few thin 3x3 convolutions are left, because they take
most of the time on a CPU. The ViT decoder follows ViT-VQGAN (arXiv 2110.04627), plus a convolutional refinement that
removes the seams between patches. The CNN upsamples by sub-pixel convolution (arXiv 1609.05158). Neither reproduces a
published model.

Activations are kept channels-last, in which thin convolutions take about half the time on a CPU.

Legend: B batch, N tokens, D feature width, h and w latent rows and columns, H and W pixels.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.counts import format_count
from dtbox.decoders.base import Decoder, run
from dtbox.errors import InputError
from dtbox.layers.conv import ResidualConv, conv3x3
from dtbox.layout import Grid
from dtbox.registry import DECODERS
from dtbox.values import Depth, Positive, PositiveNumber


def paint(x_bhwc: Tensor, height: int, width: int) -> Tensor:
    """Lay the channels of each cell out as pixels.

    Args:
        x_bhwc: [B,h,w,height*width*C]; within a cell, pixels row by row, their channels last.
        height, width: of a cell, in pixels.

    Returns:
        [B, C, h*height, w*width], channels-last in memory.
    """
    batch, rows, columns = x_bhwc.shape[:3]
    x = x_bhwc.reshape(batch, rows, columns, height, width, -1).transpose(2, 3)
    return x.reshape(batch, rows * height, columns * width, -1).permute(0, 3, 1, 2)


def find_patch(image_size: tuple[int, int], latent: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) in pixels of a cell of the latent grid; `InputError` where they are no whole numbers.

    Args:
        image_size: (height, width) in pixels.
        latent: rows and columns.
    """
    sides = [divmod(i, t) for i, t in zip(image_size, latent)]
    if any(rest or not side for side, rest in sides):
        fit = tuple(max(round(i / t), 1) * t for i, t in zip(image_size, latent))
        raise InputError(f'`image_size` {image_size} is not a multiple of the latent grid {latent}. What '
                         f'fits: `image_size` {fit}, or a `latent_size` that divides {image_size}.')
    return sides[0][0], sides[1][0]


@DECODERS.register_module()
class ViTDecoder(Decoder):
    """Linear in, learned positions, pre-norm transformer blocks, linear to patch pixels, convolutional refinement.

    Args:
        in_dim: feature width D.
        layout: where the tokens lie, a Grid.
        image_size: (H, W) in pixels, or one number; a multiple of the latent size.
        width: channels of the transformer.
        depth: transformer blocks.
        heads: attention heads; divides `width`.
        mlp_ratio: hidden width of the MLP over `width`.
        refine_channels: channels per pixel that the patches are painted with and refined in.
        latent_size: (h, w) that the token grid is resized to; None decodes on the token grid.
        recompute: drop activations of the blocks and compute them again in the backward pass.
    """
    example = dict(in_dim=16, layout=Grid(4, 4), image_size=(16, 16), width=32, depth=1, heads=2, refine_channels=8)

    def __init__(self, in_dim: int, layout: Grid, image_size: int | Sequence[int], width: Positive = 128,
                 depth: Depth = 4, heads: Positive = 4, mlp_ratio: PositiveNumber = 4., refine_channels: Positive = 16,
                 latent_size: int | Sequence[int] | None = None, recompute: bool = False) -> None:
        from timm.models.vision_transformer import Block
        super().__init__(in_dim, layout, image_size, latent_size)
        if width % heads:
            raise InputError(f'`width` {width} does not divide into {heads} heads; choose a multiple, '
                             f'such as {width // heads * heads + heads}.')
        self.patch = find_patch(self.image_size, self.latent)
        self.recompute = recompute
        self.proj_in = nn.Linear(in_dim, width)
        self.positions = nn.Parameter(torch.zeros(1, self.latent[0] * self.latent[1], width))
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio, qkv_bias=True) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.to_pixels = nn.Linear(width, refine_channels * self.patch[0] * self.patch[1])
        self.refine = nn.Sequential(nn.GELU(), conv3x3(refine_channels, refine_channels))
        self.conv_out = conv3x3(refine_channels, 3)
        nn.init.trunc_normal_(self.positions, std=.02)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the final convolution."""
        return self.conv_out.weight

    def forward(self, features: Tensor) -> Tensor:
        """features [B,N,D] -> images [B,3,H,W], not clamped."""
        x = self.to_map(features).flatten(2).transpose(1, 2)
        x = self.proj_in(x) + self.positions
        for block in self.blocks:
            x = run(block, x, self.recompute and self.training)
        x = paint(self.to_pixels(self.norm(x)).unflatten(1, self.latent), *self.patch)
        return self.conv_out(x + self.refine(x))


class _DepthToSpace(nn.Module):
    """3x3 convolution to 2x2 pixels for each pixel, then a thin residual convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.expand = conv3x3(in_channels, 4 * out_channels)
        self.refine = conv3x3(out_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = paint(self.expand(x).permute(0, 2, 3, 1), 2, 2)
        return x + self.refine(F.silu(x))


@DECODERS.register_module()
class LightCNNDecoder(Decoder):
    """Residual blocks on the token grid, then thin depth-to-space stages, each doubling the size.

    Args:
        in_dim: feature width D.
        layout: where the tokens lie, a Grid.
        image_size: (H, W) in pixels, or one number; must be latent size * 2^stages.
        width: channels on the token grid, a multiple of 32.
        blocks: residual blocks there.
        channels: channels after each stage, token grid first; None: as many stages as the sizes ask for, halving from
            `width`, at least 12.
        latent_size: (h, w) that the token grid is resized to; None decodes on the token grid.
        recompute: drop activations and compute them again in the backward pass.
    """
    example = dict(in_dim=16, layout=Grid(4, 4), image_size=(16, 16), width=32, blocks=1)

    def __init__(self, in_dim: int, layout: Grid, image_size: int | Sequence[int], width: Positive = 128,
                 blocks: Depth = 2, channels: Sequence[Positive] | None = None,
                 latent_size: int | Sequence[int] | None = None, recompute: bool = False) -> None:
        super().__init__(in_dim, layout, image_size, latent_size)
        if channels is None:
            stages = max((self.image_size[0] // self.latent[0]).bit_length() - 1, 0)
            channels = [max(width >> (i + 1), 12) for i in range(stages)]
        self.check_scale(len(channels), f'{format_count(len(channels), "stage")}')
        widths = [width, *channels]
        self.recompute = recompute
        self.conv_in = nn.Conv2d(in_dim, width, 1)
        self.blocks = nn.ModuleList(ResidualConv(width, width) for _ in range(blocks))
        self.stages = nn.ModuleList(_DepthToSpace(a, b) for a, b in zip(widths, widths[1:]))
        self.conv_out = conv3x3(widths[-1], 3)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the final convolution."""
        return self.conv_out.weight

    def forward(self, features: Tensor) -> Tensor:
        """features [B,N,D] -> images [B,3,H,W], not clamped."""
        x = self.conv_in(self.to_map(features).contiguous(memory_format=torch.channels_last))
        for part in (*self.blocks, *self.stages):
            x = run(part, x, self.recompute and self.training)
        return self.conv_out(F.silu(x))
