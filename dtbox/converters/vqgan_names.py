"""The names under which VQGANs are published, brought to those of taming-transformers.

Four layouts hold the same network. The names of the weights tell which:

- taming-transformers (VQGAN, IBQ, Chameleon): `encoder.down.i.block.r`, `decoder.up.i` with i the level;
- LlamaGen and Janus: `encoder.conv_blocks.i.res.r`, `mid.0`, `decoder.conv_blocks.j` in the order in which they run;
- transformers' `JanusVQVAE`: taming's names, but `decoder.up.j` in the order in which they run;
- diffusers' `VQModel`: `encoder.down_blocks.i.resnets.r`, `decoder.up_blocks.j` in the order in which they run, and
  linear layers in the attention.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from dtbox.errors import InputError

TAMING = 'taming-transformers'
LLAMAGEN = 'LlamaGen'
JANUS = 'JanusVQVAE of transformers'
DIFFUSERS = 'diffusers'
_MIDDLE = dict(zip('012', ('block_1', 'attn_1', 'block_2')))
_DIFFUSERS_MIDDLE = {'resnets.0': 'block_1', 'attentions.0': 'attn_1', 'resnets.1': 'block_2'}
_DIFFUSERS_PARTS = {'conv_shortcut': 'nin_shortcut', 'group_norm': 'norm', 'to_q': 'q', 'to_k': 'k', 'to_v': 'v',
                    'to_out.0': 'proj_out', 'query': 'q', 'key': 'k', 'value': 'v', 'proj_attn': 'proj_out'}
"""Parts of a diffusers block -> taming's; the last four are those of its first versions."""


def find_layout(names: Iterable[str]) -> str:
    """Return which of the four layouts the names of weights have."""
    names = set(names)
    if any(name.startswith('encoder.conv_blocks.') for name in names):
        return LLAMAGEN
    if any(name.startswith('encoder.down_blocks.') for name in names):
        return DIFFUSERS
    # taming's level 0 runs last and is not upsampled
    return JANUS if 'decoder.up.0.upsample.conv.weight' in names else TAMING


def rename_to_taming(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of any of the four layouts under taming's names, all levels counted from full resolution."""
    layout = find_layout(state)
    if layout == TAMING:
        return dict(state)
    levels = 1 + max((int(m[1]) for k in state
                      if (m := re.match(r'decoder\.(?:conv_blocks|up|up_blocks)\.(\d+)\.', k))), default=-1)
    rename = {LLAMAGEN: _from_llamagen, JANUS: _from_janus, DIFFUSERS: _from_diffusers}[layout]
    # linear layers of diffusers' attention are 1x1 convolutions here
    return {rename(name, levels): value[..., None, None] if layout == DIFFUSERS and _is_linear(name, value) else value
            for name, value in state.items()}


def _from_llamagen(name: str, levels: int) -> str:
    name = re.sub(r'^(encoder|decoder)\.mid\.([012])\.', lambda m: f'{m[1]}.mid.{_MIDDLE[m[2]]}.', name)
    name = re.sub(r'^encoder\.conv_blocks\.(\d+)\.', r'encoder.down.\1.', name)
    name = _turn(name, 'conv_blocks', levels)
    return re.sub(r'^((?:encoder\.down|decoder\.up)\.\d+)\.res\.', r'\1.block.', name)


def _from_janus(name: str, levels: int) -> str:
    return _turn(name, 'up', levels)


def _from_diffusers(name: str, levels: int) -> str:
    name = re.sub(r'^encoder\.down_blocks\.(\d+)\.', r'encoder.down.\1.', name)
    name = _turn(name, 'up_blocks', levels)
    name = re.sub(r'^(encoder|decoder)\.mid_block\.((?:resnets|attentions)\.[01])\.',
                  lambda m: f'{m[1]}.mid.{_DIFFUSERS_MIDDLE.get(m[2], m[2])}.', name)
    name = re.sub(r'^(encoder|decoder)\.conv_norm_out\.', r'\1.norm_out.', name)
    name = re.sub(r'^((?:encoder\.down|decoder\.up)\.\d+)\.resnets\.', r'\1.block.', name)
    name = re.sub(r'^((?:encoder\.down|decoder\.up)\.\d+)\.attentions\.', r'\1.attn.', name)
    name = re.sub(r'\.(down|up)samplers\.0\.conv\.', r'.\1sample.conv.', name)
    head, _, part = name.rpartition('.')
    for theirs, ours in _DIFFUSERS_PARTS.items():
        if head.endswith(f'.{theirs}') and re.match(r'(encoder|decoder)\.', head):
            return f'{head[:-len(theirs)]}{ours}.{part}'
    return name


def _turn(name: str, blocks: str, levels: int) -> str:
    """Name a decoder level that is counted in running order by its level."""
    return re.sub(rf'^decoder\.{blocks}\.(\d+)\.', lambda m: f'decoder.up.{levels - 1 - int(m[1])}.', name)


def _is_linear(name: str, value: Tensor) -> bool:
    return name.startswith(('encoder.', 'decoder.')) and name.endswith('.weight') and value.ndim == 2


def check_diffusers_config(config: Mapping[str, Any], folder: str) -> None:
    """Raise `InputError` for a diffusers model that is not a VQModel, or one whose network differs."""
    kind = config.get('_class_name')
    if kind != 'VQModel':
        raise InputError(f'{folder} holds an `{kind}` of diffusers; expected a VQModel, whose config.json has '
                         '`_class_name` "VQModel".')
    wanted = dict(norm_type='group', norm_num_groups=32, act_fn='silu')
    other = [f'{name} {config[name]!r} (expected {value!r})' for name, value in wanted.items()
             if config.get(name, value) != value]
    if other:
        raise InputError(f'the VQModel of {folder} has {", ".join(other)}, which changes the network. Only the VQGAN '
                         'of group norms can be converted.')
