"""Published DualToken checkpoints (arXiv 2503.14324) to a run folder.

A published checkpoint is a folder with config.json and one .pt of {epoch, name, state_dict, ...}; sizes and heads of
its towers stand in the config.json of a Hugging Face SigLIP folder. What changes on the way:

- the SigLIP image tower becomes a timm vision transformer, its text tower an open_clip one (both exact);
- the codebooks' padding row and the projections' constant zero key bias are dropped;
- a shared codebook, which is listed under every depth, is kept once.
"""
from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from typing import Any

import torch

from dtbox.converters.run_folder import Converted, check_values, find_words
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.texts.siglip import LARGEST_OF_1, PADS, read_padding
from dtbox.weights.entries import name_entry
from dtbox.weights.model_folders import read_json
from dtbox.weights.renaming import Renaming
from dtbox.weights.siglip_names import build_text_arguments, build_timm_arguments, map_text, map_vision, read_sizes
from dtbox.weights.state_dicts import load_state

WRAPPER = 'rqvaesiglip'
"""Entry of the published config.json under which all others lie."""


def convert(src: str, weights: str | None = None, siglip: str | None = None) -> Converted:
    """Read a published DualToken checkpoint.

    Args:
        src: folder with config.json and one .pt.
        weights: which of several sets of weights in the file to take, such as `ema`; None takes an average where there
            is one, and the log says so.
        siglip: Hugging Face SigLIP folder (config.json; tokenizer.json where texts should be embedded); None takes
            `pretrained_model` of the config where that is a local folder.

    Raises:
        InputError: files that are missing, damaged, of another layout, or that do not belong together.
    """
    config, state = read_source(src, weights)
    check_values(state, src)
    siglip = siglip or config.get('pretrained_model')
    if not siglip or not os.path.isdir(siglip):
        raise InputError(f'the sizes of the towers stand in SigLIP\'s config.json, but `{siglip}` is no local folder. '
                         'Give --siglip DIR.')
    sizes, words = read_sizes(siglip), find_words(siglip)
    try:
        cfg = build_tokenizer_config(config, sizes.vision, sizes.text, words)
    except KeyError as e:
        raise InputError(f'{src}/config.json has no entry {e}; expected the config of a DualToken release.') from e
    return Converted(cfg, map_state(state, config, sizes.vision, sizes.text, src), src, words)


def read_source(folder: str, entry: str | None = None) -> tuple[dict, dict[str, torch.Tensor]]:
    """Read a published folder.

    Args:
        folder: of the release.
        entry: which of several sets of weights in its file to take.

    Returns:
        (config dict, state dict).
    """
    config = read_json(os.path.join(folder, 'config.json'))
    files = sorted(glob.glob(os.path.join(folder, '*.pt')))
    if len(files) != 1:
        raise InputError(f'{folder} holds {len(files)} .pt files '
                         f'({", ".join(map(os.path.basename, files)) or "none"}); expected exactly one, the '
                         'checkpoint, beside config.json.')
    state = load_state(name_entry(files[0], entry))
    return unwrap(config, folder), rename_old_keys(state)


def unwrap(config: dict[str, Any], folder: str) -> dict[str, Any]:
    """Return the entries of a published config.json, which may lie under `WRAPPER`; `InputError` where that is no
    object."""
    inner = config.get(WRAPPER, config)
    if not isinstance(inner, dict):
        raise InputError(f'`{WRAPPER}` of {folder}/config.json is {inner!r:.60}; expected a JSON object.')
    return inner


