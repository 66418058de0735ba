"""Encoders whose features RAE (arXiv 2510.11690) decodes, from local Hugging Face folders, as timm's transformers.

What RAE does with each: images are resized to the encoder's size and normalised as its preprocessor does (folded into
the patch embedding); the last norm has neither weight nor bias (ones and zeros here); class and register tokens are
dropped. Positions are fitted to the grid here: DINOv2's bicubically with antialias, the others without.

Legend: D width, N tokens of the grid.
"""
from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor

from dtbox.converters.folding import IMAGENET_MEAN, IMAGENET_STD, fold_input
from dtbox.errors import InputError
from dtbox.weights.model_folders import load_published, read_json
from dtbox.weights.renaming import Renaming
from dtbox.weights.siglip_names import VISION, build_timm_arguments, compute_ratio, is_vision_key, map_vision

HALF = (0.5, 0.5, 0.5)
PIXELS = {'dinov2_with_registers': (IMAGENET_MEAN, IMAGENET_STD), 'vit_mae': (IMAGENET_MEAN, IMAGENET_STD),
          'siglip': (HALF, HALF), 'siglip_vision_model': (HALF, HALF)}
"""`model_type` of config.json -> mean and std of the published preprocessor."""


@dataclass(frozen=True)
class Representation:
    """An encoder of a Hugging Face folder.

    Attributes:
        config: `name`, `norm_eps` and `model_args` of a TimmViT.
        state: its weights, but positions, which `fit` returns.
        positions: learned positions, [1 + N, D] or [N, D].
        patch: pixels of a side.
        antialias: how positions are fitted to another grid.
        mean, std: of the colours in [0, 1], as its preprocessor has them.
        published: the weights of the folder, under its names.
    """
    config: dict[str, Any]
    state: dict[str, Tensor]
    positions: Tensor
    patch: int
    antialias: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    published: Mapping[str, Tensor]

    @property
    def width(self) -> int:
        """Width D of the features."""
        return self.positions.shape[1]

    def fit(self, side: int) -> dict[str, Tensor]:
        """Return the state dict of a TimmViT whose grid has `side` rows and columns."""
        prefix = len(self.positions) - int(len(self.positions) ** 0.5) ** 2
        table = self.positions[prefix:]
        old = int(len(table) ** 0.5)
        if prefix > 1 or old * old != len(table):
            raise InputError(f'the encoder has {len(self.positions)} positions; expected those of a square grid, with '
                             'or without a class token.')
        if old != side:
            grid = table.T.unflatten(1, (old, old))[None]
            grid = F.interpolate(grid, (side, side), mode='bicubic', align_corners=False, antialias=self.antialias)
            table = grid[0].flatten(1).T
        state = dict(self.state)
        if self.config['model_args'].get('no_embed_class'):  # timm adds positions before it adds the other tokens
            state['cls_token'] = state['cls_token'] + self.positions[:1]
            prefix = 0
            state['pos_embed'] = table[None]
        else:
            state['pos_embed'] = torch.cat([self.positions[:prefix], table])[None]
        return state


def read_encoder(folder: str) -> Representation:
    """Read a folder of `dinov2-with-registers`, SigLIP (2) or `vit-mae`.

    Raises:
        InputError: another model, a config or weights that do not belong together.
    """
    config = read_json(os.path.join(folder, 'config.json'))
    kind = config.get('model_type')
    if kind not in PIXELS:
        raise InputError(f'{folder}/config.json has the model_type {kind!r}; RAE reads {", ".join(PIXELS)}.',
                         '--encoder')
    mean, std = _read_pixels(folder, kind)
    state, source = load_published(folder, is_vision_key if kind.startswith('siglip') else None)
    read = dict(dinov2_with_registers=_read_dinov2, vit_mae=_read_mae).get(kind, _read_siglip)
    args, eps, found, positions = read(config, state, source)
    found['patch_embed.proj.weight'], found['patch_embed.proj.bias'] = fold_input(
        found['patch_embed.proj.weight'], found['patch_embed.proj.bias'], mean, std)
    found.update({'norm.weight': torch.ones_like(found['norm.weight']),
                  'norm.bias': torch.zeros_like(found['norm.bias'])})
    name = dict(dinov2_with_registers='vit_base_patch14_reg4_dinov2', vit_mae='vit_base_patch16_224').get(
        kind, 'vit_base_patch16_siglip_224')
    return Representation(dict(type='TimmViT', name=name, norm_eps=eps, model_args=dict(args, global_pool='')), found,
                          positions, args['patch_size'], kind == 'dinov2_with_registers', mean, std, state)


def read_licence(folder: str) -> str:
    """Return the licence that the model card (README.md) of a folder names, or 'not stated in the folder'."""
    try:
        with open(os.path.join(folder, 'README.md'), encoding='utf-8') as file:
            head = file.read(10_000)
    except (OSError, UnicodeDecodeError):
        head = ''
    found = re.search(r'^license:[ \t]*(\S[^\n]*)$', head, re.MULTILINE)
    return found[1].strip() if found else 'not stated in the folder'


