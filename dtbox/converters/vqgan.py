"""Published VQGANs to a run folder: taming-transformers' (arXiv 2012.09841) and LlamaGen's VQ tokenizers (arXiv
2406.06525).

Their weights tell every size but that of the images. LlamaGen's are the same network under other names
(`conv_blocks`, `mid.0`), with a codebook that is compared, and looked up, by direction. What the discriminator and the
perceptual loss keep in the file (`loss.`) is left out.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from dtbox.converters.run_folder import Converted, check_values
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.weights.entries import name_entry
from dtbox.weights.renaming import Renaming
from dtbox.weights.state_dicts import load_state, select_prefix

CODES = 'quantize.embedding.weight'
"""The table that every VQGAN has."""
IGNORED = ('codebook_used',)
"""Endings of keys that mean nothing here."""


def convert(src: str, weights: str | None = None, image_size: int = 256) -> Converted:
    """Read a published VQGAN of taming-transformers or LlamaGen.

    Args:
        src: its .ckpt, .pt or .safetensors file.
        weights: which of several sets of weights in the file to take, such as `ema`; None takes an average where there
            is one, and the log says so.
        image_size: pixels, which the weights do not tell.

    Raises:
        InputError: a file that is missing, damaged or of another layout; a size that the network cannot halve.
    """
    state, directions = read_source(src, weights)
    check_values(state, src)
    cfg = build_tokenizer_config(find_sizes(state, src), directions, image_size)
    return Converted(cfg, map_state(state, src), src)


def read_source(path: str, entry: str | None = None) -> tuple[dict[str, torch.Tensor], bool]:
    """Read a checkpoint; returns (state dict under taming's names, whether codes are directions, as in LlamaGen).

    Args:
        path: of the checkpoint.
        entry: which of several sets of weights in it to take, or the prefix of their names.

    Raises:
        InputError: no such file, one that cannot be read as tensors alone, or another network.
    """
    try:
        state = load_state(name_entry(path, entry))
    except InputError as e:
        if 'Unpickl' in e.message:
            raise InputError(f'{path} holds more than tensors, as Lightning\'s checkpoints do, and is not opened for '
                             'that. Where you trust it, write its `state_dict` alone to a file (or which entry holds '
                             'its weights, such as `model` or `ema`): torch.save(torch.load(FILE, weights_only=False)'
                             '["state_dict"], NEW).') from e
        raise
    if CODES not in state:  # a part of a larger model, such as `first_stage_model.`
        prefixes = [name.removesuffix(CODES) for name in state if name.endswith(f'.{CODES}')]
        if len(prefixes) > 1:
            raise InputError(f'{path} holds several VQGANs, under {", ".join(prefixes)}. Say which one is meant: '
                             f'--weights {prefixes[0][:-1]}.')
        state = select_prefix(state, prefixes[0]) if prefixes else state
    state = {k: v for k, v in state.items() if not k.startswith('loss.') and not k.endswith(IGNORED)}
    if CODES not in state or 'encoder.conv_in.weight' not in state:
        raise InputError(f'{path} is no VQGAN of taming-transformers or LlamaGen: expected {CODES} and '
                         f'encoder.conv_in.weight; its first keys: {", ".join(list(state)[:4]) or "none"}.')
    directions = any(k.startswith('encoder.conv_blocks.') for k in state)
    return rename_to_taming(state) if directions else state, directions


def rename_to_taming(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return LlamaGen's weights under taming's names."""
    levels = 1 + max(int(m[1]) for k in state if (m := re.match(r'decoder\.conv_blocks\.(\d+)\.', k)))
    middle = dict(zip('012', ('block_1', 'attn_1', 'block_2')))

    def renamed(name):
        name = re.sub(r'^(encoder|decoder)\.mid\.([012])\.', lambda m: f'{m[1]}.mid.{middle[m[2]]}.', name)
        name = re.sub(r'^encoder\.conv_blocks\.(\d+)\.', r'encoder.down.\1.', name)
        name = re.sub(r'^decoder\.conv_blocks\.(\d+)\.', lambda m: f'decoder.up.{levels - 1 - int(m[1])}.', name)
        return re.sub(r'^((?:encoder\.down|decoder\.up)\.\d+)\.res\.', r'\1.block.', name)
    return {renamed(k): v for k, v in state.items()}


def find_sizes(state: Mapping[str, torch.Tensor], source: str) -> dict[str, Any]:
    """Return the sizes that the weights tell: `channels`, `multipliers`, `blocks`, `attended` (levels), `latent`,
    `dim`, `size`."""
    levels = {int(m[1]) for k in state if (m := re.match(r'encoder\.down\.(\d+)\.block\.', k))}
    try:
        channels = len(state['encoder.conv_in.weight'])
        widths = [len(state[f'encoder.down.{i}.block.0.conv1.weight']) for i in range(len(levels))]
        blocks = 1 + max(int(m[1]) for k in state if (m := re.match(r'encoder\.down\.0\.block\.(\d+)\.', k)))
        size, dim = state['quantize.embedding.weight'].shape
        latent = len(state['encoder.conv_out.weight'])
    except (KeyError, ValueError) as e:
        raise InputError(f'{source} lacks {e}, which every VQGAN has.') from e
    if latent == 2 * len(state['quant_conv.weight'][0]) or any(w % channels for w in widths):
        raise InputError(f'{source} has widths {widths} over {channels} and {latent} latent channels; expected '
                         'multiples, and no `double_z`.')
    attended = [i for i in range(len(levels)) if f'encoder.down.{i}.attn.0.norm.weight' in state]
    return dict(channels=channels, multipliers=[w // channels for w in widths], blocks=blocks, attended=attended,
                latent=latent, dim=dim, size=size)


def build_tokenizer_config(sizes: Mapping[str, Any], directions: bool, image_size: int) -> dict:
    """Return the VisualTokenizer config of a published VQGAN at images of `image_size` pixels."""
    levels = len(sizes['multipliers'])
    if image_size % (1 << (levels - 1)):
        raise InputError(f'images of {image_size} pixels cannot be halved {format_count(levels - 1, "time")}; give a '
                         f'multiple of {1 << (levels - 1)}.',
                         '--image-size')
    attention = [image_size >> i for i in sizes['attended']]
    shared = dict(channels=sizes['channels'], multipliers=sizes['multipliers'], blocks=sizes['blocks'],
                  latent_channels=sizes['latent'], attention_resolutions=attention)
    plain = dict(type='LinearProjection', norm=False)
    return dict(
        type='VisualTokenizer', image_size=image_size, encoders=dict(cnn=dict(type='CNNEncoder', **shared)),
        vocabularies=dict(pixel=dict(
            taps=levels + 1, projection=plain,
            quantizer=dict(type='VQ', size=sizes['size'], dim=sizes['dim'],
                           codebook=dict(type='GradientCodebook', cosine=directions)))),
        decoder=dict(type='CNNDecoder', reads=['pixel'], post_quant=None, **shared))


def map_state(state: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """Return a published state dict, under taming's names, as that of the VisualTokenizer; `InputError` lists keys that
    are missing or left over."""
    rules = Renaming(state, source)
    rules.tree('encoders.cnn.', 'encoder.')
    rules.tree('decoder.decoder.', 'decoder.')
    table = 'vocabularies.pixel.quantizer.codebook'
    rules.copy(f'{table}.weight', 'quantize.embedding.weight')
    rules.target.update({f'{table}.cluster_size': torch.ones(len(state['quantize.embedding.weight'])),
                         f'{table}.updates': torch.zeros((), dtype=torch.int64)})
    for ours, theirs in (('projections.0', 'quant_conv'), ('post_projection', 'post_quant_conv')):
        rules.copy(f'vocabularies.pixel.{ours}.fc.weight', f'{theirs}.weight', lambda t: t.flatten(1))
        rules.copy(f'vocabularies.pixel.{ours}.fc.bias', f'{theirs}.bias')
    return rules.finish()
