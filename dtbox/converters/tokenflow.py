"""TokenFlow's published tokenizers (arXiv 2412.03069) to run folders.

A file holds weights alone, under `ema`, `model` or `state_dict`; the names tell the semantic encoder: OpenAI's CLIP,
timm's ViTamin, or Hugging Face's SigLIP (`tokenflow_encoders.py`). What changes on the way:

- one row of a code is the rows of both tables side by side; the list of recent codes is dropped;
- the semantic decoder with its head is the post-projection of the vocabulary `semantic`;
- positions are resized where another image size is asked for, as the published code does at every pass;
- images that are no multiple of the CNN's grid are resized inside encoder and decoder (384 to 432 pixels and back).

Not in the file and taken from the published code: the scales, 12 heads of the semantic decoder, no residual
convolutions, equal weights of both distances, a scale dropped in one of ten steps of training.
"""
from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dtbox.converters.cnn_sizes import build_half_config, find_half_sizes
from dtbox.converters.run_folder import Converted, check_values
from dtbox.converters.tokenflow_encoders import Semantic, find_semantic, map_semantic, resize_positions
from dtbox.converters.var import map_table
from dtbox.converters.vqgan_names import rename_to_taming
from dtbox.errors import InputError
from dtbox.weights.entries import name_entry
from dtbox.weights.renaming import Renaming
from dtbox.weights.state_dicts import load_state

SCALES = {14: [1, 2, 4, 6, 8, 10, 12, 14], 16: [1, 2, 4, 6, 8, 10, 12, 14, 16],
          27: [*range(1, 11), 12, 14, 17, 22, 27]}
"""Rows of the token grid -> published scales."""
HEADS = 12
"""Attention heads of the semantic decoder."""
DROP = 0.1
"""How often training drops a scale."""
TABLES = ('quantize.embedding_vqkd.weight', 'quantize.embedding_vqgan.weight')
"""Of the semantic and of the pixel part of a code."""
IGNORED = ('quantize.codebook_used', 'position_ids')
"""Endings of keys that mean nothing here."""


@dataclass(frozen=True)
class Plan:
    """What a file and the arguments say of the tokenizer.

    Attributes:
        semantic: the semantic encoder.
        image_size: pixels.
        grid: rows of the token grid.
        scales: sizes of the scales.
        encoder, decoder: sizes of the CNN's halves.
        widths: of the semantic and of the pixel part of a code.
        codes: codebook size.
        back: arguments of the semantic decoder.
        out_dim: width of what it gives.
    """
    semantic: Semantic
    image_size: int
    grid: int
    scales: list[int]
    encoder: dict[str, Any]
    decoder: dict[str, Any]
    widths: tuple[int, int]
    codes: int
    back: dict[str, Any]
    out_dim: int


def convert(src: str, weights: str | None = None, image_size: int | None = None, scales: Sequence[int] | None = None,
            heads: int | None = None) -> Converted:
    """Read one of TokenFlow's published tokenizers.

    Args:
        src: its .pt file.
        weights: which of several sets of weights in the file to take, such as `ema`; None takes an average where there
            is one, and the log says so.
        image_size, scales, heads: as those of `read_plan`.

    Raises:
        InputError: a file that is missing, damaged or of another layout; sizes that do not fit.
    """
    state = read_source(src, weights)
    check_values(state, src)
    plan = read_plan(state, src, image_size, scales, heads)
    return Converted(build_tokenizer_config(plan), map_state(state, plan, src), src)


def read_source(path: str, weights: str | None = None) -> dict[str, torch.Tensor]:
    """Read a published file; returns its state dict, the CNN under taming's names.

    Args:
        path: of the file.
        weights: which of several sets of weights in it to take.

    Raises:
        InputError: no such file or entry, or another network.
    """
    state = load_state(name_entry(path, weights))
    wanted = (*TABLES, 'encoder.conv_in.weight', 'decoder_vqkd.pos_embed')
    missing = [name for name in wanted if name not in state]
    if missing or not any(name.startswith('decoder.conv_blocks.') for name in state):
        raise InputError(f'{path} is not a tokenizer of TokenFlow: it lacks '
                         f'{", ".join(missing or ["decoder.conv_blocks"])}; its first keys: '
                         f'{", ".join(list(state)[:4]) or "none"}.')
    return rename_to_taming(state)


