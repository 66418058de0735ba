"""TiTok's decoders (arXiv 2406.07550): from a sequence of latent tokens to images, by mask tokens.

`MaskTokenDecoder` gives pixels (one-stage TiTok and TA-TiTok, arXiv 2501.07730). `MaskTokenCodeDecoder` gives logits of
the codes of another tokenizer, MaskGIT-VQGAN; its second stage looks them up softly and decodes that map. As in the
release, the networks give images in [0, 1]; what the decoders return is in [-1, 1].

Legend: B batch, K latent tokens, D feature width, h and w rows and columns of patches, L text tokens, W their width.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.decoders.base import Decoder
from dtbox.decoders.light import paint
from dtbox.errors import InputError
from dtbox.layers.conv import conv3x3
from dtbox.layers.mask_tokens import MaskTokens
from dtbox.layout import Grid, Sequence
from dtbox.registry import DECODERS
from dtbox.structures import Guidance
from dtbox.values import Depth, Positive, PositiveNumber


def split_patches(image_size: tuple[int, int], patch: int) -> tuple[int, int]:
    """Return rows and columns of the patches of an image; `InputError` where they are not whole."""
    if any(side % patch or side < patch for side in image_size):
        fit = tuple(max(round(side / patch), 1) * patch for side in image_size)
        raise InputError(f'`image_size` {image_size} is not a multiple of `patch_size` {patch}. What fits: {fit}, or '
                         'another patch.', 'patch_size')
    return image_size[0] // patch, image_size[1] // patch


def read_guidance(value: Mapping[str, Any] | None) -> Guidance | None:
    """Return the Guidance of dict(length=L, width=W, default=TEXT); `InputError` for anything else but None."""
    if value is None:
        return None
    sizes = dict(value) if isinstance(value, Mapping) else {}
    default = sizes.pop('default', None)
    sound = sizes.keys() == {'length', 'width'} and all(type(n) is int and n > 0 for n in sizes.values())
    if not sound or not isinstance(default, (str, type(None))):
        raise InputError(f'`guidance` is {value!r}; expected dict(length=..., width=...): how many text tokens the '
                         'decoder gets, and how wide they are; and `default`, a text, where images come without one.',
                         'guidance')
    return Guidance(**sizes, default=default)


@DECODERS.register_module()
class MaskTokenDecoder(Decoder):
    """The decoder of one-stage TiTok and of TA-TiTok; its defaults are those of TiTok-BL (decoder `large`).

    Each patch is painted from its token by a linear layer; a 3x3 convolution follows.

    Args:
        in_dim: feature width D.
        layout: where the tokens lie, a Sequence.
        image_size: (H, W) in pixels, or one number; a multiple of `patch_size`.
        patch_size: side of a patch in pixels.
        width: channels of the transformer.
        depth: transformer blocks.
        heads: attention heads; divides `width`.
        mlp_ratio: hidden width of the MLP over `width`.
        guidance: dict(length=L, width=W) of the text tokens that guide it (TA-TiTok: 77, 768), with `default`, a text,
            where images come without one; None takes none.
        recompute: drop activations of the blocks and compute them again in the backward pass.
    """
    accepts = (Sequence,)
    example = dict(in_dim=8, layout=Sequence(5), image_size=(16, 16), patch_size=4, width=32, depth=1, heads=2)

    def __init__(self, in_dim: int, layout: Sequence, image_size: Any, patch_size: Positive = 16,
                 width: Positive = 1024, depth: Depth = 24, heads: Positive = 16, mlp_ratio: PositiveNumber = 4.,
                 guidance: dict | None = None, recompute: bool = False) -> None:
        super().__init__(in_dim, layout, image_size)
        self.grid, self.patch = split_patches(self.image_size, patch_size), patch_size
        self.guidance, self.recompute = read_guidance(guidance), recompute
        self.tokens = MaskTokens(in_dim, layout.tokens, self.grid[0] * self.grid[1], width, depth, heads, mlp_ratio,
                                 self.guidance)
        self.to_pixels = nn.Linear(width, 3 * patch_size ** 2)
        self.conv_out = conv3x3(3, 3)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the final convolution."""
        return self.conv_out.weight

    def forward(self, features: Tensor, guidance: Tensor | None = None) -> Tensor:
        """features [B,K,D], guidance [B,L,W] where it takes some -> images [B,3,H,W], not clamped."""
        self.check_features(features)
        x = self.to_pixels(self.tokens(features, guidance, self.recompute and self.training))
        return self.conv_out(paint(x.unflatten(1, self.grid), self.patch, self.patch)) * 2 - 1


@DECODERS.register_module()
class MaskTokenCodeDecoder(Decoder):
    """The decoder of TiTok in two stages: logits of the codes of MaskGIT-VQGAN, looked up softly and decoded.

    The first stage trains `logits` against the codes of MaskGIT-VQGAN; the second trains on pixels.

    Args:
        in_dim, layout, image_size, patch_size, width, depth, heads, mlp_ratio, recompute: see `MaskTokenDecoder`.
        codes: number of codes of the other tokenizer.
        code_dim: their width; needed with `pixels`.
        pixels: config of the decoder of the other tokenizer, from a map of `code_dim` channels to images; None is the
            first stage alone, which gives `logits`, not images.
    """
    accepts = (Sequence,)
    example = dict(in_dim=8, layout=Sequence(5), image_size=(16, 16), patch_size=4, width=32, depth=1, heads=2, codes=6,
                   code_dim=4, pixels=dict(type='MaskGITDecoder', channels=32, multipliers=(1, 1, 1), blocks=1))

    def __init__(self, in_dim: int, layout: Sequence, image_size: Any, patch_size: Positive = 16,
                 width: Positive = 768, depth: Depth = 12, heads: Positive = 12, mlp_ratio: PositiveNumber = 4.,
                 codes: Positive = 1024, code_dim: Positive = 256, pixels: dict | None = None,
                 recompute: bool = False) -> None:
        super().__init__(in_dim, layout, image_size)
        self.grid, self.recompute = split_patches(self.image_size, patch_size), recompute
        self.tokens = MaskTokens(in_dim, layout.tokens, self.grid[0] * self.grid[1], width, depth, heads, mlp_ratio)
        self.hidden = nn.Linear(width, 2 * width)
        self.to_logits = nn.Linear(2 * width, codes)
        self.pixels: Any = None
        if pixels is not None:
            self.table = nn.Parameter(torch.empty(codes, code_dim).uniform_(-1 / codes, 1 / codes))
            self.pixels = DECODERS.build(pixels, where='pixels', in_dim=code_dim, layout=Grid(*self.grid),
                                         image_size=self.image_size)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the last layer: that of the pixel decoder where there is one."""
        return self.to_logits.weight if self.pixels is None else self.pixels.last_layer

    def logits(self, features: Tensor) -> Tensor:
        """features [B,K,D] -> logits of the codes of each patch [B,h*w,codes]."""
        self.check_features(features)
        x = self.tokens(features, None, self.recompute and self.training)
        return self.to_logits(self.hidden(x).tanh())

    def forward(self, features: Tensor) -> Tensor:
        """features [B,K,D] -> images [B,3,H,W], not clamped: the table's rows, weighted by softmax, are decoded."""
        if self.pixels is None:
            raise InputError('this decoder is the first stage of TiTok: it gives logits of the codes of MaskGIT-VQGAN, '
                             'and has no pixel decoder that makes images of them. Add `pixels`, or ask for codes only.')
        return self.pixels(self.logits(features).softmax(-1) @ self.table)
