"""The three semantic encoders of TokenFlow's published tokenizers (arXiv 2412.03069), under `encoder_vqkd.`, as timm
transformers:

- CLIP (OpenAI's names) reads images in [-1, 1] as they are, not normalised as CLIP was trained; its tokens after
  `ln_post`, without the class token and the projection;
- ViTamin (timm's names) reads images of the mean and deviation under `scaling_layer.`; its last block's raw output;
- SigLIP (Hugging Face's names) likewise; the input of its last block (`hidden_states[-2]`).
"""
from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from dtbox.converters.unitok import HEADS
from dtbox.errors import InputError
from dtbox.weights.renaming import Renaming
from dtbox.weights.siglip_names import build_timm_arguments, map_vision

PREFIX = 'encoder_vqkd'
STRIDE = 16
"""Pixels of a token of ViTamin."""
SIGLIP_SIZE = 384
"""Pixels of the published SigLIP, which are no multiple of its patch."""
CLIP_HEAD = 64
"""Width of an attention head of OpenAI's CLIP."""
SIGLIP = f'{PREFIX}.vision_model'


@dataclass(frozen=True)
class Semantic:
    """A semantic encoder.

    Attributes:
        kind: 'clip', 'vitamin' or 'siglip'.
        config: of the encoder.
        tap: layer that the semantic vocabulary reads.
        depth: blocks.
        patch: pixels of a token.
        grid: rows of the token grid that its positions are made for.
        image_size: pixels of the published model.
    """
    kind: str
    config: dict[str, Any]
    tap: int | str
    depth: int
    patch: int
    grid: int
    image_size: int

    def count_rows(self, image_size: int) -> int:
        """Return the rows of the token grid of images of that size; `InputError` for a size that does not fit."""
        rows = image_size // self.patch
        if self.kind == 'siglip' and rows != self.grid:
            raise InputError(f'images of {image_size} pixels have {rows} x {rows} patches of {self.patch}; the '
                             f'positions of SigLIP are for {self.grid} x {self.grid} and stay as they are.',
                             '--image-size')
        if not rows or self.kind != 'siglip' and image_size % self.patch:
            raise InputError(f'images of {image_size} pixels do not divide into patches of {self.patch}. Give a '
                             f'multiple, such as {max(1, round(image_size / self.patch)) * self.patch}.',
                             '--image-size')
        return rows


def find_semantic(state: Mapping[str, torch.Tensor], grid: int, heads: int | None, source: str) -> Semantic:
    """Return the semantic encoder that the names and shapes tell.

    Args:
        state: published name -> tensor.
        grid: rows of the token grid that the positions of the semantic decoder are made for.
        heads: attention heads of a ViTamin or SigLIP of another width than the published ones.
        source: what to call the weights in messages.

    Raises:
        InputError: none of the three, or a width without known heads.
        KeyError: a name that every such encoder has is missing.
    """
    if f'{PREFIX}.conv1.weight' in state:
        return _find_clip(state, grid)
    if any(name.startswith(f'{PREFIX}.patch_embed.backbone.') for name in state):
        return _find_vitamin(state, grid, heads)
    if any(name.startswith(f'{SIGLIP}.') for name in state):
        return _find_siglip(state, grid, heads)
    raise InputError(f'{source} has a semantic encoder of another kind; expected {PREFIX}.conv1 (CLIP), '
                     f'{PREFIX}.patch_embed.backbone (ViTamin) or {SIGLIP} (SigLIP).')


def _count(state: Mapping[str, torch.Tensor], prefix: str) -> int:
    """Return one more than the largest number after a prefix."""
    return 1 + max((int(m[1]) for name in state if (m := re.match(rf'{re.escape(prefix)}(\d+)\.', name))), default=-1)


def _find_heads(width: int, heads: int | None) -> int:
    found = heads or HEADS.get(width)
    if not found:
        raise InputError(f'the semantic encoder has the width {width}; published ones have '
                         f'{", ".join(map(str, HEADS))}. Say its attention heads.', '--heads')
    return found


