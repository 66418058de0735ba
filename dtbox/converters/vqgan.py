"""Published VQGANs to a run folder: taming-transformers' (arXiv 2012.09841), LlamaGen's VQ tokenizers (arXiv
2406.06525), Chameleon's (arXiv 2405.09818) and diffusers' VQModel.

Their weights tell every size but that of the images, under any of the names of `vqgan_names`. LlamaGen's codebook is
compared, and looked up, by direction. What the discriminator and the perceptual loss keep in the file (`loss.`) is left
out. A VQModel does not say in which range it takes its images: [-1, 1] is that of latent diffusion, [0, 1] that of
aMUSEd.
"""
from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from dtbox.converters.run_folder import Converted, check_values
from dtbox.converters.vqgan_names import JANUS, LLAMAGEN, check_diffusers_config, find_layout, rename_to_taming
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.layers.sizes import read_pair
from dtbox.weights.entries import name_entry
from dtbox.weights.model_folders import load_published, read_json
from dtbox.weights.renaming import Renaming
from dtbox.weights.state_dicts import load_state, select_prefix

CODES = 'quantize.embedding.weight'
"""The table that every VQGAN has."""
IGNORED = ('codebook_used',)
"""Endings of keys that mean nothing here."""


def convert(src: str, weights: str | None = None, image_size: int | Sequence[int] = 256,
            unit_images: bool = False) -> Converted:
    """Read a published VQGAN of taming-transformers, LlamaGen, Chameleon or diffusers.

    Args:
        src: its .ckpt, .pt or .safetensors file, or its folder.
        weights: which of several sets of weights in the file to take, such as `ema`; None takes an average where there
            is one, and the log says so.
        image_size: pixels, which the weights do not tell.
        unit_images: the network works on images in [0, 1], as aMUSEd's does.

    Raises:
        InputError: a file that is missing, damaged or of another layout; a size that the network cannot halve.
    """
    state, directions = read_source(src, weights)
    check_values(state, src)
    cfg = build_tokenizer_config(find_sizes(state, src), directions, image_size)
    if unit_images:
        for part in (cfg['encoders']['cnn'], cfg['decoder']):
            part['unit_images'] = True
    return Converted(cfg, map_state(state, src), src)


def read_source(path: str, entry: str | None = None,
                keep: Callable[[str], bool] | None = None) -> tuple[dict[str, torch.Tensor], bool]:
    """Read a checkpoint; returns (state dict under taming's names, whether codes are directions, as in LlamaGen).

    Args:
        path: of the checkpoint, or of a folder with config.json and weights.
        entry: which of several sets of weights in it to take, or the prefix of their names.
        keep: which names to read; None reads all.

    Raises:
        InputError: no such file, one that cannot be read as tensors alone, or another network.
    """
    if os.path.isfile(config := os.path.join(path, 'config.json')):
        found = read_json(config)
        if '_class_name' in found:
            check_diffusers_config(found, path)
    state = select_model(read_tensors(path, entry, keep), CODES, path)
    state = {k: v for k, v in state.items() if not k.endswith(IGNORED)}
    if CODES not in state or 'encoder.conv_in.weight' not in state:
        raise InputError(f'{path} is no VQGAN of taming-transformers or LlamaGen: expected {CODES} and '
                         f'encoder.conv_in.weight; its first keys: {", ".join(list(state)[:4]) or "none"}.')
    return rename_to_taming(state), find_layout(state) in (LLAMAGEN, JANUS)


def read_tensors(path: str, entry: str | None = None,
                 keep: Callable[[str], bool] | None = None) -> dict[str, torch.Tensor]:
    """Load the weights of a file or folder; arguments and errors as those of `read_source`."""
    try:
        if os.path.isdir(path):
            return load_published(path, keep, entry=entry or '')[0]
        return load_state(name_entry(path, entry), keep)
    except InputError as e:
        if 'Unpickl' in e.message:
            raise InputError(f'{path} holds more than tensors, as Lightning\'s checkpoints do, and is not opened for '
                             'that. Where you trust it, write its `state_dict` alone to a file (or which entry holds '
                             'its weights, such as `model` or `ema`): torch.save(torch.load(FILE, weights_only=False)'
                             '["state_dict"], NEW).') from e
        raise


