"""AToken's published models (arXiv 2509.14476) to a run folder: a flat state dict, `atoken-sod.pt` or `atoken-soc.pt`.

The weights do not tell whether latents are quantized: the discrete quantizer (FSQ) has none. The yaml of the release
(`arch_cfg`) does, or the options. What changes on the way:

- the layer to mean and log variance, which has no bias, gets one of zeros; for FSQ, which reads the mean alone, the
  rows of the log variance are dropped;
- the attention pool is timm's.

Images are read at one size (`image_size`); `dtbox.apis.clips` reads images and clips of any size. SigLIP 2's text tower
is not part of the file; its logits are exp(4.8438) cos - 15.5625.
"""
from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import yaml
from torch import Tensor

from dtbox.converters.run_folder import Converted, check_values
from dtbox.counts import format_count
from dtbox.errors import InputError, reason
from dtbox.weights.entries import choose_weights
from dtbox.weights.renaming import Renaming
from dtbox.weights.state_dicts import read_content

VOCABULARY = 'latent'
HEADS = 16
"""Attention heads of the published encoder."""
PATCH = (4, 16, 16)
LEVELS = {64: (8, 8), 256: (8, 6, 5), 512: (8, 8, 8), 1024: (8, 5, 5, 5), 2048: (8, 8, 6, 5), 4096: (4,) * 6,
          8192: (8, 8, 8, 4, 4), 16384: (8, 8, 8, 6, 5), 65536: (8, 8, 8, 5, 5, 5)}
"""Codes of a book -> levels of its channels."""


def convert(src: str, weights: str | None = None, config: str | None = None, codes: int | None = None,
            image_size: int = 256, heads: int | None = None) -> Converted:
    """Read a published AToken.

    Args:
        src: its file.
        weights: which of several sets of weights in the file to take.
        config: yaml of the release, whose `arch_cfg` tells patch, heads and quantizer; None takes the published ones.
        codes: of a book of the discrete model; 0 for the continuous one; None asks the yaml.
        image_size: pixels of the images that the run folder reads.
        heads: attention heads of the encoder; None takes those of the yaml, or the published 16.

    Raises:
        InputError: files that are missing, damaged or of another layout; neither `config` nor `codes`.
    """
    state = choose_weights(read_content(src), src, weights or '')
    check_values(state, src)
    arch = read_arch(config) if config else {}
    if codes is None and not arch:
        raise InputError('the file does not tell whether its latents are quantized. Give the yaml of the release, or '
                         '--codes 4096 for atoken-sod and --codes 0 for atoken-soc.', '--codes')
    cfg = build_tokenizer_config(state, arch, find_levels(state, arch, codes), image_size, heads)
    return Converted(cfg, map_state(state, cfg, src), src)


def read_arch(path: str) -> dict[str, Any]:
    """Return `arch_cfg` of a yaml, wherever it stands; `InputError` where there is none."""
    try:
        with open(path, encoding='utf-8') as file:
            content = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as e:
        raise InputError(f'{path} cannot be read as yaml ({reason(e)}).', '--config') from e
    found = _search(content)
    if found is None:
        raise InputError(f'{path} has no `arch_cfg`; expected the yaml of an AToken.', '--config')
    return found


def _search(content: Any, depth: int = 6) -> dict[str, Any] | None:
    if not isinstance(content, dict) or not depth:
        return None
    if isinstance(content.get('arch_cfg'), dict):
        return content['arch_cfg']
    return next((found for value in content.values() if (found := _search(value, depth - 1))), None)