def _read_pixels(folder: str, kind: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std of the folder's preprocessor, or of the published one where the folder has none."""
    path = os.path.join(folder, 'preprocessor_config.json')
    if not os.path.isfile(path):
        print_log(f'{folder} has no preprocessor_config.json: mean and std of colours are those of the published '
                  f'{kind}.', 'current')
        return PIXELS[kind]
    values = read_json(path)
    found = tuple(tuple(values.get(key, PIXELS[kind][i])) for i, key in enumerate(('image_mean', 'image_std')))
    if any(len(colours) != 3 for colours in found):
        raise InputError(f'{path} has image_mean and image_std {found}; expected three colours each.')
    return found[0], found[1]


def _find_sizes(config: Mapping[str, Any], state: Mapping[str, Tensor], stem: str, hidden: str) -> dict[str, Any]:
    """Return timm's arguments that the weights and the heads of the config tell."""
    kernel = state[f'{stem}embeddings.patch_embeddings.projection.weight']
    depth = 1 + max((int(name.removeprefix(f'{stem}encoder.layer.').split('.')[0]) for name in state
                     if name.startswith(f'{stem}encoder.layer.')), default=-1)
    return dict(embed_dim=len(kernel), depth=depth, num_heads=config.get('num_attention_heads', 12),
                patch_size=kernel.shape[-1], mlp_ratio=compute_ratio(len(state[hidden]), len(kernel)))


def map_attention(rules: Renaming, ours: str, theirs: str) -> None:
    """Map one attention of transformers' ViT to timm's."""
    rules.stack(f'{ours}.qkv', [f'{theirs}.attention.{part}' for part in ('query', 'key', 'value')])
    rules.both(f'{ours}.proj', f'{theirs}.output.dense')


def map_vit_blocks(rules: Renaming, ours: str, theirs: str, depth: int) -> None:
    """Map the blocks of transformers' ViT, as MAE and RAE's decoder have them, to timm's."""
    for i in rules.count(depth):
        a, b = f'{ours}blocks.{i}', f'{theirs}.{i}'
        map_attention(rules, f'{a}.attn', f'{b}.attention')
        for x, y in (('norm1', 'layernorm_before'), ('norm2', 'layernorm_after'), ('mlp.fc1', 'intermediate.dense'),
                     ('mlp.fc2', 'output.dense')):
            rules.both(f'{a}.{x}', f'{b}.{y}')


def _read_mae(config: Mapping[str, Any], state: Mapping[str, Tensor], source: str) -> tuple:
    stem = 'vit.' if any(name.startswith('vit.') for name in state) else ''
    args = _find_sizes(config, state, stem, f'{stem}encoder.layer.0.intermediate.dense.weight')
    rules = Renaming({k: v for k, v in state.items() if not k.startswith(('decoder.', 'mask_token'))}, source)
    rules.copy('cls_token', f'{stem}embeddings.cls_token')
    rules.both('patch_embed.proj', f'{stem}embeddings.patch_embeddings.projection')
    positions = rules.take(f'{stem}embeddings.position_embeddings')
    map_vit_blocks(rules, '', f'{stem}encoder.layer', args['depth'])
    rules.both('norm', f'{stem}layernorm')
    return args, config.get('layer_norm_eps', 1e-12), rules.finish(), (positions or [torch.zeros(1, 1, 1)])[0][0]


def _read_dinov2(config: Mapping[str, Any], state: Mapping[str, Tensor], source: str) -> tuple:
    args = _find_sizes(config, state, '', 'encoder.layer.0.mlp.fc1.weight')
    registers = state['embeddings.register_tokens'].shape[1]
    rules = Renaming(state, source)
    rules.copy('cls_token', 'embeddings.cls_token')
    rules.copy('reg_token', 'embeddings.register_tokens')
    rules.both('patch_embed.proj', 'embeddings.patch_embeddings.projection')
    positions = rules.take('embeddings.position_embeddings')
    for i in rules.count(args['depth']):
        a, b = f'blocks.{i}', f'encoder.layer.{i}'
        map_attention(rules, f'{a}.attn', f'{b}.attention')
        for x, y in (('norm1', 'norm1'), ('norm2', 'norm2'), ('mlp.fc1', 'mlp.fc1'), ('mlp.fc2', 'mlp.fc2')):
            rules.both(f'{a}.{x}', f'{b}.{y}')
        for n in (1, 2):
            rules.copy(f'{a}.ls{n}.gamma', f'{b}.layer_scale{n}.lambda1')
    rules.both('norm', 'layernorm')
    args.update(reg_tokens=registers, no_embed_class=True, init_values=1.0)
    found = rules.finish(ignore=('mask_token',))
    return args, config.get('layer_norm_eps', 1e-6), found, (positions or [torch.zeros(1, 1, 1)])[0][0]


def _read_siglip(config: Mapping[str, Any], state: Mapping[str, Tensor], source: str) -> tuple:
    vision = {**VISION, 'layer_norm_eps': 1e-6, **config.get('vision_config', config)}
    rules = Renaming({k: v for k, v in state.items() if k.startswith('vision_model.')}, source)
    map_vision(rules, '', 'vision_model', vision['num_hidden_layers'])
    found = {k: v for k, v in rules.finish(ignore=('position_ids',)).items() if not k.startswith('attn_pool.')}
    return build_timm_arguments(vision), vision['layer_norm_eps'], found, found.pop('pos_embed')[0]
