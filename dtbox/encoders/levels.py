"""What convolutional encoders share: levels of halved resolution are the layers, each with its own width and grid.

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
from dtbox.layers.sizes import read_pair
from dtbox.weights.state_dicts import load_into, load_state, select_prefix


class LevelEncoder(Encoder):
    """Base class of convolutional encoders.

    Layer 0 is the first convolution. Layer l, up to the number of levels L, is level l with its downsampling (the last
    has none). Layer L + 1 is what follows: middle blocks, norm and output convolution. There is no pool.

    A subclass builds `conv_in` [B,3,H,W] -> [B,D,h,w] and `down`, one module for each level, called with (x,
    recompute), and implements `finish`.

    Args:
        image_size: pixels, an int or (height, width); a multiple of stem * 2^(L - 1) without `working_size`.
        channels: base width, a multiple of 32.
        multipliers: width of each level over `channels`, full resolution first; its length is L.
        blocks: residual blocks per level.
        latent_channels: width D of the last layer.
        stem: stride of the first convolution.
        weights: None; a local checkpoint or `dtbox://` name.
        prefix: of the encoder's keys in that file.
        recompute: drop activations and compute them again in the backward pass.
        working_size: pixels, an int or (height, width), that images are resized to first, bicubically; the sizes of
            feature maps follow from it. None takes the images as they are.

    Attributes:
        unit_images: the first convolution takes images in [0, 1]; `embed` brings them there.
    """
    unit_images = False
    conv_in: nn.Module
    down: nn.ModuleList

    def __init__(self, image_size: int | Sequence[int], channels: int, multipliers: Sequence[int], blocks: int,
                 latent_channels: int, stem: int = 1, weights: str | None = None, prefix: str = '',
                 recompute: bool = False, working_size: int | Sequence[int] | None = None) -> None:
        super().__init__()
        self.image_size = read_pair(image_size, 'image_size')
        self.working_size = self.image_size if working_size is None else read_pair(working_size, 'working_size')
        sized = 'image_size' if working_size is None else 'working_size'
        if not multipliers or not all(type(m) is int and m > 0 for m in multipliers):
            raise InputError(f'`multipliers` is {multipliers!r}; expected a positive whole number for each level.')
        for name, value in (('blocks', blocks), ('latent_channels', latent_channels)):
            if type(value) is not int or value < 1:
                raise InputError(f'`{name}` is {value!r}; expected a positive whole number.')
        levels, factor = len(multipliers), stem * 2 ** (len(multipliers) - 1)
        if any(side % factor for side in self.working_size):
            fit = tuple(max(round(side / factor), 1) * factor for side in self.working_size)
            raise InputError(f'{format_count(levels, "level")} after a stem of stride {stem} divide the image by '
                             f'{factor}, and `{sized}` {self.working_size} is not a multiple of it. What fits: '
                             f'`{sized}` {fit}, or another number of levels.')
        self.stem = stem
        self.depth = levels + 1
        self.recompute = recompute
        self.weights, self.prefix = weights, prefix
        self.widths = [channels, *(channels * m for m in multipliers), latent_channels]

    def finish(self, x: Tensor, recompute: bool) -> Tensor:
        """What follows the last level: x [B,D,h,w] -> [B,D',h,w]."""
        raise NotImplementedError

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
        images = (images + 1) / 2 if self.unit_images else images
        return self._tokens(self.conv_in(images.contiguous(memory_format=torch.channels_last)))

    def step(self, tokens: Tensor, layer: int) -> Tensor:
        """Run level `layer` (1-based), or what follows the last one: tokens [B,N,D] -> tokens of this layer's grid."""
        # channels-last in memory, in which thin convolutions are faster
        x = tokens.transpose(1, 2).unflatten(2, self.grid(layer - 1))
        recompute = self.recompute and self.training
        if layer <= len(self.down):
            return self._tokens(self.down[layer - 1](x, recompute))
        return self._tokens(self.finish(x, recompute))

    def _tokens(self, x: Tensor) -> Tensor:
        """x [B,D,h,w] -> [B,N,D]."""
        return x.flatten(2).transpose(1, 2)

    def init_weights(self) -> None:
        """Load `weights`; `InputError` lists every key that does not match."""
        if self.weights is not None:
            load_into(self, select_prefix(load_state(self.weights), self.prefix), self.weights)