def find_levels(state: Mapping[str, Tensor], arch: Mapping[str, Any], codes: int | None) -> tuple[tuple[int, ...], int]:
    """Return the levels of a book's channels and the number of books; ((), 0) for the continuous model.

    Args:
        state: the weights, which tell the width of the latents.
        arch: `arch_cfg`, or {}.
        codes: as of `convert`.

    Raises:
        InputError: a quantizer that is not FSQ, or sizes that do not fit the latents.
    """
    if 'proj.weight' not in state:
        raise InputError('the weights lack proj.weight, the layer to the latents, which every AToken has.')
    width = len(state['proj.weight']) // 2
    if codes is None:
        kind = arch.get('quantizer_type', 'fsq')
        if arch.get('use_quantizer') and kind != 'fsq':
            raise InputError(f'`quantizer_type` is {kind!r}; only FSQ, the published one, can be converted.',
                             '--config')
        codes = arch.get('quantizer_codebook_size', 4096) if arch.get('use_quantizer') else 0
    if not codes:
        return (), 0
    levels = LEVELS.get(codes)
    if levels is None or width % len(levels):
        raise InputError(f'books of {format_count(codes, "code")} do not fit latents of '
                         f'{format_count(width, "channel")}; AToken has books of '
                         f'{", ".join(f"{size:,}" for size in LEVELS)} codes of 2 to 6 channels.', '--codes')
    books = arch.get('quantizer_num_codebooks', width // len(levels))
    if books * len(levels) != width:
        raise InputError(f'{books} books of {len(levels)} channels do not make latents of {width}.', '--config')
    return levels, books


def build_tokenizer_config(state: Mapping[str, Tensor], arch: Mapping[str, Any], levels: tuple[Sequence[int], int],
                           image_size: int | Sequence[int], heads: int | None = None) -> dict:
    """Return the VisualTokenizer config of an AToken.

    Args:
        state: the weights.
        arch: `arch_cfg`, or {}.
        levels: as `find_levels` gives them.
        image_size: pixels, one number or (height, width).
        heads: of the encoder; None takes those of `arch` or of the release.

    Raises:
        InputError: weights that lack what every AToken has, or that do not fit the patch.
    """
    wrong = [name for side in ('encoder', 'decoder') for name, want in (('attn_mode', 'full'), ('pe_mode', 'joint'))
             if arch.get(f'{side}_{name}', want) != want]
    if wrong:
        raise InputError(f'arch_cfg sets {", ".join(wrong)}; only full attention and joint positions (the published '
                         'models) can be converted.', '--config')
    patch = tuple(arch.get('patch_size', PATCH))
    try:
        inputs, width = state['encoder.input_layer.weight'].shape[1], len(state['proj.weight']) // 2
        gamma = state.get('decoder.blocks.0.attn.q_rms_norm.gamma')
        sides = [describe_side(state, side) for side in ('encoder', 'decoder')]
    except KeyError as e:
        raise InputError(f'the weights lack {e}, which every AToken has.') from e
    if inputs != 3 * math.prod(patch) or len(state['decoder.out_layer.weight']) != inputs:
        raise InputError(f'the first layer reads {format_count(inputs, "value")}, the last gives '
                         f'{len(state["decoder.out_layer.weight"])}; patches of {patch} have {3 * math.prod(patch)}. '
                         'Give the yaml that tells the patch.', '--config')
    heads = heads or arch.get('encoder_num_heads', HEADS)
    last = len(gamma) if gamma is not None else arch.get('decoder_num_heads', HEADS)
    books = dict(type='Product', groups=levels[1], quantizer=dict(type='FSQ', levels=list(levels[0])))
    return dict(
        type='VisualTokenizer', image_size=image_size,
        encoders=dict(trunk=dict(type='ATokenEncoder', patch=patch, heads=heads, **sides[0])),
        vocabularies={VOCABULARY: dict(
            taps='norm', quantizer=books if levels[1] else dict(type='KL', dim=width, clamp=None), out_dim=width,
            projection=dict(type='LinearProjection', norm=False), post_projection=dict(type='NoProjection'))},
        decoder=dict(type='ATokenDecoder', reads=[VOCABULARY], frames=patch[0], heads=last, **sides[1]),
        head=dict(type='TrunkPool'))


def describe_side(state: Mapping[str, Tensor], side: str) -> dict[str, Any]:
    """Return width, depth, hidden width and the kind of blocks of 'encoder' or 'decoder', as the weights tell them."""
    block = f'{side}.blocks.0'
    depth = 1 + max(int(m[1]) for name in state if (m := re.match(rf'{side}\.blocks\.(\d+)\.', name)))
    return dict(width=len(state[f'{block}.norm1.weight']), depth=depth, hidden=len(state[f'{block}.mlp.mlp.0.weight']),
                rms=f'{block}.norm1.bias' not in state, bias=f'{block}.attn.to_qkv.bias' in state,
                head_norm=f'{block}.attn.q_rms_norm.gamma' in state)


def map_state(state: Mapping[str, Tensor], cfg: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """Map a published state dict to a VisualTokenizer's; `InputError` lists keys that are missing or left over.

    Args:
        state: the weights.
        cfg: as `build_tokenizer_config` gives it.
        source: where they come from, for messages.
    """
    rules = Renaming(state, source)
    trunk, pool = 'encoders.trunk', 'encoder.head'
    for part in ('pos_embedder', 'input_layer', 'blocks', 'post_layernorm'):
        rules.tree(f'{trunk}.{part}.', f'encoder.{part}.')
    rules.copy(f'{trunk}.attn_pool.latent', f'{pool}.probe', lambda t: t.reshape(1, 1, -1))
    for x, y in (('q', 'attention.to_q'), ('kv', 'attention.to_kv'), ('proj', 'attention.to_out'),
                 ('norm', 'layernorm'), ('mlp.fc1', 'mlp.mlp.0'), ('mlp.fc2', 'mlp.mlp.2')):
        rules.both(f'{trunk}.attn_pool.{x}', f'{pool}.{y}')
    rows = rules.take('proj.weight')
    if rows:
        vocabulary = cfg['vocabularies'][VOCABULARY]
        weight = rows[0] if vocabulary['quantizer']['type'] == 'KL' else rows[0][:vocabulary['out_dim']]
        place = f'vocabularies.{VOCABULARY}.projections.0.fc'
        rules.target.update({f'{place}.weight': weight.clone(), f'{place}.bias': torch.zeros(len(weight))})
    rules.tree('decoder.', 'decoder.')
    return rules.finish()