def read_plan(state: Mapping[str, torch.Tensor], source: str, image_size: int | None = None,
              scales: Sequence[int] | None = None, heads: int | None = None) -> Plan:
    """Return what weights and arguments say of the tokenizer.

    Args:
        state: as `read_source` gives it.
        source: what to call the weights in messages.
        image_size: pixels; None takes those of the published model.
        scales: sizes of the scales; None takes the published ones of the token grid.
        heads: attention heads of a ViTamin or SigLIP whose width is not a published one.

    Raises:
        InputError: weights that lack what every such tokenizer has, sizes that do not fit, a grid without published
            scales.
    """
    table = state['decoder_vqkd.pos_embed']
    own = math.isqrt(max(0, table.shape[1] - 1)) if table.ndim == 3 else 0
    if own * own + 1 != table.shape[-2]:
        raise InputError(f'decoder_vqkd.pos_embed of {source} has the shape {list(table.shape)}; expected positions of '
                         'a class token and a square grid.')
    try:
        semantic = find_semantic(state, own, heads, source)
        width = table.shape[-1]
        depth = 1 + max((int(m[1]) for name in state if (m := re.match(r'decoder_vqkd\.blocks\.(\d+)\.', name))),
                        default=-1)
        back = dict(width=width, depth=depth, heads=HEADS,
                    mlp_ratio=len(state['decoder_vqkd.blocks.0.mlp.fc1.weight']) / width)
        out_dim = len(state['decode_task_layer.2.weight'])
    except KeyError as e:
        raise InputError(f'{source} lacks {e}, which every tokenizer of TokenFlow has.') from e
    image_size = semantic.image_size if image_size is None else image_size
    grid = semantic.count_rows(image_size)
    if scales is None and grid not in SCALES:
        raise InputError(f'there are no published scales for a token grid of {grid} x {grid}, but for grids whose '
                         f'numbers of rows are {", ".join(map(str, SCALES))}. Say them, such as 1,2,4.', '--scales')
    encoder, decoder = (find_half_sizes(state, half, source) for half in ('encoder', 'decoder'))
    return Plan(semantic, image_size, grid, list(scales or SCALES[grid]), encoder, decoder,
                (state[TABLES[0]].shape[1], state[TABLES[1]].shape[1]), len(state[TABLES[0]]), back, out_dim)


def build_tokenizer_config(plan: Plan) -> dict:
    """Return the VisualTokenizer config of a Plan."""
    levels = len(plan.encoder['multipliers'])
    size = plan.grid << (levels - 1)
    working = None if size == plan.image_size else size
    plain = dict(type='LinearProjection', norm=False)
    joint = dict(type='JointVQ', size=plan.codes, members=dict(semantic=plan.widths[0], pixel=plan.widths[1]),
                 codebook=dict(type='GradientCodebook'))
    return dict(
        type='VisualTokenizer', image_size=plan.image_size,
        encoders=dict(semantic=plan.semantic.config,
                      cnn=dict(type='CNNEncoder', working_size=working, **build_half_config(plan.encoder, size))),
        quantizers=dict(joint=dict(type='ScaleWiseRQ', scales=plan.scales, quantizer=joint, drop=DROP)),
        vocabularies=dict(
            semantic=dict(taps=f'semantic:{plan.semantic.tap}', quantizer='joint', out_dim=plan.out_dim,
                          projection=dict(type='TanhProjection'),
                          post_projection=dict(type='BEiTProjection', **plan.back)),
            pixel=dict(taps=f'cnn:{levels + 1}', quantizer='joint', projection=plain)),
        decoder=dict(type='CNNDecoder', reads=['pixel'], post_quant=None, working_size=working,
                     **build_half_config(plan.decoder, size)))


def map_state(state: Mapping[str, torch.Tensor], plan: Plan, source: str) -> dict[str, torch.Tensor]:
    """Return a published state dict, as `read_source` gives it, as that of the VisualTokenizer; `InputError` lists keys
    that are missing or left over."""
    rules = Renaming(state, source)
    rules.tree('encoders.cnn.', 'encoder.')
    rules.tree('decoder.decoder.', 'decoder.')
    map_semantic(rules, 'encoders.semantic.trunk', plan.semantic, plan.grid)
    map_table(rules, 'quantizers.joint.inner.codebook', TABLES)
    semantic, pixel = 'vocabularies.semantic', 'vocabularies.pixel'
    for ours, theirs in ((f'{pixel}.projections.0.fc', 'quant_conv'),
                         (f'{pixel}.post_projection.fc', 'post_quant_conv'),
                         (f'{semantic}.post_projection.proj', 'decoder_vqkd.patch_embed.proj')):
        rules.copy(f'{ours}.weight', f'{theirs}.weight', lambda t: t.flatten(1))
        rules.copy(f'{ours}.bias', f'{theirs}.bias')
    for ours, theirs in ((f'{semantic}.projections.0', 'encode_task_layer'),
                         (f'{semantic}.post_projection.head', 'decode_task_layer')):
        rules.both(f'{ours}.fc1', f'{theirs}.0')
        rules.both(f'{ours}.fc2', f'{theirs}.2')
    rules.copy(f'{semantic}.post_projection.cls_token', 'decoder_vqkd.cls_token')
    rules.copy(f'{semantic}.post_projection.pos_embed', 'decoder_vqkd.pos_embed',
               lambda t: resize_positions(t[0], plan.grid)[None])
    rules.tree(f'{semantic}.post_projection.blocks.', 'decoder_vqkd.blocks.')
    rules.both(f'{semantic}.post_projection.fc_norm', 'decoder_vqkd.fc_norm')
    return rules.finish(ignore=IGNORED)
