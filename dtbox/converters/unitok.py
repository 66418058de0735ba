"""UniTok's published tokenizer (arXiv 2502.20321) to a run folder.

The published file is {args, epoch, iter, trainer: {config, unitok, disc, ...}}: the arguments of its training tell the
sizes that the weights `trainer.unitok` do not. What changes on the way:

- the encoder is timm's ViTamin under its own names; positions, which UniTok removes by a frozen zero, are dropped;
- the codebooks of all chunks become one tensor; counters of usage are dropped;
- the constant zero key biases of the projections are dropped;
- the bias of a sigmoid loss, which UniTok does not have, is 0.

Codes are [B, N, Q] here and [B, Q, N] there. The decoder does not clamp.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from dtbox.converters.dualtoken import map_projection
from dtbox.converters.run_folder import Converted, check_values
from dtbox.errors import InputError
from dtbox.weights.entries import choose_weights
from dtbox.weights.renaming import Renaming
from dtbox.weights.state_dicts import read_content

VOCABULARY = 'unified'
HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}
"""Width of the published ViTamins -> attention heads."""
WORDS = 49408
"""Size of the vocabulary of CLIP's tokenizer."""
ARGUMENTS = ('img_size', 'vocab_size', 'vocab_width', 'num_codebooks', 'quant_proj', 'embed_dim', 'text_width',
             'text_heads', 'text_layers', 'text_vocab_size', 'text_context_length')
"""Entries of `args` that are read."""


def convert(src: str, weights: str | None = None, heads: int | None = None) -> Converted:
    """Read UniTok's published tokenizer.

    Args:
        src: its .pth file.
        weights: which entry of `trainer` to take; None takes `unitok`.
        heads: attention heads, where the width of the model is not that of a published ViTamin.

    Raises:
        InputError: a file that is missing, damaged or of another layout.
    """
    args, state = read_source(src, weights)
    check_values(state, src)
    cfg = build_tokenizer_config(args, state, heads)
    return Converted(cfg, map_state(state, args, src), src)


def read_source(path: str, weights: str | None = None) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read a published file; returns (`args`, state dict).

    Args:
        path: of the file.
        weights: which entry of `trainer` to take; None takes `unitok`.

    Raises:
        InputError: no such file or entry, or one of another layout.
    """
    file = read_content(path)
    trainer = file.get('trainer') if isinstance(file, dict) else None
    state = trainer.get('unitok') if isinstance(trainer, dict) else None
    if not isinstance(state, dict) or not isinstance(file.get('args'), dict):
        raise InputError(f'{path} is not UniTok\'s published file; expected {{args, trainer: {{unitok, ...}}}}.')
    missing = [name for name in ARGUMENTS if name not in file['args']]
    if missing:
        raise InputError(f'`args` of {path} lack {", ".join(missing)}, which say the sizes of the model.')
    if file['args']['quant_proj'] != 'attn' or file['args'].get('num_query'):
        raise InputError(f'{path} was trained with quant_proj={file["args"]["quant_proj"]!r} and '
                         f'num_query={file["args"].get("num_query")!r}; only attention projections and no queries '
                         '(the published files) can be converted.')
    return file['args'], choose_weights(trainer, path, weights or 'unitok')


def build_tokenizer_config(args: Mapping[str, Any], state: Mapping[str, torch.Tensor],
                           heads: int | None = None) -> dict:
    """Return the VisualTokenizer config of a published file.

    Args:
        args, state: as `read_source` gives them.
        heads: attention heads of encoder and decoder; None takes those of the published ViTamin of that width.

    Raises:
        InputError: weights that lack what every UniTok has, or of a width that no published ViTamin has.
    """
    try:
        encoder, decoder = _find_encoder_sizes(state), _find_decoder_sizes(state)
        width = len(state['encoder.norm.weight'])
    except (KeyError, IndexError) as e:
        raise InputError(f'the weights lack {e}, which every UniTok has.') from e
    heads = heads or HEADS.get(width)
    if not heads:
        raise InputError(f'the encoder has the width {width}; published ViTamins have {", ".join(map(str, HEADS))}. '
                         'Say its attention heads.', '--heads')
    books = args['num_codebooks']
    trunk = dict(encoder, num_heads=heads, pos_embed='none', fc_norm=False, global_pool='', act_layer='gelu_tanh')
    words = dict(type='OpenCLIPTokenizer', context_length=args['text_context_length'])
    return dict(
        type='VisualTokenizer', image_size=args['img_size'],
        encoders=dict(trunk=dict(type='TimmViT', name='vitamin_large_256', model_args=trunk)),
        vocabularies={VOCABULARY: dict(
            taps='norm', projection=dict(type='AttentionProjection', causal=False),
            quantizer=dict(type='MCQ', size=args['vocab_size'] // books, dim=args['vocab_width'], parts=books))},
        decoder=dict(type='ViTaminDecoder', reads=[VOCABULARY], heads=heads, **decoder),
        head=dict(type='MeanPool', reads=VOCABULARY, out_dim=args['embed_dim']),
        text=dict(type='OpenCLIPText', embed_dim=args['embed_dim'],
                  text_cfg=dict(context_length=args['text_context_length'], vocab_size=args['text_vocab_size'],
                                width=args['text_width'], heads=args['text_heads'], layers=args['text_layers']),
                  tokenizer=words if args['text_vocab_size'] == WORDS else None))


def _find_encoder_sizes(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return the `model_args` of timm's ViTamin that the weights tell."""
    stem = 'encoder.patch_embed.backbone'
    width, depth = len(state['encoder.norm.weight']), _count(state, r'encoder\.blocks\.(\d+)\.')
    stages = [len(state[f'{stem}.stages.{i}.0.conv3_1x1.weight']) for i in (0, 1)]
    depths = [_count(state, rf'{re.escape(stem)}\.stages\.{i}\.(\d+)\.') for i in (0, 1)]
    return dict(embed_dim=width, depth=depth, mlp_ratio=len(state['encoder.blocks.0.mlp.w0.weight']) / width,
                embed_cfg=dict(embed_dim=[*stages, width], depths=[*depths, 1],
                               stem_width=len(state[f'{stem}.stem.conv1.weight'])))


