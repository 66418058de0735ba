"""VQGAN's encoder (arXiv 2012.09841) as a staged encoder: its levels are the layers, each with its own width and grid.

Options have the names of `CNNDecoder`, its mirror image; parameters have the names of taming-transformers, so that
checkpoints load under the prefix `encoder.`. One addition: the first convolution may stride (`stem`), because
convolutions at full resolution take most of the time on a CPU.

Legend: B batch, N tokens in row-major order, D width of a layer, h and w rows and columns of its grid, H and W pixels.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.encoders.levels import LevelEncoder
from dtbox.errors import InputError
from dtbox.layers.conv import Downsample, Middle, ResidualConv, SpatialAttention, conv3x3, group_norm
from dtbox.layers.recompute import run
from dtbox.registry import ENCODERS
from dtbox.values import Depth, Positive

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
class CNNEncoder(LevelEncoder):
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
        middle_attention: whether the middle block has attention; aMUSEd's VQGAN has none.
        unit_images: the network works on images in [0, 1], as aMUSEd's does; `embed` brings them there.
        working_size: pixels, an int or (height, width), that images are resized to first, bicubically; the sizes of
            feature maps follow from it (TokenFlow: 432 for images of 384). None takes the images as they are.
    """
    example = dict(image_size=32, channels=32, multipliers=(1, 2), blocks=1, latent_channels=16,
                   attention_resolutions=(16,))

    def __init__(self, image_size: int | Sequence[int], channels: Positive = 128,
                 multipliers: Sequence[Positive] = (1, 1, 2, 2, 4), blocks: Depth = 2, latent_channels: Positive = 256,
                 attention_resolutions: Sequence[Positive] = (16,), stem: int = 1, weights: str | None = None,
                 prefix: str = '', recompute: bool = False, middle_attention: bool = True, unit_images: bool = False,
                 working_size: int | Sequence[int] | None = None) -> None:
        if stem not in STEMS:
            raise InputError(f'`stem` is {stem!r}; expected one of the strides {", ".join(map(str, STEMS))}.')
        super().__init__(image_size, channels, multipliers, blocks, latent_channels, stem, weights, prefix, recompute,
                         working_size)
        self.unit_images = unit_images
        levels, widths = len(multipliers), self.widths[1:-1]
        self.conv_in = (conv3x3(3, channels) if stem == 1
                        else nn.Conv2d(3, channels, 2 * stem, stride=stem, padding=stem // 2))
        self.down = nn.ModuleList(
            _Level(width_in, width, blocks, self.working_size[0] // stem >> i in attention_resolutions,
                   downsample=i < levels - 1)
            for i, (width_in, width) in enumerate(zip(self.widths, widths)))
        self.mid = Middle(widths[-1], middle_attention)
        self.norm_out = group_norm(widths[-1])
        self.conv_out = conv3x3(widths[-1], latent_channels)

    def finish(self, x: Tensor, recompute: bool) -> Tensor:
        """See LevelEncoder."""
        return self.conv_out(F.silu(self.norm_out(self.mid(x, recompute))))
