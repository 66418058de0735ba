"""VQGAN's encoder (arXiv 2012.09841) as a staged encoder: its levels are the layers, each with its own width and grid.

Options have the names of `CNNDecoder`, its mirror image; parameters have the names of taming-transformers, so that
checkpoints load under the prefix `encoder.`. One addition: the first convolution may stride (`stem`), because
convolutions at full resolution take most of the time on a CPU.

Legend: B batch, N tokens in row-major order, D width of a layer, h and w rows and columns of its grid, H and W pixels.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.counts import format_count
from dtbox.encoders.base import Encoder
from dtbox.errors import InputError
from dtbox.layers.conv import Downsample, Middle, ResidualConv, SpatialAttention, conv3x3, group_norm
from dtbox.layers.recompute import run
from dtbox.layers.sizes import read_pair
from dtbox.registry import ENCODERS
from dtbox.values import Depth, Positive
from dtbox.weights.state_dicts import load_into, load_state, select_prefix

STEMS = (1, 2, 4)


class _Level(nn.Module):
    """Residual blocks of one resolution, each followed by attention where asked for, then a convolution of stride 2."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, attention: bool, downsample: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResidualConv(in_channels if j == 0 else out_channels, out_channels)
                                   for j in range(blocks))
        self.attn = nn.ModuleList(SpatialAttention(out_channels) for _ in range(blocks if attention else 0))
        self.downsample = Downsample(out_channels) if downsample else None

    def forward(self, x: Tensor, recompute: bool = False) -> Tensor:
        for j, block in enumerate(self.block):
            x = run(block, x, recompute)
            if len(self.attn):
                x = run(self.attn[j], x, recompute)
        return x if self.downsample is None else run(self.downsample, x, recompute)


@ENCODERS.register_module()
class CNNEncoder(Encoder):
    """VQGAN's convolutional encoder (arXiv 2012.09841); its defaults are those of the published 256-pixel model.

    That model has 16 x 16 tokens. Layer 0 is the first convolution. Layer l, up to the number of levels L, is level l
    with its downsampling (the last has none). Layer L + 1 is the middle block, norm and output convolution. It has no
    pool.

    Args:
        image_size: pixels, an int or (height, width); a multiple of stem * 2^(L - 1).
        channels: base width, a multiple of 32.
        multipliers: width of each level over `channels`, full resolution first; its length is L.
        blocks: residual blocks per level.
        latent_channels: width D of the last layer.
        attention_resolutions: rows of the feature maps that get attention, in pixels.
        stem: stride of the first convolution: 1 (published), 2 or 4; with a stride its kernel is twice as wide.
        weights: None; a local checkpoint or `dtbox://` name.
        prefix: of the encoder's keys in that file ('encoder.' in taming-transformers).
        recompute: drop activations and compute them again in the backward pass.
        working_size: pixels, an int or (height, width), that images are resized to first, bicubically; the sizes of
            feature maps follow from it (TokenFlow: 432 for images of 384). None takes the images as they are.
    """
    example = dict(image_size=32, channels=32, multipliers=(1, 2), blocks=1, latent_channels=16,
                   attention_resolutions=(16,))

    def __init__(self, image_size: int | Sequence[int], channels: Positive = 128,
                 multipliers: Sequence[Positive] = (1, 1, 2, 2, 4), blocks: Depth = 2, latent_channels: Positive = 256,
                 attention_resolutions: Sequence[Positive] = (16,), stem: int = 1, weights: str | None = None,
                 prefix: str = '', recompute: bool = False, working_size: int | Sequence[int] | None = None) -> None:
        super().__init__()
        self.image_size = read_pair(image_size, 'image_size')
        self.working_size = (self.image_size if working_size is None else read_pair(working_size, 'working_size'))
        sized = 'image_size' if working_size is None else 'working_size'
        if not multipliers or not all(type(m) is int and m > 0 for m in multipliers):
            raise InputError(f'`multipliers` is {multipliers!r}; expected a positive whole number for each level.')
        for name, value in (('blocks', blocks), ('latent_channels', latent_channels)):
            if type(value) is not int or value < 1:
                raise InputError(f'`{name}` is {value!r}; expected a positive whole number.')
        if stem not in STEMS:
            raise InputError(f'`stem` is {stem!r}; expected one of the strides {", ".join(map(str, STEMS))}.')
        levels, factor = len(multipliers), stem * 2 ** (len(multipliers) - 1)
        if any(side % factor for side in self.working_size):
            fit = tuple(max(round(side / factor), 1) * factor for side in self.working_size)
            raise InputError(f'{format_count(levels, "level")} after a stem of stride {stem} divide the image by '
                             f'{factor}, and '
                             f'`{sized}` {self.working_size} is not a multiple of it. What fits: `{sized}` {fit}, '
                             'or another number of levels.')
        self.stem = stem
        self.depth = levels + 1
        self.recompute = recompute
        self.weights, self.prefix = weights, prefix
        widths = [channels * m for m in multipliers]
        self.widths = [channels, *widths, latent_channels]
        self.conv_in = (conv3x3(3, channels) if stem == 1
                        else nn.Conv2d(3, channels, 2 * stem, stride=stem, padding=stem // 2))
        self.down = nn.ModuleList(
            _Level(width_in, width, blocks, self.working_size[0] // stem >> i in attention_resolutions,
                   downsample=i < levels - 1)
            for i, (width_in, width) in enumerate(zip(self.widths, widths)))
        self.mid = Middle(widths[-1])
        self.norm_out = group_norm(widths[-1])
        self.conv_out = conv3x3(widths[-1], latent_channels)

    def width(self, layer: int) -> int:
        """Return the channels D of `layer`."""
        return self.widths[layer]

    def grid(self, layer: int) -> tuple[int, int]:
        """Return the token grid (rows, columns) of `layer`."""
        halvings, (height, width) = min(layer, len(self.down) - 1), self.working_size
        return height // self.stem >> halvings, width // self.stem >> halvings

    def embed(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] in [-1,1] -> tokens [B,N,D] of the first convolution."""
        if self.working_size != self.image_size:
            images = F.interpolate(images, self.working_size, mode='bicubic', align_corners=False)
        return self._tokens(self.conv_in(images.contiguous(memory_format=torch.channels_last)))

    def step(self, tokens: Tensor, layer: int) -> Tensor:
        """Run level `layer` (1-based), or what follows the last one: tokens [B,N,D] -> tokens of this layer's grid."""
        # channels-last in memory, in which thin convolutions are faster
        x = tokens.transpose(1, 2).unflatten(2, self.grid(layer - 1))
        recompute = self.recompute and self.training
        if layer <= len(self.down):
            return self._tokens(self.down[layer - 1](x, recompute))
        return self._tokens(self.conv_out(F.silu(self.norm_out(self.mid(x, recompute)))))

    def _tokens(self, x: Tensor) -> Tensor:
        """x [B,D,h,w] -> [B,N,D]."""
        return x.flatten(2).transpose(1, 2)

    def init_weights(self) -> None:
        """Load `weights`; `InputError` lists every key that does not match."""
        if self.weights is not None:
            load_into(self, select_prefix(load_state(self.weights), self.prefix), self.weights)