def _find_decoder_sizes(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return the arguments of ViTaminDecoder that the weights tell."""
    return dict(depth=_count(state, r'decoder\.blocks\.(\d+)\.'),
                mlp_ratio=len(state['decoder.blocks.0.mlp.w0.weight']) / len(state['decoder.norm.weight']),
                channels=[len(state[f'decoder.up_conv{i}.0.conv3_1x1.weight']) for i in (2, 3)],
                blocks=[_count(state, rf'decoder\.up_conv{i}\.(\d+)\.') for i in (2, 3)])


def _count(state: Mapping[str, torch.Tensor], pattern: str) -> int:
    """Return one more than the largest number that a pattern finds in the names."""
    return 1 + max((int(m[1]) for name in state if (m := re.match(pattern, name))), default=-1)


def map_state(state: Mapping[str, torch.Tensor], args: Mapping[str, Any], source: str) -> dict[str, torch.Tensor]:
    """Map a published state dict to a VisualTokenizer's; `InputError` lists keys that are missing or left over."""
    rules = Renaming(state, source)
    positions = rules.take('encoder.pos_embed')
    if positions and positions[0].any():
        raise InputError(f'encoder.pos_embed of {source} is not zero; expected the frozen zero of the published files.')
    for part in ('patch_embed', 'blocks', 'norm'):
        rules.tree(f'encoders.trunk.trunk.{part}.', f'encoder.{part}.')
    vocabulary = f'vocabularies.{VOCABULARY}'
    map_projection(rules, f'{vocabulary}.projections.0', 'quant_proj')
    map_projection(rules, f'{vocabulary}.post_projection', 'post_quant_proj')
    books = rules.take(*(f'quantizer.codebooks.{i}.codebook.weight' for i in rules.count(args['num_codebooks'])))
    if books:
        rules.target[f'{vocabulary}.quantizer.weight'] = torch.stack(books)
    rules.tree('decoder.', 'decoder.')
    rules.both('head.norm', 'fc_norm')
    rules.both('head.fc', 'projection')
    rules.tree('text.tower.', 'text_encoder.')
    rules.copy('text.logit_scale', 'logit_scale', lambda t: t.reshape(()))
    rules.target['text.logit_bias'] = torch.zeros(())
    return rules.finish(ignore=('.vocab_usage',))
