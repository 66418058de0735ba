"""Configs of bytedance/1d-tokenizer: what `titok.py` reads of them, and the VisualTokenizer that they and the shapes of
the weights describe."""
from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dtbox.arguments import describe
from dtbox.converters.titok_weights import ENCODER, VOCABULARY
from dtbox.errors import InputError
from dtbox.weights.model_folders import read_json

SIZES = {'small': (512, 8), 'base': (768, 12), 'large': (1024, 16)}
"""Names of the published transformers -> width and attention heads."""
VALUES = ('token_size', 'num_latent_tokens', 'vit_enc_model_size', 'vit_dec_model_size', 'vit_enc_patch_size',
          'vit_dec_patch_size')
"""Entries of `model.vq_model` that every config has."""


def read_config(src: str, path: str | None = None) -> tuple[dict[str, Any], str]:
    """Read the config of a release; returns (its entries, the path).

    Args:
        src: folder, or file of weights.
        path: of the config; None takes config.json of the folder, or beside the file.
    """
    path = path or os.path.join(src if os.path.isdir(src) else os.path.dirname(src), 'config.json')
    if not os.path.isfile(path):
        raise InputError(f'{path} does not exist; it says which TiTok the weights are. Give the .json or .yaml file of '
                         'the release.', '--config')
    if path.endswith(('.yaml', '.yml')):
        import yaml
        try:
            with open(path, encoding='utf-8') as f:
                values = yaml.safe_load(f)
        except (yaml.YAMLError, UnicodeDecodeError) as e:
            raise InputError(f'{path} is not a YAML file: {e}') from e
    else:
        values = read_json(path)
    return values, path


def _read_values(config: Any, path: str) -> tuple[dict[str, Any], int]:
    """Return `model.vq_model` of a config, with its defaults, and the image size; `InputError` lists what is missing or
    of another kind."""
    found: Any = {name: config for name in ('model.vq_model', 'dataset.preprocessing')}
    for name in found:
        for part in name.split('.'):
            found[name] = found[name].get(part) if isinstance(found[name], Mapping) else None
        if not isinstance(found[name], Mapping):
            raise InputError(f'{path} has no `{name}`; expected the config of a TiTok of bytedance/1d-tokenizer.')
    model = dict(found['model.vq_model'])
    size = found['dataset.preprocessing'].get('crop_size')
    model.setdefault('quantize_mode', 'vq')
    wanted = [*VALUES, *(('codebook_size', 'use_l2_norm') if model['quantize_mode'] == 'vq' else ())]
    missing = [f'model.vq_model.{name}' for name in wanted if model.get(name) is None]
    missing += ['dataset.preprocessing.crop_size'] * (size is None)
    if missing:
        raise InputError(f'{path} lacks {", ".join(missing)}, which say what the weights are. Take the config of the '
                         'same release.')
    if model['quantize_mode'] not in ('vq', 'vae'):
        raise InputError(f'{path} has quantize_mode {model["quantize_mode"]!r}; expected vq or vae.')
    for name, default in (('is_legacy', True), ('finetune_decoder', True), ('clustering_vq', False),
                          ('use_l2_norm', False)):
        if not isinstance(model.setdefault(name, default), bool):
            raise InputError(f'{path} has {name} {describe(model[name])}; expected true or false.')
    numbers = {name: model[name] for name in wanted if name.endswith('_size') and 'model' not in name}
    for name, value in {**numbers, 'num_latent_tokens': model['num_latent_tokens'], 'crop_size': size}.items():
        if type(value) is not int or value < 1:
            raise InputError(f'{path} has {name} {describe(value)}; expected a positive whole number.')
    return model, size


def build_tokenizer_config(config: Mapping[str, Any], state: Mapping[str, torch.Tensor], path: str,
                           heads: Sequence[int] | None = None, pixels_added: bool = False) -> dict:
    """Return the VisualTokenizer config of a published file.

    Args:
        config: of the release.
        state: its weights, whose shapes are read.
        path: of the config, for messages.
        heads: attention heads of encoder and decoder; None takes `heads` {encoder, decoder} of the config, where it has
            such an entry, or those of the published sizes.
        pixels_added: whether the pixel decoder of the weights is of another file.

    Raises:
        InputError: config and weights that do not belong together.
    """
    model, size = _read_values(config, path)
    legacy, latents = model['is_legacy'], len(state['latent_tokens'])
    _check_variant({**model, 'finetune_decoder': model['finetune_decoder'] or pixels_added}, state, path)
    given = dict(zip(('encoder', 'decoder'), heads)) if heads else config.get('heads')
    encoder, decoder = (_find_transformer(model, state, part, size, given, path) for part in ('encoder', 'decoder'))
    wrong = {name: rows for name in ('encoder', 'decoder')
             if (rows := len(state[f'{name}.latent_token_positional_embedding'])) != latents}
    if wrong or latents != model['num_latent_tokens']:
        told = ', '.join(f'the {name} has positions for {rows}' for name, rows in wrong.items())
        raise InputError(f'the weights have {latents} latent tokens, {path} says {model["num_latent_tokens"]}'
                         f'{", and " + told if told else ""}. They do not belong together.')
    width = model['token_size']
    reader = dict(type='LinearProjection', norm=False) if not legacy else dict(type='ScramblingProjection')
    return dict(
        type='VisualTokenizer', image_size=size,
        encoders={ENCODER: dict(type='LatentViT', latents=latents, **encoder)},
        vocabularies={VOCABULARY: dict(taps='norm', projection=reader, post_projection=dict(type='NoProjection'),
                                       out_dim=width, quantizer=_build_quantizer(model))},
        decoder=dict(reads=[VOCABULARY], **decoder, **_find_head(state, legacy)))


