"""SigLIP (arXiv 2303.15343) and SigLIP 2 (arXiv 2502.14786): names, sizes, and published weights under our names.

Published weights come in three layouts: Hugging Face's (`vision_model.`, `text_model.`), open_clip's (`visual.trunk.`,
`text.`) and timm's (the bare image tower). Towers here are a timm VisionTransformer and an open_clip TextTransformer;
both equal Hugging Face's to round-off with LayerNorm's epsilon 1e-6 and the tanh approximation of GELU, which every
SigLIP was trained with; timm's own names for base, large and so400m/14 have the exact GELU, which is 2e-3 off.
"""
from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dtbox.errors import InputError, closest
from dtbox.weights.model_folders import read_json
from dtbox.weights.renaming import Renaming

WIDTHS = dict(base=(768, 12, 12, 3072), large=(1024, 24, 16, 4096), so400m=(1152, 27, 16, 4304))
"""Size -> (width, blocks, heads, hidden width of the MLP), the same in both towers."""

VARIANTS = {
    1: ('base-patch16-224', 'base-patch16-256', 'base-patch16-384', 'base-patch16-512', 'large-patch16-256',
        'large-patch16-384', 'so400m-patch14-224', 'so400m-patch14-384'),
    2: ('base-patch16-224', 'base-patch16-256', 'base-patch16-384', 'base-patch16-512', 'base-patch32-256',
        'large-patch16-256', 'large-patch16-384', 'large-patch16-512', 'so400m-patch14-224', 'so400m-patch14-384',
        'so400m-patch16-256', 'so400m-patch16-384', 'so400m-patch16-512')}
"""Version -> the published variants (without SigLIP 2's `giant`, whose towers differ in width, and NaFlex)."""

VOCABULARY = {1: 32000, 2: 256000}

VISION = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, image_size=224,
              patch_size=16)
TEXT = dict(vocab_size=32000, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
            max_position_embeddings=64)
"""Hugging Face's defaults, which its config files leave out."""


@dataclass(frozen=True)
class SigLIPSizes:
    """What tells one SigLIP from another.

    Attributes:
        version: 1 or 2.
        vision, text: Hugging Face's `vision_config` and `text_config`, defaults filled in.
        hub: Hugging Face's name of the model; '' where it is not known.
    """
    version: int
    vision: dict
    text: dict
    hub: str = ''


def find_sizes(name: str) -> SigLIPSizes:
    """Return the SigLIPSizes of a name or folder.

    Args:
        name: Hugging Face's (`google/siglip2-so400m-patch14-384`, the owner may be left out), timm's
            (`vit_so400m_patch14_siglip_384`, with `.v2_webli` for SigLIP 2) or open_clip's
            (`ViT-SO400M-14-SigLIP2-378`) name; or a local folder with Hugging Face's config.json.

    Raises:
        InputError: a name of none of these, a variant that was not published, or a folder without such a config.
    """
    if os.path.isdir(name):
        return read_sizes(name)
    parsed = _parsed(name)
    if parsed is None:
        known = [f'google/siglip{"2" if v == 2 else ""}-{variant}' for v, variants in VARIANTS.items()
                 for variant in variants]
        raise InputError(f'`{name}` is neither a SigLIP model nor a folder.{closest(name, known)} Expected a name '
                         f'such as {known[7]}, ViT-SO400M-14-SigLIP2-378 or vit_so400m_patch14_siglip_384, or a local '
                         'folder.', 'name')
    version, size, patch, image = parsed
    # the same grid: 14 does not divide 384
    variant = f'{size}-patch{patch}-{384 if (patch, image) == (14, 378) else image}'
    if variant not in VARIANTS[version]:
        raise InputError(f'there is no SigLIP{" 2" if version == 2 else ""} '
                         f'`{variant}`.{closest(variant, VARIANTS[version])} There are: '
                         f'{", ".join(VARIANTS[version])}.', 'name')
    width, depth, heads, hidden = WIDTHS[size]
    shared = dict(hidden_size=width, intermediate_size=hidden, num_hidden_layers=depth, num_attention_heads=heads)
    return SigLIPSizes(version, dict(shared, image_size=image, patch_size=patch),
                       dict(shared, vocab_size=VOCABULARY[version], max_position_embeddings=64),
                       f'google/siglip{"2" if version == 2 else ""}-{variant}')


