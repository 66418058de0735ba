"""QLIP's published models (arXiv 2502.05178), Hugging Face folders, to a run folder.

The towers are EVA-02 (timm's Eva): sub-norms, SwiGLU, rotary positions of a 16 x 16 grid, each by a switch of
config.json. What changes on the way:

- rotary tables, constants that the file repeats under every layer, are computed;
- the normalisation of pixels (CLIP's) is folded into the first and the last layer; the rows of the last one, which the
  release orders (colour, row, column), are ordered (row, column, colour);
- the bias of a sigmoid loss, which QLIP does not have, is 0.

Codes are one number of all bits here, the first channel the highest bit; the release's own number is wrong above 24
bits, as it adds in float32. The embedding of an image is that of the class token of the trunk: it is not a function of
the codes.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dtbox.converters.folding import CLIP_MEAN, CLIP_STD, fold_input, fold_output
from dtbox.converters.run_folder import Converted, check_values
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.weights.model_folders import load_published, read_json
from dtbox.weights.renaming import Renaming
from dtbox.weights.siglip_names import compute_ratio, map_text

VOCABULARY = 'unified'
WORDS = 49408
"""Size of the vocabulary of CLIP's tokenizer."""
TABLES = ('rope.freqs_cos', 'rope.freqs_sin', 'position_ids')
"""Endings of constants."""
SWITCHES = ('subln', 'swiglu', 'rope')
TRUNK = 'eva02_base_patch14_224'
"""timm's Eva that the sizes of a tower are put into."""


def convert(src: str, weights: str | None = None) -> Converted:
    """Read a published QLIP.

    Args:
        src: Hugging Face folder with config.json and weights.
        weights: which of several sets of weights in the file to take.

    Raises:
        InputError: a folder that is missing, damaged or of another layout.
    """
    config = read_json(f'{src}/config.json')
    missing = [part for part in ('vision_config', 'text_config', 'decoder_config') if
               not isinstance(config.get(part), dict)]
    if missing:
        raise InputError(f'{src}/config.json lacks {", ".join(missing)}; expected the folder of a QLIP.')
    state, source = load_published(src, entry=weights or '')
    check_values(state, source)
    cfg = build_tokenizer_config(config, state, source)
    return Converted(cfg, map_state(state, config, cfg, source), src)


def build_tokenizer_config(config: Mapping[str, Any], state: Mapping[str, Tensor], source: str) -> dict:
    """Return the VisualTokenizer config of a QLIP; sizes come from the weights, heads and switches from its config.

    Args:
        config: config.json.
        state: its weights.
        source: where they come from, for messages.

    Raises:
        InputError: parts that are not QLIP's, or sizes that do not fit.
    """
    vision, text = config['vision_config'], config['text_config']
    check_quantizer(vision)
    used = [name for name in SWITCHES if text.get(name)]
    if used or any(part.get('hidden_act', 'gelu') != 'gelu' for part in (vision, text, config['decoder_config'])):
        raise InputError(f'config.json asks for {", ".join(used) or "another activation than gelu"} of a tower; '
                         'expected a plain text tower and exact GELU, as in the published models.')
    try:
        kernel = state['vision_model.embeddings.patch_embedding.weight']
        places = state['vision_decoder.position_embeddings'].shape[1]
        bits, width = state['vision_model.quant_embed.c_proj.weight'].shape
        post, joint = len(state['vision_decoder.norm.weight']), len(state['visual_projection.weight'])
        hidden, rows = len(state['vision_decoder.ffn.0.weight']), len(state['vision_decoder.conv_out.weight'])
        length, word_width = state['text_model.embeddings.position_embedding.weight'].shape
        tokens = len(state['vision_model.embeddings.position_embedding.weight']) - 1
        words = len(state['text_model.embeddings.token_embedding.weight'])
    except KeyError as e:
        raise InputError(f'{source} lacks {e}, which every QLIP has.') from e
    side, pixels = round(tokens ** 0.5), round((rows / 3) ** 0.5)
    if side ** 2 != tokens or 3 * pixels ** 2 != rows or places != tokens or pixels != kernel.shape[-1]:
        raise InputError(f'{source} has {tokens} positions of the encoder, {places} of the decoder, patches of '
                         f'{kernel.shape[-1]} pixels and {format_count(rows, "row")} in its last layer; expected one '
                         'square grid.')
    heads = [part.get('num_attention_heads', 12) for part in (vision, config['decoder_config'])]
    trunks = [describe_trunk(state, part, stem, n) for part, stem, n in zip(
        (vision, config['decoder_config']), ('vision_model', 'vision_decoder'), heads)]
    eps = [part.get('layer_norm_eps', 1e-5) for part in (vision, config['decoder_config'], text)]
    reader = dict(type='OpenCLIPTokenizer', context_length=length) if words == WORDS else None
    end = text.get('eos_token_id', 49407)
    pool = dict(pool_type='argmax') if end == 2 else dict(pool_type='eos', eos_id=end)
    return dict(
        type='VisualTokenizer', image_size=side * pixels,
        encoders=dict(trunk=dict(type='TimmViT', name=TRUNK, norm_eps=eps[0], model_args=dict(
            trunks[0], patch_size=pixels, global_pool='token', num_classes=joint))),
        vocabularies={VOCABULARY: dict(
            taps=trunks[0]['depth'], quantizer=build_quantizer(vision, bits), out_dim=post,
            projection=dict(type='MLPProjection', hidden=width, norm=False),
            post_projection=dict(type='MLPProjection', hidden=post, norm=False))},
        decoder=dict(type='TimmDecoder', reads=[VOCABULARY], name=TRUNK, project=False, norm_eps=eps[1],
                     model_args=dict(trunks[1], class_token=False), head=dict(type='TanhPixels', hidden=hidden)),
        head=dict(type='TrunkPool'),
        text=dict(type='OpenCLIPText', embed_dim=joint, tokenizer=reader, text_cfg=dict(
            context_length=length, vocab_size=words, width=word_width, heads=text.get('num_attention_heads', 8),
            layers=_count(state, 'text_model'), norm_kwargs=dict(eps=eps[2]),
            mlp_ratio=compute_ratio(len(state['text_model.encoder.layers.0.mlp.fc1.weight']), word_width),
            proj_bias='text_projection.bias' in state, **pool)))


