"""TiTok's encoder (arXiv 2406.07550): a vision transformer whose latent tokens ask the patches, and alone come out.

Class token, patches and K latent tokens run through all blocks together. Up to the last block but one a tap shows the
patches, on their grid; after the last block only class and latent tokens are left, and their layout is a `Sequence`.
As in the release, the patches are cut from images in [0, 1].

Legend: B batch, N patch tokens, K latent tokens, D width.
"""
from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.counts import format_count
from dtbox.encoders.base import Encoder, check_grid
from dtbox.errors import InputError
from dtbox.layers.recompute import run
from dtbox.layers.sizes import read_pair
from dtbox.layout import Grid, TokenLayout, need_grid
from dtbox.layout import Sequence as TokenSequence
from dtbox.registry import ENCODERS
from dtbox.values import Depth, Positive, PositiveNumber

EPSILON = 1e-5
"""Of every LayerNorm."""


@ENCODERS.register_module()
class LatentViT(Encoder):
    """A vision transformer that ends in latent tokens (TiTok, arXiv 2406.07550); its defaults are TiTok-B-64's.

    Layers 0 to depth - 1 lie on the grid of the patches, the last one is a sequence of the latent tokens. `norm` taps
    the latent tokens after the final norm, which TiTok quantizes.

    Args:
        image_size: pixels, an int or (height, width); a multiple of `patch_size`.
        latents: number of latent tokens K.
        patch_size: side of a patch in pixels.
        width: channels D.
        depth: transformer blocks.
        heads: attention heads; divides `width`.
        mlp_ratio: hidden width of the MLP over `width`.
        recompute: drop activations of the blocks and compute them again in the backward pass.
    """
    example = dict(image_size=32, latents=5, patch_size=8, width=32, depth=2, heads=2)
    num_prefix_tokens = 1
    has_norm = True

    def __init__(self, image_size: int | Sequence[int], latents: Positive = 64, patch_size: Positive = 16,
                 width: Positive = 768, depth: Depth = 12, heads: Positive = 12, mlp_ratio: PositiveNumber = 4.,
                 recompute: bool = False) -> None:
        from timm.models.vision_transformer import Block
        super().__init__()
        self.image_size = read_pair(image_size, 'image_size')
        self.depth, self.recompute = depth, recompute
        self._grid = (self.image_size[0] // patch_size, self.image_size[1] // patch_size)
        check_grid(self.image_size, self._grid)
        if any(side % patch_size for side in self.image_size):
            raise InputError(f'`image_size` {self.image_size} is not a multiple of `patch_size` {patch_size}. What '
                             f'fits: {tuple(cells * patch_size for cells in self._grid)}, or another patch.',
                             'patch_size')
        if width % heads:
            raise InputError(f'`width` {width} does not divide into {format_count(heads, "head")}; choose a multiple, '
                             f'such as {width // heads * heads + heads}.', 'heads')
        self._patches = self._grid[0] * self._grid[1]
        self._width, self._latents = width, latents
        norm, scale = partial(nn.LayerNorm, eps=EPSILON), width ** -0.5
        self.patch_embed = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.class_token = nn.Parameter(scale * torch.randn(1, width))
        self.positions = nn.Parameter(scale * torch.randn(1 + self._patches, width))
        self.latents = nn.Parameter(scale * torch.randn(latents, width))
        self.latent_positions = nn.Parameter(scale * torch.randn(latents, width))
        self.norm_pre = norm(width)
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio, qkv_bias=True, norm_layer=norm)
                                    for _ in range(depth))
        self.norm = norm(width)
        for part in self.modules():
            if isinstance(part, (nn.Linear, nn.Conv2d)):
                nn.init.trunc_normal_(part.weight, std=.02)
                nn.init.zeros_(part.bias)

    def width(self, layer: int) -> int:
        """Return the channels D, the same at every layer."""
        return self._width

    def grid(self, layer: int) -> tuple[int, int]:
        """Return the token grid (rows, columns) of the patches; `InputError` for the last layer, which has none."""
        return need_grid(self.layout(layer), f'layer {layer} of LatentViT').map_shape

    def layout(self, layer: int) -> TokenLayout:
        """Return the grid of the patches, for the last layer the sequence of the latent tokens."""
        return TokenSequence(self._latents) if layer == self.depth else Grid(*self._grid)

    def embed(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] in [-1,1] -> tokens [B,1+N+K,D]: class, patches, latent tokens."""
        patches = self.patch_embed(images * 0.5 + 0.5).flatten(2).transpose(1, 2)
        patches = torch.cat([self.class_token.expand(patches.shape[0], 1, -1), patches], 1) + self.positions
        latents = (self.latents + self.latent_positions).expand(patches.shape[0], -1, -1)
        return self.norm_pre(torch.cat([patches, latents], 1))

    def step(self, tokens: Tensor, layer: int) -> Tensor:
        """Run block `layer` (1-based): tokens [B,1+N+K,D] -> the same shape; the last block drops the patches."""
        tokens = run(self.blocks[layer - 1], tokens, self.recompute and self.training)
        return torch.cat([tokens[:, :1], tokens[:, 1 + self._patches:]], 1) if layer == self.depth else tokens

    def patches(self, tokens: Tensor) -> Tensor:
        """Take the patches of [B,1+N+K,D] -> [B,N,D]; the latent tokens after the last block, [B,1+K,D] -> [B,K,D]."""
        return tokens[:, 1:self._end(tokens)]

    def with_patches(self, tokens: Tensor, patches: Tensor) -> Tensor:
        """Replace what `patches` takes."""
        end = self._end(tokens)
        return torch.cat([tokens[:, :1], patches.to(tokens.dtype), tokens[:, end:]], 1)

    def _end(self, tokens: Tensor) -> int:
        """Return where the tokens that taps show end: the latent tokens follow them before the last block."""
        before = tokens.shape[1] == 1 + self._patches + self._latents
        return 1 + self._patches if before else tokens.shape[1]

    def normalize(self, tokens: Tensor) -> Tensor:
        """Apply the final norm: tokens [B,1+K,D] -> the same shape."""
        return self.norm(tokens)