def _parsed(name):
    """Return (version, size, patch, image size) that a name tells, or None."""
    plain = name.lower().rpartition('/')[2]
    hub = re.fullmatch(r'siglip(2?)-(base|large|so400m)-patch(\d+)-(\d+)', plain)
    timm = re.fullmatch(r'vit_(base|large|so400m)_patch(\d+)_siglip_(\d+)(\.(v2_)?webli)?', plain)
    clip = re.fullmatch(r'vit-(b|l|so400m)-(\d+)-siglip(2?)(?:-(\d+))?', plain)
    if hub:
        return 2 if hub[1] else 1, hub[2], int(hub[3]), int(hub[4])
    if timm:
        return 2 if timm[5] else 1, timm[1], int(timm[2]), int(timm[3])
    if clip:
        return 2 if clip[3] else 1, dict(b='base', l='large').get(clip[1], clip[1]), int(clip[2]), int(clip[4] or 224)
    return None


def read_sizes(folder: str) -> SigLIPSizes:
    """Return the SigLIPSizes of a local folder with Hugging Face's config.json; `InputError` for other configs."""
    config = read_json(os.path.join(folder, 'config.json'))
    if 'vision_config' not in config or 'text_config' not in config:
        other = config.get('architecture') or (config.get('model_cfg')
                                               or {}).get('vision_cfg', {}).get('timm_model_name')
        if other and _parsed(other):
            return find_sizes(other)
        raise InputError(f'{folder}/config.json has no vision_config and text_config; expected a SigLIP model\'s '
                         'folder.')
    vision, text = {**VISION, **config['vision_config']}, {**TEXT, **config['text_config']}
    for part, name in ((vision, 'vision_config'), (text, 'text_config')):
        if part.get('hidden_act', 'gelu_pytorch_tanh') != 'gelu_pytorch_tanh' or part.get('layer_norm_eps',
                                                                                          1e-6) != 1e-6:
            raise InputError(f'{name} has the activation {part.get("hidden_act")} and epsilon '
                             f'{part.get("layer_norm_eps")}; expected gelu_pytorch_tanh and 1e-6, as in every SigLIP.')
    return SigLIPSizes(2 if text['vocab_size'] > VOCABULARY[1] else 1, vision, text)


def compute_ratio(hidden: int, width: int) -> float:
    """Return an MLP ratio that gives exactly `hidden` under int(width * ratio)."""
    return (hidden + 0.5) / width


def build_timm_arguments(vision: Mapping) -> dict:
    """Return the arguments that make timm's `vit_base_patch16_siglip_224` the image tower of a `vision_config`."""
    width = vision['hidden_size']
    return dict(embed_dim=width, depth=vision['num_hidden_layers'], num_heads=vision['num_attention_heads'],
                patch_size=vision['patch_size'], mlp_ratio=compute_ratio(vision['intermediate_size'], width),
                act_layer='gelu_tanh')


def build_text_arguments(text: Mapping) -> dict:
    """Return open_clip's text config of a `text_config`: no mask of any kind, the last position is the text's
    embedding."""
    return dict(context_length=text['max_position_embeddings'], vocab_size=text['vocab_size'],
                width=text['hidden_size'], heads=text['num_attention_heads'], layers=text['num_hidden_layers'],
                no_causal_mask=True, pool_type='last',
                mlp_ratio=compute_ratio(text['intermediate_size'], text['hidden_size']), proj_bias=True,
                norm_kwargs=dict(eps=1e-6), act_kwargs=dict(approximate='tanh'))


# ---- weights ---------------------------------------------------------------------------------------------------------

def is_vision_key(name: str) -> bool:
    """Whether a published key, of any layout, belongs to the image tower."""
    return name.startswith(('vision_model.', 'visual.')) or not name.startswith(('text_model.', 'text.', 'logit_'))


def is_text_key(name: str) -> bool:
    """Whether a published key belongs to the text tower or the logits."""
    return name.startswith(('text_model.', 'text.', 'logit_'))


def map_vision_state(state: Mapping[str, Tensor], depth: int, source: str) -> dict[str, Tensor]:
    """Return published weights, whichever of the three layouts, under timm's names.

    Args:
        state: dict name -> tensor, of the image tower or of a whole model.
        depth: number of blocks.
        source: where it came from, for messages.

    Raises:
        InputError: another layout, or keys that are missing or left over.
    """
    if 'vision_model.embeddings.patch_embedding.weight' in state:
        rules = Renaming({k: v for k, v in state.items() if k.startswith('vision_model.')}, source)
        map_vision(rules, '', 'vision_model', depth)
        return rules.finish(ignore=('position_ids',))
    if 'visual.trunk.patch_embed.proj.weight' in state:
        return {k.removeprefix('visual.trunk.'): v for k, v in state.items() if k.startswith('visual.trunk.')}
    if 'patch_embed.proj.weight' in state:
        return dict(state)
    raise InputError(f'{source} holds no SigLIP image tower: there is no '
                     'vision_model.embeddings.patch_embedding.weight (Hugging Face), '
                     'visual.trunk.patch_embed.proj.weight (open_clip) or patch_embed.proj.weight (timm). '
                     f'{describe_first_keys(state)}')


