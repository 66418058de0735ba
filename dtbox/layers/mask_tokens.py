"""The transformer of TiTok's decoders (arXiv 2406.07550): mask tokens, one for each patch, ask the latent tokens; text
tokens that guide it (TA-TiTok, arXiv 2501.07730) come after these.

Legend: B batch, K latent tokens, N patches, C width of the features, D width, L text tokens, W their width.
"""
from __future__ import annotations

from functools import partial

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.arguments import describe
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.layers.recompute import run
from dtbox.structures import Guidance


class MaskTokens(nn.Module):
    """Features of latent tokens to features of patches.

    The sequence is: class token, N mask tokens, K latent tokens, L text tokens, each with positions of its own.

    Args:
        in_dim: width C of the features.
        latents: number of latent tokens K.
        patches: number of patches N.
        width: channels D.
        depth: transformer blocks.
        heads: attention heads; divides `width`.
        mlp_ratio: hidden width of the MLP over `width`.
        guidance: length L and width W of the text tokens; None takes none.
    """

    def __init__(self, in_dim: int, latents: int, patches: int, width: int, depth: int, heads: int,
                 mlp_ratio: float = 4., guidance: Guidance | None = None) -> None:
        from timm.models.vision_transformer import Block
        super().__init__()
        if width % heads:
            raise InputError(f'`width` {width} does not divide into {format_count(heads, "head")}; choose a multiple, '
                             f'such as {width // heads * heads + heads}.', 'heads')
        self.patches, self.guidance = patches, guidance
        norm, scale = partial(nn.LayerNorm, eps=1e-5), width ** -0.5
        self.embed = nn.Linear(in_dim, width)
        self.class_token = nn.Parameter(scale * torch.randn(1, width))
        self.mask_token = nn.Parameter(scale * torch.randn(1, width))
        self.positions = nn.Parameter(scale * torch.randn(1 + patches, width))
        self.latent_positions = nn.Parameter(scale * torch.randn(latents, width))
        if guidance is not None:
            self.text_embed = nn.Linear(guidance.width, width)
            self.text_positions = nn.Parameter(scale * torch.randn(guidance.length, width))
        self.norm_pre = norm(width)
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio, qkv_bias=True, norm_layer=norm)
                                    for _ in range(depth))
        self.norm = norm(width)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=.02)
                nn.init.zeros_(part.bias)

    def forward(self, features: Tensor, guidance: Tensor | None = None, recompute: bool = False) -> Tensor:
        """features [B,K,C], guidance [B,L,W] or None -> features of the patches [B,N,D].

        Raises:
            InputError: text tokens that are missing, not wanted, or of another shape.
        """
        self._check_guidance(guidance, features.shape[0])
        masks = torch.cat([self.class_token, self.mask_token.expand(self.patches, -1)]) + self.positions
        latents = self.embed(features)
        parts = [masks.expand(features.shape[0], -1, -1).to(latents.dtype), latents + self.latent_positions]
        if guidance is not None:
            parts.append(self.text_embed(guidance) + self.text_positions)
        x = self.norm_pre(torch.cat(parts, 1))
        for block in self.blocks:
            x = run(block, x, recompute)
        return self.norm(x[:, 1:1 + self.patches])

    def _check_guidance(self, guidance: Tensor | None, batch: int) -> None:
        if self.guidance is None:
            if guidance is not None:
                raise InputError('text tokens came, but this decoder is not guided by texts. Leave them out, or take a '
                                 'decoder with `guidance`.', 'guidance')
            return
        shape = (batch, self.guidance.length, self.guidance.width)
        if guidance is None or tuple(guidance.shape) != shape:
            what = 'no texts' if guidance is None else describe(guidance)
            raise InputError(f'this decoder is guided by texts, and got {what}; expected tokens of a text tower, '
                             f'{list(shape)}: one text for each image.', 'guidance')