def _find_clip(state: Mapping[str, torch.Tensor], grid: int) -> Semantic:
    width, _, _, patch = state[f'{PREFIX}.conv1.weight'].shape
    blocks = f'{PREFIX}.transformer.resblocks.'
    depth = _count(state, blocks)
    args = dict(embed_dim=width, depth=depth, num_heads=max(1, width // CLIP_HEAD), patch_size=patch,
                mlp_ratio=len(state[f'{blocks}0.mlp.c_fc.weight']) / width)
    own = math.isqrt(max(0, len(state[f'{PREFIX}.positional_embedding']) - 1))
    config = dict(type='TimmViT', name='vit_base_patch16_clip_quickgelu_224', model_args=args)
    return Semantic('clip', config, 'norm', depth, patch, own, own * patch)


def _read_scaling(state: Mapping[str, torch.Tensor]) -> dict[str, list[float]]:
    """Return `mean` and `std` of TimmViT."""
    shift, scale = (state[f'scaling_layer.{name}'].float().flatten().tolist() for name in ('shift', 'scale'))
    return dict(mean=[round(value, 8) for value in shift], std=[round(value, 8) for value in scale])


def _find_vitamin(state: Mapping[str, torch.Tensor], grid: int, heads: int | None) -> Semantic:
    stem = f'{PREFIX}.patch_embed.backbone'
    width, depth = len(state[f'{PREFIX}.blocks.0.norm1.weight']), _count(state, f'{PREFIX}.blocks.')
    stages = [len(state[f'{stem}.stages.{i}.0.conv3_1x1.weight']) for i in (0, 1)]
    args = dict(embed_dim=width, depth=depth, num_heads=_find_heads(width, heads),
                mlp_ratio=len(state[f'{PREFIX}.blocks.0.mlp.w0.weight']) / width, final_norm=False, global_pool='',
                embed_cfg=dict(embed_dim=[*stages, width], depths=[*(_count(state, f'{stem}.stages.{i}.')
                                                                     for i in (0, 1)), 1],
                               stem_width=len(state[f'{stem}.stem.conv1.weight'])))
    config = dict(type='TimmViT', name='vitamin_xlarge_256', model_args=args, **_read_scaling(state))
    return Semantic('vitamin', config, depth, depth, STRIDE, grid, grid * STRIDE)


def _find_siglip(state: Mapping[str, torch.Tensor], grid: int, heads: int | None) -> Semantic:
    width, _, _, patch = state[f'{SIGLIP}.embeddings.patch_embedding.weight'].shape
    depth = _count(state, f'{SIGLIP}.encoder.layers.')
    vision = dict(hidden_size=width, num_hidden_layers=depth, num_attention_heads=_find_heads(width, heads),
                  patch_size=patch, intermediate_size=len(state[f'{SIGLIP}.encoder.layers.0.mlp.fc1.weight']))
    own = math.isqrt(len(state[f'{SIGLIP}.embeddings.position_embedding.weight']))
    config = dict(type='TimmViT', name='vit_base_patch16_siglip_224', model_args=build_timm_arguments(vision),
                  **_read_scaling(state))
    size = SIGLIP_SIZE if SIGLIP_SIZE // patch == own else own * patch
    return Semantic('siglip', config, depth - 1, depth, patch, own, size)


def map_semantic(rules: Renaming, ours: str, semantic: Semantic, grid: int) -> None:
    """Rename the encoder's weights to timm's, under `ours`, its positions for `grid` rows."""
    if semantic.kind == 'siglip':
        map_vision(rules, f'{ours}.', SIGLIP, semantic.depth)
    elif semantic.kind == 'vitamin':
        rules.tree(f'{ours}.', f'{PREFIX}.')
    else:
        _map_clip(rules, ours, semantic.depth, grid)
    if semantic.kind != 'clip':
        rules.take('scaling_layer.shift', 'scaling_layer.scale')  # in the config


def _map_clip(rules: Renaming, ours: str, depth: int, grid: int) -> None:
    rules.copy(f'{ours}.cls_token', f'{PREFIX}.class_embedding', lambda t: t[None, None])
    rules.copy(f'{ours}.pos_embed', f'{PREFIX}.positional_embedding', lambda t: resize_positions(t, grid)[None])
    rules.copy(f'{ours}.patch_embed.proj.weight', f'{PREFIX}.conv1.weight')
    rules.both(f'{ours}.norm_pre', f'{PREFIX}.ln_pre')
    for i in rules.count(depth):
        a, b = f'{ours}.blocks.{i}', f'{PREFIX}.transformer.resblocks.{i}'
        for part in ('weight', 'bias'):
            rules.copy(f'{a}.attn.qkv.{part}', f'{b}.attn.in_proj_{part}')
        for x, y in (('norm1', 'ln_1'), ('attn.proj', 'attn.out_proj'), ('norm2', 'ln_2'), ('mlp.fc1', 'mlp.c_fc'),
                     ('mlp.fc2', 'mlp.c_proj')):
            rules.both(f'{a}.{x}', f'{b}.{y}')
    rules.both(f'{ours}.norm', f'{PREFIX}.ln_post')


def resize_positions(table: torch.Tensor, rows: int) -> torch.Tensor:
    """Fit positions of a class token and a square grid to `rows` x `rows` tokens, as the published code does.

    It enlarges by (rows + 0.1) / own rows, so that rounding does not lose a row, and samples at that factor.

    Args:
        table: [1 + own rows^2, D].
        rows: of the token grid.

    Returns:
        [1 + rows^2, D]; the table itself where it fits.
    """
    own = math.isqrt(max(0, len(table) - 1))
    if own == rows or own * own + 1 != len(table):
        return table
    factor = (rows + 0.1) / own
    patches = table[1:].reshape(1, own, own, -1).permute(0, 3, 1, 2)
    if patches.is_meta:
        return table.new_empty(1 + rows * rows, table.shape[1])
    patches = F.interpolate(patches, scale_factor=(factor, factor), mode='bicubic', align_corners=False)
    return torch.cat([table[:1], patches.flatten(2)[0].t()])