def map_text_state(state: Mapping[str, Tensor], depth: int, source: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return (weights of the text tower under open_clip's names, dict of `logit_scale` and `logit_bias` where the file
    has them)."""
    scalars = {k: state[k].reshape(()).float() for k in ('logit_scale', 'logit_bias') if k in state}
    if 'text_model.embeddings.token_embedding.weight' in state:
        rules = Renaming({k: v for k, v in state.items() if k.startswith('text_model.')}, source)
        map_text(rules, '', 'text_model', depth)
        return rules.finish(ignore=('position_ids',)), scalars
    if 'text.token_embedding.weight' in state:
        return {k.removeprefix('text.'): v for k, v in state.items() if k.startswith('text.')}, scalars
    raise InputError(f'{source} holds no SigLIP text tower: there is no text_model.embeddings.token_embedding.weight '
                     f'(Hugging Face) or text.token_embedding.weight (open_clip). {describe_first_keys(state)}')


def describe_first_keys(state: Mapping[str, Tensor]) -> str:
    """A sentence that shows what a file holds instead."""
    return f'Its first keys: {", ".join(list(state)[:4]) or "none"}.'


def map_vision(rules: Renaming, ours: str, theirs: str, depth: int) -> None:
    """Rename Hugging Face's image tower, under the prefix `theirs`, to timm's, under `ours` ('' or with a dot at the
    end)."""
    rules.both(f'{ours}patch_embed.proj', f'{theirs}.embeddings.patch_embedding')
    rules.copy(f'{ours}pos_embed', f'{theirs}.embeddings.position_embedding.weight', lambda t: t[None])
    for i in rules.count(depth):
        a, b = f'{ours}blocks.{i}', f'{theirs}.encoder.layers.{i}'
        rules.stack(f'{a}.attn.qkv', [f'{b}.self_attn.{x}_proj' for x in 'qkv'])
        for x, y in (('attn.proj', 'self_attn.out_proj'), ('norm1', 'layer_norm1'), ('norm2', 'layer_norm2'),
                     ('mlp.fc1', 'mlp.fc1'), ('mlp.fc2', 'mlp.fc2')):
            rules.both(f'{a}.{x}', f'{b}.{y}')
    rules.both(f'{ours}norm', f'{theirs}.post_layernorm')
    rules.copy(f'{ours}attn_pool.latent', f'{theirs}.head.probe')
    for part in ('weight', 'bias'):
        tensors = rules.take(f'{theirs}.head.attention.in_proj_{part}')
        if tensors:
            width = len(tensors[0]) // 3
            rules.target[f'{ours}attn_pool.q.{part}'] = tensors[0][:width]
            rules.target[f'{ours}attn_pool.kv.{part}'] = tensors[0][width:]
    for x, y in (('proj', 'attention.out_proj'), ('norm', 'layernorm'), ('mlp.fc1', 'mlp.fc1'), ('mlp.fc2', 'mlp.fc2')):
        rules.both(f'{ours}attn_pool.{x}', f'{theirs}.head.{y}')


def map_text(rules: Renaming, ours: str, theirs: str, depth: int, projection: bool = True) -> None:
    """Rename Hugging Face's text tower to open_clip's; see `map_vision`.

    Args:
        rules, ours, theirs, depth: as of `map_vision`.
        projection: also SigLIP's `head`, the last linear layer.
    """
    rules.copy(f'{ours}token_embedding.weight', f'{theirs}.embeddings.token_embedding.weight')
    rules.copy(f'{ours}positional_embedding', f'{theirs}.embeddings.position_embedding.weight')
    for i in rules.count(depth):
        a, b = f'{ours}transformer.resblocks.{i}', f'{theirs}.encoder.layers.{i}'
        for part in ('weight', 'bias'):
            tensors = rules.take(*(f'{b}.self_attn.{x}_proj.{part}' for x in 'qkv'))
            if tensors:
                rules.target[f'{a}.attn.in_proj_{part}'] = torch.cat(tensors)
        for x, y in (('attn.out_proj', 'self_attn.out_proj'), ('ln_1', 'layer_norm1'), ('ln_2', 'layer_norm2'),
                     ('mlp.c_fc', 'mlp.fc1'), ('mlp.c_proj', 'mlp.fc2')):
            rules.both(f'{a}.{x}', f'{b}.{y}')
    rules.both(f'{ours}ln_final', f'{theirs}.final_layer_norm')
    if projection:
        rules.both(f'{ours}text_projection', f'{theirs}.head')
