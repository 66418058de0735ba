"""RAE's decoder (arXiv 2510.11690): a plain vision transformer with fixed positions and a class token that is trained.

Deviation: the published decoder ends in the normalised pixels of its encoder and undoes that outside of itself; here
images are in [-1, 1], and the converter folds the difference into the last layer.

Legend: B batch, N tokens, D feature width, h and w latent rows and columns.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dtbox.decoders.timm_vit import TimmDecoder
from dtbox.errors import InputError
from dtbox.layout import Grid
from dtbox.registry import DECODERS
from dtbox.values import Depth, Positive
from dtbox.weights.siglip_names import compute_ratio

EPS = 1e-12
"""Of every norm."""


def make_sincos_table(width: int, rows: int, columns: int) -> Tensor:
    """Return the positions of a class token (zeros) and of a grid, [1, 1 + rows * columns, width] float32.

    The first half of the channels tells the column, the second the row; each half is [sin(p w_j), cos(p w_j)] with
    w_j = 10000^(-j / (width / 4)), as in MAE (arXiv 2111.06377), in float64.
    """
    if width % 4:
        raise InputError(f'`width` is {width}; positions of sines and cosines need a multiple of 4.', 'width')
    waves = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64, device='cpu') / (width // 4))
    halves = []
    for count in (columns, rows):
        angles = torch.arange(count, dtype=torch.float64, device='cpu')[:, None] * waves
        halves.append(torch.cat([angles.sin(), angles.cos()], 1))
    grid = torch.cat([halves[0].expand(rows, -1, -1), halves[1][:, None].expand(-1, columns, -1)], -1)
    return torch.cat([torch.zeros(1, width, dtype=torch.float64, device='cpu'), grid.flatten(0, 1)])[None].float()


@DECODERS.register_module()
class RAEDecoder(TimmDecoder):
    """RAE's decoder (arXiv 2510.11690); the published one is ViT-XL, whose sizes are the defaults.

    Args:
        in_dim: feature width D, that of the encoder whose features it reads.
        layout: where the tokens lie, a Grid.
        image_size: (H, W) in pixels, or one number; a multiple of the latent size.
        width: channels of the blocks, a multiple of 4.
        depth: blocks.
        heads: attention heads; divides `width`.
        hidden: inner width of the MLPs.
        latent_size: (h, w) that the token grid is resized to; None decodes on the token grid.
        recompute: drop activations of the blocks and compute them again in the backward pass.
    """
    example = dict(in_dim=16, layout=Grid(4, 4), image_size=(16, 16), width=32, depth=2, heads=2, hidden=48)

    def __init__(self, in_dim: int, layout: Grid, image_size: int | Sequence[int], width: Positive = 1152,
                 depth: Depth = 28, heads: Positive = 16, hidden: Positive = 4096,
                 latent_size: int | Sequence[int] | None = None, recompute: bool = False) -> None:
        sizes = dict(embed_dim=width, depth=depth, num_heads=heads, mlp_ratio=compute_ratio(hidden, width))
        super().__init__(in_dim, layout, image_size, 'vit_base_patch16_224', sizes, latent_size=latent_size,
                         recompute=recompute, norm_eps=EPS)
        del self.trunk.pos_embed
        self.trunk.register_buffer('pos_embed', make_sincos_table(width, *self.latent).to(self.proj_in.weight.device))