def rename_old_keys(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename keys of checkpoints from before 2026-03-18 (`quantizer_pixel` -> `quantizer_pix`)."""
    renamed = {}
    for name, value in state.items():
        for old, new in (('semantic', 'sem'), ('pixel', 'pix')):
            name = name.replace(f'quant_{old}', f'quant_{new}').replace(f'quantizer_{old}', f'quantizer_{new}')
        renamed[name] = value
    return renamed


def build_tokenizer_config(config: Mapping[str, Any], vision: Any, text: Any,
                           text_tokenizer: str | None = None) -> dict:
    """Return the VisualTokenizer config of a published model.

    Args:
        config: its config.json.
        vision, text: SigLIP's configs.
        text_tokenizer: path of a tokenizer.json, or None.
    """
    width = vision['hidden_size']
    quantizers = {name: _quantizer(config, f'vq_{short}') for name, short in (('pixel', 'pix'), ('semantic', 'sem'))}
    taps = {config['layer_recon']: 1.0}
    if config.get('layer_shortcut') is not None:
        taps[config['layer_shortcut']] = config['weight_shortcut']
    projection = {name: dict(type='AttentionProjection', heads=width // q['dim']) for name, q in quantizers.items()}
    return dict(
        type='VisualTokenizer', image_size=vision['image_size'],
        encoders=dict(trunk=build_trunk_config(vision)),
        vocabularies=dict(
            pixel=dict(taps=taps, quantizer=quantizers['pixel'], projection=projection['pixel']),
            semantic=dict(taps=config['layer_sem'], quantizer=quantizers['semantic'], projection=projection['semantic'],
                          reinject=config['layer_sem'])),
        decoder=build_decoder_config(config, vision, config['ddconfig']['decoder_in_channels']),
        head=dict(type='TrunkPool'), text=build_text_config(vision, text, text_tokenizer))


def _quantizer(config, name):
    vq = config[name]
    if vq['bottleneck_type'] not in ('rq', 'rq_ema'):
        raise InputError(f'`{name}` has the type {vq["bottleneck_type"]}; expected rq or rq_ema.', 'config.json')
    return build_quantizer_config(vq, f'`{name}`')


def build_quantizer_config(vq: Mapping[str, Any], name: str) -> dict:
    """Return the RQ config of a published quantizer; `name` is what to call it in messages."""
    if list(vq['latent_shape'])[:2] != list(vq['code_shape'])[:2]:
        raise InputError(f'{name} has latents of {vq["latent_shape"]} and codes of {vq["code_shape"]}; expected one '
                         'grid for both.',
                         'config.json')
    codebook = dict(type='EMACodebook', decay=vq.get('decay', 0.99), restart=1.0
                    if vq.get('restart_unused_codes', True) else 0.0)
    return dict(type='RQ', size=vq['n_embed'], dim=vq['embed_dim'], depth=vq['code_shape'][-1],
                shared=vq.get('shared_codebook', True), codebook=codebook)


def build_decoder_config(config: Mapping[str, Any], vision: Any, channels: int) -> dict:
    """Return the CNNDecoder config of a published `ddconfig` whose latents have `channels` channels."""
    dd, latent = config['ddconfig'], config.get('decoder_latent_shape')
    levels = len(dd['ch_mult'])
    grid = vision['image_size'] // vision['patch_size']
    size = (latent[0] if latent else grid) << (levels - 1)
    # the published decoder counts resolutions from `ddconfig.resolution`, ours from the image it paints
    attention = [size >> level for level in range(levels) if dd['resolution'] >> level in dd['attn_resolutions']]
    return dict(type='CNNDecoder', reads=['pixel'], image_size=size, channels=dd['ch'], multipliers=list(dd['ch_mult']),
                blocks=dd['num_res_blocks'], latent_channels=channels, attention_resolutions=attention,
                latent_size=list(latent) if latent else None)


def map_state(state: Mapping[str, torch.Tensor], config: Mapping[str, Any], vision: Any, text: Any,
              source: str = 'the checkpoint') -> dict[str, torch.Tensor]:
    """Map a published state dict to a VisualTokenizer's; `InputError` lists keys that are missing or left over."""
    rules = Renaming(state, source)
    map_vision(rules, 'encoders.trunk.trunk.', 'siglip_model.vision_model', vision['num_hidden_layers'])
    map_words(rules, text)
    shortcut = config.get('layer_shortcut') is not None
    for name, short in (('pixel', 'pix'), ('semantic', 'sem')):
        target = f'vocabularies.{name}'
        map_projection(rules, f'{target}.projections.0', f'prequant_{short}')
        if shortcut and short == 'pix':
            map_projection(rules, f'{target}.projections.1', 'prequant_shortcut')
        map_projection(rules, f'{target}.post_projection', f'postquant_{short}')
        map_codebooks(rules, f'{target}.quantizer.codebooks', f'quantizer_{short}.codebooks', config[f'vq_{short}'])
    rules.tree('decoder.post_quant_conv.', 'post_quant_conv.')
    rules.tree('decoder.decoder.', 'decoder.')
    return rules.finish(ignore=('position_ids',))


def map_words(rules: Renaming, text: Any) -> None:
    """Rename the text tower and the logits of a `siglip_model`."""
    map_text(rules, 'text.tower.', 'siglip_model.text_model', text['num_hidden_layers'])
    for name in ('logit_scale', 'logit_bias'):
        rules.copy(f'text.{name}', f'siglip_model.{name}', lambda t: t.reshape(()))


def build_text_config(vision: Any, text: Any, text_tokenizer: str | None = None) -> dict:
    """Return the OpenCLIPText config of SigLIP's configs; `text_tokenizer` is the path of a tokenizer.json, or None.

    Texts are padded with the token that the tokenizer_config.json beside it names, or else with that of the version of
    SigLIP, which the size of the vocabulary tells.
    """
    tokenizer = None
    if text_tokenizer:
        pad = read_padding(os.path.dirname(text_tokenizer)) or PADS[1 if text['vocab_size'] <= LARGEST_OF_1 else 2]
        tokenizer = dict(type='FileTokenizer', file=text_tokenizer, context_length=text['max_position_embeddings'],
                         pad=pad)
    return dict(type='OpenCLIPText', embed_dim=vision['hidden_size'], text_cfg=build_text_arguments(text),
                tokenizer=tokenizer)


def build_trunk_config(vision: Any) -> dict:
    """Return the TimmViT config of SigLIP's image tower."""
    return dict(type='TimmViT', name='vit_base_patch16_siglip_224', model_args=build_timm_arguments(vision))


def map_projection(rules: Renaming, ours: str, theirs: str) -> None:
    """Copy an attention projection without its constant zero key bias."""
    for part in ('norm1', 'norm2', 'norm3', 'proj', 'attn.proj', 'mlp.norm', 'mlp.w0', 'mlp.w1', 'mlp.w2'):
        rules.both(f'{ours}.{part}', f'{theirs}.{part}')
    for part in ('attn.qkv.weight', 'attn.q_bias', 'attn.v_bias'):
        rules.copy(f'{ours}.{part}', f'{theirs}.{part}')
    zero = rules.take(f'{theirs}.attn.zero_k_bias')
    if zero and zero[0].any():
        raise InputError(f'{theirs}.attn.zero_k_bias is not zero; expected the constant zero that its name promises.')


def map_codebooks(rules: Renaming, ours: str, theirs: str, vq: Mapping[str, Any]) -> None:
    """Copy a published residual quantizer's tables and statistics, without their padding row; `vq` is its config."""
    size = vq['n_embed']
    depth = vq['code_shape'][-1]
    shared = vq.get('shared_codebook', True)
    names = (('weight', 'weight'), ('cluster_size', 'cluster_size_ema'), ('embed_sum', 'embed_ema'))
    for d in rules.count(1 if shared else depth):
        for mine, published in names:
            rules.copy(f'{ours}.{d}.{mine}', f'{theirs}.{d}.{published}', lambda t: t[:size])
        rules.target[f'{ours}.{d}.updates'] = torch.zeros((), dtype=torch.int64)
    for d in rules.count(depth if shared else 0)[1:]:
        for _, published in names:
            copy = f'{theirs}.{d}.{published}'
            if copy in rules.state:
                found = rules.take(copy, f'{theirs}.0.{published}')
                if found and not torch.equal(*found):
                    raise InputError(f'{copy} differs from depth 0, although the config says that the codebook is '
                                     'shared.')
    table = rules.state.get(f'{theirs}.0.weight')
    if table is not None and len(table) != size + 1:
        raise InputError(f'{theirs}.0.weight has {format_count(len(table), "row")}; expected '
                         f'{format_count(size, "code")} and a padding row.')
