"""The semantic decoder of VQ-KD (BEiT v2, arXiv 2208.06366, section 3.1) and TokenFlow (arXiv 2412.03069) as a
post-projection: a small BEiT over all tokens and a head of two linear layers.

Legend: B batch, N tokens.
"""
from __future__ import annotations

from functools import partial

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.errors import InputError
from dtbox.layers.projections import TanhProjection
from dtbox.layout import TokenLayout
from dtbox.registry import PROJECTIONS
from dtbox.values import Depth, Positive, PositiveNumber

EPSILON = 1e-6
"""Of every norm."""


@PROJECTIONS.register_module()
class BEiTProjection(nn.Module):
    """Linear in, a class token, learned positions, BEiT's blocks (timm's; the key has no bias), a norm of the tokens
    without the class token, linear, tanh, linear.

    Args:
        in_dim, out_dim: widths.
        layout: where the tokens lie; they have a position each.
        width: channels of the blocks.
        depth: blocks.
        heads: attention heads; divides `width`.
        mlp_ratio: hidden width of the MLP over `width`.
    """

    def __init__(self, in_dim: int, out_dim: int, layout: TokenLayout, width: Positive = 768, depth: Depth = 3,
                 heads: Positive = 12, mlp_ratio: PositiveNumber = 4.) -> None:
        from timm.models.beit import Block
        super().__init__()
        if width % heads:
            raise InputError(f'`width` {width} does not divide into {heads} heads; choose a multiple, such as '
                             f'{width // heads * heads + heads}.', 'width')
        norm = partial(nn.LayerNorm, eps=EPSILON)
        self.proj = nn.Linear(in_dim, width)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + layout.tokens, width))
        self.blocks = nn.ModuleList(Block(width, heads, qkv_bias=True, mlp_ratio=mlp_ratio, norm_layer=norm)
                                    for _ in range(depth))
        self.fc_norm = norm(width)
        self.head = TanhProjection(width, out_dim)
        for table in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(table, std=.02)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, in_dim] -> [B, N, out_dim]."""
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), self.proj(x)], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.fc_norm(x[:, 1:]))
