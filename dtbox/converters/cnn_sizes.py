"""Sizes that the weights of VQGAN's encoder and decoder tell, under taming-transformers' names, and its attention where
a project keeps query, key and value in one convolution."""
from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch

from dtbox.errors import InputError


def find_half_sizes(state: Mapping[str, torch.Tensor], half: str, source: str) -> dict[str, Any]:
    """Return `channels`, `multipliers`, `blocks`, `latent` and `attended` (numbers of levels) of one half of a VQGAN.

    Args:
        state: name -> tensor.
        half: 'encoder' or 'decoder'; `blocks` of a decoder is one less than it has, as CNNDecoder counts.
        source: what to call the weights in messages.

    Raises:
        InputError: weights that lack what every such half has, or widths of no common base.
    """
    part, down = ('down', True) if half == 'encoder' else ('up', False)
    pattern = re.compile(rf'{half}\.{part}\.(\d+)\.block\.(\d+)\.')
    found = [(int(m[1]), int(m[2])) for name in state if (m := pattern.match(name))]
    levels, most = 1 + max((i for i, _ in found), default=-1), 1 + max((j for _, j in found), default=-1)
    try:
        widths = [len(state[f'{half}.{part}.{i}.block.0.conv1.weight']) for i in range(levels)]
        first = len(state['encoder.conv_in.weight']) if down else math.gcd(*widths)
        latent = len(state['encoder.conv_out.weight']) if down else state['decoder.conv_in.weight'].shape[1]
    except (KeyError, IndexError) as e:
        raise InputError(f'{source} lacks {e}, which every VQGAN has.') from e
    if not widths or any(width % first for width in widths):
        raise InputError(f'the {half} of {source} has the widths {widths} over {first}; expected multiples of it.')
    attended = [i for i in range(levels) if f'{half}.{part}.{i}.attn.0.norm.weight' in state]
    return dict(channels=first, multipliers=[width // first for width in widths], blocks=most if down else most - 1,
                latent=latent, attended=attended)


def build_half_config(sizes: Mapping[str, Any], image_size: int) -> dict[str, Any]:
    """Return the arguments that CNNEncoder and CNNDecoder share, of sizes as `find_half_sizes` gives them, at maps of
    `image_size` pixels."""
    return dict(channels=sizes['channels'], multipliers=sizes['multipliers'], blocks=sizes['blocks'],
                latent_channels=sizes['latent'], attention_resolutions=[image_size >> i for i in sizes['attended']])


def split_attention(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state dict with every `attn*.qkv`, rows in the order query, key, value, as `q`, `k` and `v`."""
    split = {}
    for name, value in state.items():
        match = re.fullmatch(r'((?:encoder|decoder)\..*attn[^.]*(?:\.\d+)?)\.qkv\.(weight|bias)', name)
        if match and len(value) % 3 == 0:
            split.update({f'{match[1]}.{x}.{match[2]}': rows for x, rows in zip('qkv', value.chunk(3))})
        else:
            split[name] = value
    return split