def select_model(state: dict[str, torch.Tensor], mark: str, path: str) -> dict[str, torch.Tensor]:
    """Return the model that has the tensor `mark`, where it is a part of a larger one (`first_stage_model.`), too; what
    losses keep (`loss.`) is left out. `InputError` where several models have it."""
    if mark not in state:
        prefixes = [name.removesuffix(mark) for name in state if name.endswith(f'.{mark}')]
        if len(prefixes) > 1:
            raise InputError(f'{path} holds several VQGANs, under {", ".join(prefixes)}. Say which one is meant: '
                             f'--weights {prefixes[0][:-1]}.')
        state = select_prefix(state, prefixes[0]) if prefixes else state
    return {k: v for k, v in state.items() if not k.startswith('loss.')}


def find_sizes(state: Mapping[str, torch.Tensor], source: str) -> dict[str, Any]:
    """Return the sizes that the weights tell.

    Returns:
        `dim` and `size` of the codebook, `latent` channels, and of the encoder `channels`, `multipliers`, `blocks`,
        `attended` (levels) and `middle` (whether it has attention); `decoder` holds the same five of the decoder.

    Raises:
        InputError: weights that lack what every VQGAN has, or widths that are not multiples.
    """
    try:
        size, dim = state[CODES].shape
        latent = len(state['encoder.conv_out.weight'])
        if latent == 2 * len(state['quant_conv.weight'][0]):
            raise InputError(f'{source} has {latent} latent channels; expected no `double_z`.')
        encoder = find_levels(state, 'encoder.down', len(state['encoder.conv_in.weight']), source)
        if 'decoder.conv_in.weight' not in state:
            raise InputError(f'{source} has no decoder (transformers keeps the encoder of Chameleon alone); take the '
                             'file of the release that has decoder.conv_in.weight.')
        decoder = find_levels(state, 'decoder.up', encoder['channels'], source)
    except KeyError as e:
        raise InputError(f'{source} lacks {e}, which every VQGAN has.') from e
    except ValueError as e:
        raise InputError(f'{source} has tensors of other shapes than every VQGAN has ({e}).') from e
    decoder['blocks'] -= 1
    return dict(encoder, latent=latent, dim=dim, size=size, decoder=decoder)