def check_quantizer(vision: Mapping[str, Any]) -> None:
    """Raise `InputError` unless a `vision_config` asks for the quantizer of the published models."""
    want = dict(quantizer='bsq', quantizer_embed_type='mlp', quantizer_l2_norm=True)
    for name, value in want.items():
        if vision.get(name, value) != value:
            raise InputError(f'`{name}` of vision_config is {vision[name]!r}; only {value!r} (the published models) '
                             'can be converted.')


def build_quantizer(vision: Mapping[str, Any], bits: int) -> dict:
    """Return the config of BSQ with the terms of QLIP: beta sum_c (q - z)^2 + (gamma_0 sample entropy - gamma_1 batch
    entropy) / inv_temperature."""
    cfg = vision.get('quantizer_cfg') or {}
    gamma, sharpness = [cfg.get(f'gamma_{i}', 1.0) for i in (0, 1)], cfg.get('inv_temperature', 100.0)
    if not gamma[0] and gamma[1]:
        raise InputError('`gamma_0` of quantizer_cfg is 0 and `gamma_1` is not; expected a term of both entropies.')
    return dict(type='BSQ', dim=bits, group=cfg.get('group_size', 9), temperature=1 / sharpness,
                commitment_weight=cfg.get('beta', 0.0) * bits, entropy_weight=gamma[0] / sharpness,
                diversity=gamma[1] / gamma[0] if gamma[0] else 1.0)


def describe_trunk(state: Mapping[str, Tensor], part: Mapping[str, Any], stem: str, heads: int) -> dict[str, Any]:
    """Return the `model_args` of timm's Eva for the encoder or the decoder.

    Args:
        state: the weights.
        part: its entry of config.json.
        stem: of its names.
        heads: attention heads.
    """
    block = f'{stem}.encoder.layers.0'
    width = len(state[f'{block}.layer_norm1.weight'])
    hidden = len(state[f'{block}.mlp.{"w1" if part.get("swiglu") else "fc1"}.weight'])
    return dict(embed_dim=width, depth=_count(state, stem), num_heads=heads, mlp_ratio=compute_ratio(hidden, width),
                qkv_bias=any(f'{block}.self_attn.{x}_proj.bias' in state for x in 'qv'),
                swiglu_mlp=bool(part.get('swiglu')), scale_mlp=bool(part.get('subln')),
                scale_attn_inner=bool(part.get('subln')), use_rot_pos_emb=bool(part.get('rope')))


def _count(state: Mapping[str, Tensor], stem: str) -> int:
    pattern = rf'{stem}\.encoder\.layers\.(\d+)\.'
    return 1 + max((int(m[1]) for name in state if (m := re.match(pattern, name))), default=-1)


