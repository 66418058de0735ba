"""AToken's decoder (arXiv 2509.14476): latents to images, or to the frames of a clip.

An image is the first of the four frames of its patches. Parameters have the published names.

Legend: B batch, N tokens, C width of the latents, t, h, w latent frames, rows and columns, P pixels of a side.
"""
from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.decoders.base import Decoder, run
from dtbox.decoders.light import find_patch, paint
from dtbox.layers.space_time import PositionTable, SpaceTimeBlock, build_norm, compute_rotations, join_patches
from dtbox.layout import Grid
from dtbox.registry import DECODERS
from dtbox.values import Depth, Positive


@DECODERS.register_module()
class ATokenDecoder(Decoder):
    """AToken's decoder (arXiv 2509.14476); the published one has the default sizes.

    Args:
        in_dim: width C of the latents.
        layout: where the tokens lie, a Grid.
        image_size: (H, W) in pixels, or one number; a multiple of the latent size.
        frames: of a patch.
        width: of the blocks.
        depth: blocks.
        heads: attention heads; their width is a multiple of 8.
        hidden: inner width of the MLPs.
        rms, bias, head_norm: see `SpaceTimeBlock`.
        slice_length: latent frames of a slice of a clip; slices do not see each other, and time starts at 0 in each.
        latent_size: (h, w) that the token grid is resized to; None decodes on the token grid.
        recompute: drop activations of the blocks and compute them again in the backward pass.
    """
    example = dict(in_dim=16, layout=Grid(4, 4), image_size=(16, 16), frames=2, width=32, depth=2, heads=2, hidden=48)

    def __init__(self, in_dim: int, layout: Grid, image_size: int | Sequence[int], frames: Positive = 4,
                 width: Positive = 1152, depth: Depth = 27, heads: Positive = 16, hidden: Positive = 4304,
                 rms: bool = True, bias: bool = False, head_norm: bool = True, slice_length: Positive = 4,
                 latent_size: int | Sequence[int] | None = None, recompute: bool = False) -> None:
        super().__init__(in_dim, layout, image_size, latent_size)
        self.patch = (frames, *find_patch(self.image_size, self.latent))
        self.slice_length, self.recompute = slice_length, recompute
        self.pos_embedder = PositionTable(width)
        self.input_layer = nn.Linear(in_dim, width, bias)
        self.blocks = nn.ModuleList(SpaceTimeBlock(width, heads, hidden, rms, bias, head_norm) for _ in range(depth))
        self.out_norm = build_norm(width, rms)
        self.out_layer = nn.Linear(width, 3 * self.patch[0] * self.patch[1] * self.patch[2], bias)
        self.register_buffer('rotations', compute_rotations((1, *self.latent), width // heads), persistent=False)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the layer to pixels; images use the rows of the first frame."""
        return self.out_layer.weight

    def forward(self, features: Tensor) -> Tensor:
        """features [B,N,C] -> images [B,3,H,W], not clamped."""
        x = self.input_layer(self.to_map(features).flatten(2).transpose(1, 2)) + self.pos_embedder(*self.latent)
        for block in self.blocks:
            x = run(partial(block, rotations=self.rotations), x, self.recompute and self.training)
        rows, bias = 3 * self.patch[1] * self.patch[2], self.out_layer.bias
        x = F.linear(self.out_norm(x), self.out_layer.weight[:rows], None if bias is None else bias[:rows])
        return paint(x.unflatten(1, self.latent), *self.patch[1:])

    def decode_clip(self, features: Tensor, shape: Sequence[int]) -> Tensor:
        """features [1,N,C] of a clip of any size, `shape` its (t, h, w) -> frames [T,3,H,W], not clamped."""
        x = self.input_layer(features[0]).unflatten(0, (shape[0], -1)) + self.pos_embedder(*shape[1:])
        parts = []
        for part in x.split(self.slice_length):
            rotations = compute_rotations((len(part), *shape[1:]), 2 * self.rotations.shape[-1], x.device)
            y = part.flatten(0, 1)[None]
            for block in self.blocks:
                y = block(y, rotations)
            parts.append(y[0])
        return join_patches(self.out_layer(self.out_norm(torch.cat(parts))), shape, self.patch)