def find_levels(state: Mapping[str, torch.Tensor], prefix: str, base: int, source: str) -> dict[str, Any]:
    """Return the sizes of the levels under `prefix`, such as `encoder.down`.

    Args:
        state: published name -> tensor.
        prefix: of the names of the levels.
        base: channels that the widths should be multiples of; where they are not, a decoder takes their largest common
            divisor.
        source: for messages.

    Returns:
        `channels`, `multipliers` and `blocks`, `attended` (levels), `middle` (whether the middle has attention).

    Raises:
        InputError: no levels; an encoder whose widths are not multiples of that of its first convolution.
        KeyError: a level without its first convolution.
    """
    pattern = re.compile(rf'{re.escape(prefix)}\.(\d+)\.block\.(\d+)\.')
    found = [(int(m[1]), int(m[2])) for k in state if (m := pattern.match(k))]
    if not found:
        raise InputError(f'{source} has no blocks under {prefix}., which every VQGAN has.')
    levels, blocks = (1 + max(column) for column in zip(*found))
    widths = [len(state[f'{prefix}.{i}.block.0.conv1.weight']) for i in range(levels)]
    side = prefix.partition('.')[0]
    if any(width % base for width in widths):
        if side == 'encoder':
            raise InputError(f'{source} has an encoder of the widths {widths} over {base}; expected multiples.')
        base = math.gcd(*widths)
    return dict(channels=base, multipliers=[width // base for width in widths], blocks=blocks,
                attended=[i for i in range(levels) if f'{prefix}.{i}.attn.0.norm.weight' in state],
                middle=f'{side}.mid.attn_1.norm.weight' in state)


def check_image_size(image_size: int | Sequence[int], levels: int) -> tuple[int, int]:
    """Return (height, width); `InputError` where `levels` levels cannot halve them."""
    size = read_pair(image_size, 'image_size')
    if any(side % (1 << (levels - 1)) for side in size):
        shown = size[0] if size[0] == size[1] else f'{size[0]} x {size[1]}'
        raise InputError(f'images of {shown} pixels cannot be halved {format_count(levels - 1, "time")}; give a '
                         f'multiple of {1 << (levels - 1)}.',
                         '--image-size')
    return size


def build_tokenizer_config(sizes: Mapping[str, Any], directions: bool, image_size: int | Sequence[int],
                           quantizer: Mapping[str, Any] | None = None) -> dict:
    """Return the VisualTokenizer config of a published VQGAN.

    Args:
        sizes: see `find_sizes`.
        directions: whether codes are directions.
        image_size: pixels, one number or (height, width).
        quantizer: config of another quantizer than VQ, without its `size` and `dim`.
    """
    levels = len(sizes['multipliers'])
    rows, _ = check_image_size(image_size, levels)

    def network(side: Mapping[str, Any]) -> dict[str, Any]:
        return dict(channels=side['channels'], multipliers=side['multipliers'], blocks=side['blocks'],
                    latent_channels=sizes['latent'], attention_resolutions=[rows >> i for i in side['attended']],
                    **({} if side['middle'] else dict(middle_attention=False)))

    plain = dict(type='LinearProjection', norm=False)
    quantizer = quantizer or dict(type='VQ', codebook=dict(type='GradientCodebook', cosine=directions))
    return dict(
        type='VisualTokenizer', image_size=image_size, encoders=dict(cnn=dict(type='CNNEncoder', **network(sizes))),
        vocabularies=dict(pixel=dict(taps=levels + 1, projection=plain,
                                     quantizer=dict(quantizer, size=sizes['size'], dim=sizes['dim']))),
        decoder=dict(type='CNNDecoder', reads=['pixel'], post_quant=None, **network(sizes['decoder'])))


def map_state(state: Mapping[str, torch.Tensor], source: str,
              table: str = 'codebook.weight') -> dict[str, torch.Tensor]:
    """Map a published state dict, under taming's names, to a VisualTokenizer's.

    Args:
        state: as `read_source` gives it.
        source: for messages.
        table: name of the table in the quantizer.

    Raises:
        InputError: listing keys that are missing or left over.
    """
    rules = Renaming(state, source)
    rules.tree('encoders.cnn.', 'encoder.')
    rules.tree('decoder.decoder.', 'decoder.')
    map_table(rules, table)
    for ours, theirs in (('projections.0', 'quant_conv'), ('post_projection', 'post_quant_conv')):
        rules.copy(f'vocabularies.pixel.{ours}.fc.weight', f'{theirs}.weight', lambda t: t.flatten(1))
        rules.copy(f'vocabularies.pixel.{ours}.fc.bias', f'{theirs}.bias')
    return rules.finish()


def map_table(rules: Renaming, table: str = 'codebook.weight') -> None:
    """Copy the table to that of the vocabulary `pixel`, with fresh statistics where it is one of `Codebook`."""
    quantizer = 'vocabularies.pixel.quantizer'
    rules.copy(f'{quantizer}.{table}', CODES)
    if table.startswith('codebook.'):
        rules.target.update({f'{quantizer}.codebook.cluster_size': torch.ones(len(rules.state[CODES])),
                             f'{quantizer}.codebook.updates': torch.zeros((), dtype=torch.int64)})
