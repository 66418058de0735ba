"""The blocks of any timm vision transformer as a decoder, with a pixel head of choice at its end.

Of the timm model positions, prefix tokens, blocks and final norm are used; its patch embedding and its pool are not.

Legend: B batch, P prefix tokens, N tokens, D feature width, h and w latent rows and columns, H and W pixels.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.decoders.base import Decoder
from dtbox.decoders.light import find_patch
from dtbox.errors import InputError
from dtbox.layers.timm_models import build_timm, run_blocks, set_norm_eps
from dtbox.layout import Grid
from dtbox.registry import DECODERS, PIXEL_HEADS
from dtbox.values import PositiveNumber


class _Cells(nn.Module):
    """What stands in the place of a trunk's patch embedding: tokens pass, `grid_size` is that of the latent grid."""

    def __init__(self, grid_size: tuple[int, int]) -> None:
        super().__init__()
        self.grid_size = grid_size

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens


def build_trunk(name: str, grid: tuple[int, int], model_args: Mapping[str, Any]) -> nn.Module:
    """Return a timm VisionTransformer or Eva for a grid of tokens, without patch embedding and pool.

    Args:
        name: timm model name.
        grid: rows and columns of tokens.
        model_args: further arguments of the timm model.

    Raises:
        InputError: a model of another kind, or sizes that timm refuses.
    """
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer
    args = dict(global_pool='', **{key: value for key, value in model_args.items() if key != 'global_pool'})
    with torch.device('meta'):  # only to learn how many pixels a token has
        embed = getattr(build_timm(name, 224, args), 'patch_embed', None)
    step = embed.feat_ratio(as_scalar=False) if embed is not None and hasattr(embed, 'feat_ratio') else (1, 1)
    trunk = build_timm(name, [cells * pixels for cells, pixels in zip(grid, step)], args)
    if not isinstance(trunk, (VisionTransformer, Eva)):
        raise InputError(f'{type(trunk).__name__} is not a plain vision transformer; expected a timm VisionTransformer '
                         'or Eva (names that begin with vit_, deit, eva, vitamin). Choose another model name.', 'name')
    trunk.patch_embed = _Cells(grid)
    return trunk


@DECODERS.register_module()
class TimmDecoder(Decoder):
    """The blocks of a timm vision transformer, then a pixel head.

    Args:
        in_dim: feature width D.
        layout: where the tokens lie, a Grid.
        image_size: (H, W) in pixels, or one number; a multiple of the latent size.
        name: timm model name of a VisionTransformer or Eva.
        model_args: further arguments of the timm model (embed_dim, depth, num_heads, act_layer, ...).
        head: config of the pixel head; its width and patch are filled in.
        latent_size: (h, w) that the token grid is resized to; None decodes on the token grid.
        recompute: drop activations of the blocks and compute them again in the backward pass.
        project: a linear layer from D to the width of the blocks; without it D is that width.
        norm_eps: epsilon of every norm; None takes that of timm's model.
    """
    example = dict(in_dim=16, layout=Grid(4, 4), image_size=(16, 16), name='vit_tiny_patch16_224',
                   model_args=dict(embed_dim=32, depth=2, num_heads=2))

    def __init__(self, in_dim: int, layout: Grid, image_size: int | Sequence[int], name: str = 'vit_base_patch16_224',
                 model_args: dict[str, Any] | None = None, head: dict[str, Any] = dict(type='LinearPixels'),
                 latent_size: int | Sequence[int] | None = None, recompute: bool = False, project: bool = True,
                 norm_eps: PositiveNumber | None = None) -> None:
        super().__init__(in_dim, layout, image_size, latent_size)
        patch = find_patch(self.image_size, self.latent)
        self.recompute = recompute
        self.trunk = build_trunk(name, self.latent, model_args or {})
        if norm_eps is not None:
            set_norm_eps(self.trunk, norm_eps)
        if not project and in_dim != self.trunk.embed_dim:
            raise InputError(f'the features have the width {in_dim}, the blocks {self.trunk.embed_dim}; without '
                             '`project` they must agree.', 'project')
        self.proj_in = nn.Linear(in_dim, self.trunk.embed_dim) if project else nn.Identity()
        self.head = PIXEL_HEADS.build(dict(head), where='head', width=self.trunk.embed_dim, patch=patch)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the pixel head's final layer."""
        return self.head.last_layer

    def forward(self, features: Tensor) -> Tensor:
        """features [B,N,D] -> images [B,3,H,W], not clamped."""
        trunk, recompute = self.trunk, self.recompute and self.training
        x = self.proj_in(self.to_map(features).permute(0, 2, 3, 1))
        x = x if trunk.dynamic_img_size else x.flatten(1, 2)  # as their patch embeddings hand it on
        for x in run_blocks(trunk, x, recompute):
            pass  # the last one counts
        return self.head(trunk.norm(x)[:, trunk.num_prefix_tokens:].unflatten(1, self.latent))