def map_state(state: Mapping[str, Tensor], config: Mapping[str, Any], cfg: Mapping[str, Any],
              source: str) -> dict[str, Tensor]:
    """Map a published state dict to a VisualTokenizer's; `InputError` lists keys that are missing or left over.

    Args:
        state, config, source: as of `build_tokenizer_config`.
        cfg: what that returned.
    """
    rules = Renaming({name: value for name, value in state.items() if not name.endswith(TABLES)}, source)
    trunk, vocabulary = 'encoders.trunk.trunk', f'vocabularies.{VOCABULARY}'
    rules.copy(f'{trunk}.cls_token', 'vision_model.embeddings.class_embedding', lambda t: t[None, None])
    rules.copy(f'{trunk}.pos_embed', 'vision_model.embeddings.position_embedding.weight', lambda t: t[None])
    first = rules.take(*(f'vision_model.embeddings.patch_embedding.{part}' for part in ('weight', 'bias')))
    if first:
        weight, bias = fold_input(first[0], first[1], CLIP_MEAN, CLIP_STD)
        rules.target.update({f'{trunk}.patch_embed.proj.weight': weight, f'{trunk}.patch_embed.proj.bias': bias})
    map_blocks(rules, trunk, 'vision_model', cfg['encoders']['trunk']['model_args'])
    rules.both(f'{trunk}.norm', 'vision_model.post_layernorm')
    _map_linear(rules, f'{trunk}.head', 'visual_projection')
    for ours, theirs in (('projections.0', 'quant_embed'), ('post_projection', 'quant_embed_post')):
        for x, y in (('fc1', 'c_fc'), ('fc2', 'c_proj')):
            rules.both(f'{vocabulary}.{ours}.{x}', f'vision_model.{theirs}.{y}')
    rules.copy('decoder.trunk.pos_embed', 'vision_decoder.position_embeddings')
    map_blocks(rules, 'decoder.trunk', 'vision_decoder', cfg['decoder']['model_args'])
    rules.both('decoder.trunk.norm', 'vision_decoder.norm')
    rules.both('decoder.head.fc1', 'vision_decoder.ffn.0')
    last = rules.take('vision_decoder.conv_out.weight', 'vision_decoder.conv_out.bias')
    if last:
        weight, bias = fold_output(last[0], last[1], CLIP_MEAN, CLIP_STD, colours_first=True)
        rules.target.update({'decoder.head.fc2.weight': weight, 'decoder.head.fc2.bias': bias})
    map_words(rules, cfg['text']['text_cfg'])
    return rules.finish()


def _map_linear(rules: Renaming, ours: str, theirs: str) -> None:
    """Map a linear layer; a bias that the release does not have is 0."""
    rules.copy(f'{ours}.weight', f'{theirs}.weight')
    if f'{theirs}.bias' in rules.state:
        rules.copy(f'{ours}.bias', f'{theirs}.bias')
    elif f'{ours}.weight' in rules.target:
        rules.target[f'{ours}.bias'] = torch.zeros(len(rules.target[f'{ours}.weight']))


def map_blocks(rules: Renaming, ours: str, theirs: str, args: Mapping[str, Any]) -> None:
    """Map the blocks of a tower to timm's Eva.

    Args:
        rules: of the weights.
        ours, theirs: prefixes.
        args: `model_args` of the Eva.
    """
    for i in rules.count(args['depth']):
        a, b = f'{ours}.blocks.{i}', f'{theirs}.encoder.layers.{i}'
        rules.copy(f'{a}.attn.k_proj.weight', f'{b}.self_attn.k_proj.weight')
        for x in 'qv':
            if args['qkv_bias']:
                _map_linear(rules, f'{a}.attn.{x}_proj', f'{b}.self_attn.{x}_proj')
            else:
                rules.copy(f'{a}.attn.{x}_proj.weight', f'{b}.self_attn.{x}_proj.weight')
        pairs = [('attn.proj', 'self_attn.out_proj'), ('norm1', 'layer_norm1'), ('norm2', 'layer_norm2')]
        pairs += [('mlp.fc1_g', 'mlp.w1'), ('mlp.fc1_x', 'mlp.w2'), ('mlp.fc2', 'mlp.w3')] if args['swiglu_mlp'] else [
            ('mlp.fc1', 'mlp.fc1'), ('mlp.fc2', 'mlp.fc2')]
        pairs += [('attn.norm', 'self_attn.inner_attn_ln'), ('mlp.norm', 'mlp.ffn_ln')] if args['scale_mlp'] else []
        for x, y in pairs:
            rules.both(f'{a}.{x}', f'{b}.{y}')


def map_words(rules: Renaming, text_cfg: Mapping[str, Any]) -> None:
    """Map the text tower and the scale of the logits to OpenCLIPText."""
    tower = 'text.tower.'
    map_text(rules, tower, 'text_model', text_cfg['layers'], projection=False)
    if text_cfg['proj_bias']:
        rules.both(f'{tower}text_projection', 'text_projection')
    else:
        rules.copy(f'{tower}text_projection', 'text_projection.weight', lambda t: t.T.contiguous())
    rules.copy('text.logit_scale', 'logit_scale', lambda t: t.reshape(()))
    rules.target['text.logit_bias'] = torch.zeros(())