def _check_variant(model: Mapping[str, Any], state: Mapping[str, torch.Tensor], path: str) -> None:
    """Raise `InputError` where the config speaks of another variant than that of the weights."""
    logits, pixels = 'decoder.ffn.2.weight' in state, any(name.startswith('pixel_') for name in state)
    if model['is_legacy'] and not logits:
        raise InputError(f'{path} says is_legacy (or leaves out that it is false), but the weights have no '
                         'decoder.ffn.2: they are a TiTok of one stage. Opened as legacy, its codes would be wrong. '
                         'Take the config of the same release, or set is_legacy to false.')
    if not model['is_legacy'] and logits:
        raise InputError(f'{path} says is_legacy false, but the weights have decoder.ffn.2: they are a TiTok of two '
                         'stages. Opened as new, its codes would be wrong. Take the config of the same release, or '
                         'set is_legacy to true.')
    if model['is_legacy'] and model['finetune_decoder'] and not pixels:
        raise InputError(f'{path} says finetune_decoder (or leaves out that it is false), but the weights have no '
                         'pixel_decoder: they are of the first stage. Set finetune_decoder to false, or give the file '
                         'of MaskGIT-VQGAN, which turns its codes into images.', '--maskgit')
    if model['is_legacy'] and not model['finetune_decoder'] and pixels:
        raise InputError(f'{path} says finetune_decoder false, but the weights have a pixel_decoder: they are of the '
                         'second stage. Take the config of the same release, or set finetune_decoder to true.')


def _find_transformer(model: Mapping[str, Any], state: Mapping[str, torch.Tensor], part: str, size: int,
                      given: Any, path: str) -> dict[str, Any]:
    """Return the sizes of encoder or decoder: `patch_size`, `width`, `depth`, `heads`, `mlp_ratio`.

    `given` are attention heads by part, of models whose widths are not published.
    """
    heads = given.get(part) if isinstance(given, Mapping) else None
    name, patch = model[f'vit_{part[:3]}_model_size'], model[f'vit_{part[:3]}_patch_size']
    rows, width = state[f'{part}.positional_embedding'].shape
    published, known = SIZES.get(name, (0, None)) if isinstance(name, str) else (0, None)
    if type(heads) is not int and width != published:
        raise InputError(f'the {part} is {width} wide, and {path} calls it {name!r}; published are '
                         f'{", ".join(f"{n} ({w})" for n, (w, _) in SIZES.items())}. Say the attention heads of '
                         'encoder and decoder.', '--heads')
    if rows != 1 + (size // patch) ** 2 or size % patch:
        raise InputError(f'{path} speaks of images of {size} pixels in patches of {patch}, but the {part} has '
                         f'positions for {rows - 1} patches. They do not belong together.')
    depth = 1 + max(int(m[1]) for k in state if (m := re.match(rf'{part}\.transformer\.(\d+)\.', k)))
    return dict(patch_size=patch, width=width, depth=depth, heads=heads if type(heads) is int else known,
                mlp_ratio=len(state[f'{part}.transformer.0.mlp.c_fc.weight']) / width)


def _build_quantizer(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of the quantizer."""
    if model['quantize_mode'] == 'vae':
        return dict(type='KL', dim=model['token_size'])
    kind = 'ClusteringCodebook' if model['clustering_vq'] else 'GradientCodebook'
    cost = model.get('commitment_cost', 0.25)
    if not isinstance(cost, (int, float)) or isinstance(cost, bool) or not cost > 0:
        raise InputError(f'commitment_cost is {describe(cost)}; expected a positive number.')
    return dict(type='VQ', size=model['codebook_size'], dim=model['token_size'],
                codebook=dict(type=kind, cosine=model['use_l2_norm'], weight=1 / cost))


def _find_head(state: Mapping[str, torch.Tensor], legacy: bool) -> dict[str, Any]:
    """Return the class of the decoder and what it has beside its transformer."""
    if not legacy:
        texts: dict[str, Any] = {}
        if 'decoder.text_guidance_proj.weight' in state:
            texts = dict(guidance=dict(length=len(state['decoder.text_guidance_positional_embedding']),
                                       width=state['decoder.text_guidance_proj.weight'].shape[1]))
        return dict(type='MaskTokenDecoder', **texts)
    codes = len(state['decoder.ffn.2.weight'])
    if 'pixel_quantize.embedding.weight' not in state:
        return dict(type='MaskTokenCodeDecoder', codes=codes)
    channels = len(state['pixel_decoder.norm_out.weight'])
    levels = 1 + max(int(m[1]) for k in state if (m := re.match(r'pixel_decoder\.up\.(\d+)\.', k)))
    widths = [len(state[f'pixel_decoder.up.{i}.block.0.conv1.weight']) for i in range(levels)]
    blocks = 1 + max(int(m[1]) for k in state if (m := re.match(r'pixel_decoder\.up\.0\.block\.(\d+)\.', k)))
    if any(width % channels for width in widths):
        raise InputError(f'the pixel decoder has levels of the widths {widths} over {channels}; expected multiples.')
    return dict(type='MaskTokenCodeDecoder', codes=codes, code_dim=state['pixel_quantize.embedding.weight'].shape[1],
                pixels=dict(type='MaskGITDecoder', channels=channels, multipliers=[w // channels for w in widths],
                            blocks=blocks))
