"""The decoder contract: features of tokens to images.

Legend: B batch, N tokens in row-major order, D feature width, h and w token or latent rows and columns, H and W pixels.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.layers.recompute import run  # noqa: F401  what decoders run their blocks with
from dtbox.layers.sizes import read_pair
from dtbox.layout import Grid, TokenLayout, need_grid
from dtbox.structures import Guidance


class Decoder(nn.Module):
    """Base class of decoders.

    A subclass implements `forward` and `last_layer`, and names the layouts that it takes. `in_dim`, `layout` and
    `image_size` are filled in by the tokenizer where the config leaves them out, so a constructor keeps these names.

    Args:
        in_dim: feature width D.
        layout: where the tokens lie.
        image_size: (H, W) in pixels, or one number for both.
        latent_size: (h, w), or one number, that the map of a grid is resized to (bilinear, align_corners False, no
            antialias) before it is decoded; None decodes on the token grid.

    Attributes:
        accepts: the kinds of layout that the decoder takes; the tokenizer refuses others when it is built.
        guidance: length and width of the text tokens [B,L,W] that `forward` takes as a second argument; None where it
            takes none.
        example: constructor arguments of a small instance, for the contract suite; None where there is none.
    """
    accepts: ClassVar[tuple[type[TokenLayout], ...]] = (Grid,)
    example: ClassVar[dict[str, Any] | None] = None
    guidance: Guidance | None = None

    def __init__(self, in_dim: int, layout: TokenLayout, image_size: int | Sequence[int],
                 latent_size: int | Sequence[int] | None = None) -> None:
        super().__init__()
        if type(in_dim) is not int or in_dim < 1:
            raise InputError(f'`in_dim` is {in_dim!r}; expected the width of the features, a positive whole number.')
        if not isinstance(layout, self.accepts):
            takes = ' or '.join(kind.__name__ for kind in self.accepts)
            raise InputError(f'`layout` is {layout!r}; {type(self).__name__} takes a {takes} of dtbox.layout.',
                             'layout')
        self.in_dim, self.layout = in_dim, layout
        self.image_size = read_pair(image_size, 'image_size')
        if latent_size is not None and not isinstance(layout, Grid):
            raise InputError(f'`latent_size` resizes the map of a grid; the tokens are a {layout}. Leave it out.',
                             'latent_size')
        self._latent = None if latent_size is None else read_pair(latent_size, 'latent_size', 'cells')

    @property
    def latent(self) -> tuple[int, int]:
        """Rows and columns of the map that is decoded; `InputError` where the tokens do not lie on a grid."""
        return self._latent or need_grid(self.layout, type(self).__name__).map_shape

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the final layer, the parameter at which the adaptive GAN weight compares gradients."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        """features [B,N,D] -> images [B,3,H,W], nominally in [-1, 1], not clamped."""
        raise NotImplementedError

    def to_map(self, features: Tensor) -> Tensor:
        """Lay the tokens of a grid out on the latent grid.

        Args:
            features: [B,N,D], N = rows * columns of the token grid.

        Returns:
            [B,D,h,w] on the latent grid; resized only where it differs from the token grid.
        """
        self.check_features(features)
        x = self.layout.unflatten(features)
        if self.latent == self.layout.map_shape:
            return x
        return F.interpolate(x, self.latent, mode='bilinear', align_corners=False)

    def check_features(self, features: Tensor) -> None:
        """Raise `InputError` unless features are [B,N,D] of this decoder's layout."""
        tokens = self.layout.tokens
        if features.ndim != 3 or features.shape[1] != tokens or features.shape[2] != self.in_dim:
            raise InputError(f'features have the shape {list(features.shape)}; this decoder expects [B, {tokens}, '
                             f'{self.in_dim}] for the {self.layout}. Give it features of the tokenizer that it was '
                             'built for.')

    def check_scale(self, levels: int, what: str, wanted: tuple[int, int] | None = None) -> None:
        """Raise `InputError` unless `latent * 2^levels` is the size of the images, or that of `wanted`.

        Args:
            levels: how many times this decoder doubles its size.
            what: what sets `levels`, for the message.
            wanted: (height, width) that the decoder resizes to `image_size`; None where it does not.
        """
        size, wanted = tuple(v * 2 ** levels for v in self.latent), wanted or self.image_size
        name = 'image_size' if wanted == self.image_size else 'working_size'
        if size == wanted:
            return
        fit = [v / 2 ** levels for v in wanted]
        latent = f', or `latent_size` {tuple(int(v) for v in fit)}' if all(v >= 1 and v % 1 == 0 for v in fit) else ''
        raise InputError(f'a latent grid of {self.latent} doubled {format_count(levels, "time")} ({what}) makes '
                         f'images of {size}, but '
                         f'`{name}` is {wanted}. What fits: `{name}` {size}{latent}, or another '
                         'number of doublings.')

    def check_multipliers(self, multipliers: Sequence[int], wanted: tuple[int, int] | None = None) -> None:
        """Raise `InputError` unless `multipliers` are positive whole numbers, one for each level, and the levels lead
        from the latent grid to `image_size`, or to `wanted` (see `check_scale`)."""
        if not multipliers or not all(type(m) is int and m > 0 for m in multipliers):
            raise InputError(f'`multipliers` is {multipliers!r}; expected a positive whole number for each level.')
        self.check_scale(len(multipliers) - 1, f'`multipliers` has {format_count(len(multipliers), "level")}', wanted)
