"""The encoder contract: images to tokens, in stages.

Legend: B batch, P prefix tokens (class, registers), N patch tokens, D width. Layers are 1-based: layer l is the raw
output of block l, without a norm; layer 0 is the embedding.
"""
from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Union

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.arguments import describe
from dtbox.errors import InputError
from dtbox.layers.region_pooling import pool_regions
from dtbox.layout import Grid, TokenLayout, need_grid

NORM = 'norm'
"""The tap after the trunk's final norm: what `normalize` makes of the last block's output."""
Layer = Union[int, str]
"""What can be tapped: a layer, or `NORM`."""


def check_grid(image_size: Sequence[int], grid: Sequence[int]) -> None:
    """Raise `InputError` where images of that (height, width) hold no whole patch."""
    if not all(grid):
        raise InputError(f'images of {image_size[0]} x {image_size[1]} pixels are smaller than one patch. Use larger '
                         'images or a smaller patch.')


class Encoder(nn.Module):
    """Base class of encoders.

    A subclass sets `depth`, `num_prefix_tokens`, `image_size` and `pooled_dim`, and implements `width`, `grid` (or
    `layout`, where its tokens do not lie on a grid), `embed`, `step` and `pool`; one whose tokens pass a norm after the
    last block also sets `has_norm` and implements `normalize`.

    Attributes:
        depth: number of blocks.
        num_prefix_tokens: tokens before the patch tokens; they travel inside `run`, taps never show them.
        image_size: (height, width) in pixels.
        pooled_dim: width of `pool`'s output, or None where the trunk has no pool of its own.
        has_norm: whether all tokens pass a norm after the last block, which `NORM` taps.
        example: constructor arguments of a small instance, for the contract suite; None where there is none.
    """
    example: ClassVar[dict[str, Any] | None] = None
    depth: int = 0
    num_prefix_tokens: int = 0
    image_size: tuple[int, int] = (0, 0)
    pooled_dim: int | None = None
    has_norm: bool = False

    def width(self, layer: int) -> int:
        """Return the channels D of `layer`."""
        raise NotImplementedError

    def grid(self, layer: int) -> tuple[int, int]:
        """Return the token grid (rows, columns) of `layer` for this encoder's image size."""
        raise NotImplementedError

    def layout(self, layer: int) -> TokenLayout:
        """Return where the patch tokens of `layer` lie: on its grid, unless a subclass says otherwise.

        An encoder that ends in latent tokens returns a `Sequence` there, one that gives several resolutions `Scales`.
        """
        return Grid(*self.grid(layer))

    def embed(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] in [-1,1] -> tokens [B,P+N,D] (layer 0)."""
        raise NotImplementedError

    def step(self, tokens: Tensor, layer: int) -> Tensor:
        """Run block `layer` (1-based): tokens [B,P+N,D] -> [B,P+N,D]."""
        raise NotImplementedError

    def normalize(self, tokens: Tensor) -> Tensor:
        """Apply the trunk's final norm: tokens [B,P+N,D] after the last block -> the same shape."""
        raise NotImplementedError

    def pool(self, tokens: Tensor) -> Tensor:
        """Apply the trunk's own final norm and pool: tokens [B,P+N,D] after the last block -> [B, pooled_dim]."""
        raise NotImplementedError

    def pool_regions(self, last: Tensor, masks: Sequence[Tensor]) -> list[Tensor]:
        """Pool single regions by the trunk's own pool (see `dtbox.layers.region_pooling`).

        Args:
            last: tokens [B,P+N,D] as `pool` takes them.
            masks: B tensors bool [M,H,W] of the size of the images.

        Returns:
            B tensors [M,E].

        Raises:
            InputError: the pool reads a class token, which describes the whole image; tokens that do not lie on a grid.
        """
        if self.num_prefix_tokens:
            raise InputError('the pool of this encoder reads prefix tokens (a class token), which describe the whole '
                             'image; it cannot pool single regions. Use an encoder with an attention or average pool '
                             'and no class token.')
        grid = need_grid(self.layout(self.depth), 'pooling of regions').map_shape
        return pool_regions(last, masks, grid, self.pool)

    def init_weights(self) -> None:
        """Load the weights that the config names; nothing where it names none."""

    def run(self, tokens: Tensor, start: int, stop: int,
            taps: Collection[int] = ()) -> tuple[Tensor, dict[int, Tensor]]:
        """Run blocks start+1 .. stop.

        Args:
            tokens: [B,P+N,D] as after block `start`.
            start: layer that `tokens` come from (0 for the embedding).
            stop: last block to run.
            taps: layers in [start, stop] whose patch tokens are wanted.

        Returns:
            tokens after block `stop` [B,P+N,D], and layer -> patch tokens [B,N,D].
        """
        tapped = {}
        if start in taps:
            tapped[start] = self.patches(tokens)
        for layer in range(start + 1, stop + 1):
            tokens = self.step(tokens, layer)
            if layer in taps:
                tapped[layer] = self.patches(tokens)
        return tokens, tapped

    def patches(self, tokens: Tensor) -> Tensor:
        """Drop the prefix tokens: [B,P+N,D] -> [B,N,D]."""
        return tokens[:, self.num_prefix_tokens:]

    def with_patches(self, tokens: Tensor, patches: Tensor) -> Tensor:
        """Replace the patch tokens of `tokens` [B,P+N,D] by `patches` [B,N,D]."""
        patches = patches.to(tokens.dtype)
        return torch.cat([tokens[:, :self.num_prefix_tokens], patches], 1) if self.num_prefix_tokens else patches

    def check_images(self, images: Tensor) -> None:
        """Raise `InputError` unless `images` is a non-empty float tensor [B,3,H,W] of this encoder's size."""
        want = f'a float tensor [B, 3, {self.image_size[0]}, {self.image_size[1]}] in [-1, 1]'
        if not isinstance(images, Tensor) or images.is_nested:
            raise InputError(f'images are {describe(images)}; expected {want}.')
        if images.ndim != 4 or images.shape[1] != 3 or tuple(images.shape[2:]) != tuple(self.image_size):
            todo = ('Put their first axes together: images.flatten(0, -4).' if images.ndim > 4 else
                    'Resize them to the model\'s size, or hand in PIL images or paths, which are prepared for you.')
            raise InputError(f'images have the shape {list(images.shape)}; expected {want}. {todo}')
        if not images.is_floating_point():
            raise InputError(f'images are {images.dtype}; expected {want}. Divide uint8 by 127.5 and subtract 1.')
        if images.shape[0] == 0:  # len() would fix the size of an exported graph
            raise InputError(f'the batch is empty; expected {want} with B >= 1.')
