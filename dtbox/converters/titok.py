"""The tokenizers of bytedance/1d-tokenizer to a run folder: TiTok (arXiv 2406.07550) of two stages and of one, TA-TiTok
(arXiv 2501.07730), with a codebook or with Gaussian latents.

Published are folders (config.json, model.safetensors) and flat `.bin` files, whose config is a file of the project,
.json or .yaml. The weights tell the sizes, the config which of the variants they are and how wide a head is.

- `is_legacy` (the default): latent tokens are projected in scrambled order, the decoder gives logits of the codes of
  MaskGIT-VQGAN. With `finetune_decoder` (the default) the file also has that tokenizer's table and decoder; without, it
  is the first stage, and `--maskgit FILE` adds them.
- otherwise the decoder gives pixels; `decoder.text_guidance_*` are those of TA-TiTok, whose text tower is not in the
  file: `--clip FILE` adds it.

The networks take and give images in [0, 1]; the parts here do that themselves.
"""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dtbox.converters.run_folder import Converted, check_values
from dtbox.converters.titok_config import build_tokenizer_config, read_config
from dtbox.converters.titok_weights import map_state
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.weights.entries import name_entry
from dtbox.weights.model_folders import load_published
from dtbox.weights.state_dicts import load_state

CLIP = 'ViT-L-14-336-quickgelu'
"""open_clip's name of the tower whose tokens guide TA-TiTok (weights `openai`)."""

TABLE = 'quantize.embedding.weight'
"""The codebook of MaskGIT-VQGAN in its file."""


def convert(src: str, weights: str | None = None, config: str | None = None, heads: Sequence[int] | None = None,
            maskgit: str | None = None, clip: str | None = None) -> Converted:
    """Read a published TiTok.

    Args:
        src: its folder, or its file of weights.
        weights: which of several sets of weights in the file to take; None takes an average where there is one.
        config: its .json or .yaml file; None takes `config.json` of the folder, or beside the file.
        heads: attention heads of encoder and decoder, where they are not as wide as the published ones.
        maskgit: file of MaskGIT-VQGAN, to whose codes a file of the first stage decodes.
        clip: file of CLIP (ViT-L-14-336 of OpenAI), which reads the texts of TA-TiTok.

    Raises:
        InputError: files that are missing, damaged, of another layout, or that do not belong together.
    """
    values, origin = read_config(src, config)
    state, source = load_published(src, entry=weights or '') if os.path.isdir(src) else (
        load_state(name_entry(src, weights)), src)
    check_values(state, src)
    if maskgit is not None:
        state = {**state, **read_maskgit(maskgit, state)}
    try:
        cfg = build_tokenizer_config(values, state, origin, heads, pixels_added=maskgit is not None)
    except (KeyError, IndexError) as e:
        raise InputError(f'{source} lacks {e}, which every TiTok has.') from e
    target = map_state(state, cfg, source)
    if clip is not None:
        cfg['text'], text = read_text(clip, cfg['decoder'])
        target.update(text)
    return Converted(cfg, target, source)


def read_maskgit(path: str, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return table and decoder of MaskGIT-VQGAN's file under the names that a TiTok of two stages has for them.

    Args:
        path: of the file.
        state: weights of the TiTok.

    Raises:
        InputError: another file, one with another number of codes, or a TiTok that does not need it.
    """
    if 'decoder.ffn.2.weight' not in state or 'pixel_quantize.embedding.weight' in state:
        raise InputError('the weights are not those of the first stage of a TiTok of two, which alone need the decoder '
                         'of MaskGIT-VQGAN. Leave it out.', '--maskgit')
    found = load_state(path)
    check_values(found, path)
    codes = len(state['decoder.ffn.2.weight'])
    if TABLE not in found or 'decoder.conv_in.weight' not in found or len(found[TABLE]) != codes:
        size = f'a table of {format_count(len(found[TABLE]), "code")}' if TABLE in found else 'no table of codes'
        raise InputError(f'{path} has {size}; expected MaskGIT-VQGAN with the {format_count(codes, "code")} that the '
                         'TiTok predicts.',
                         '--maskgit')
    decoder = {f'pixel_{name}': value for name, value in found.items() if name.startswith('decoder.')}
    return {'pixel_quantize.embedding.weight': found[TABLE], **decoder}


def read_text(path: str, decoder: Mapping[str, Any], name: str = CLIP) -> tuple[dict, dict[str, torch.Tensor]]:
    """Return config and state of the text tower whose tokens guide a TA-TiTok.

    Args:
        path: of the tower's weights, in open_clip's names.
        decoder: config of the decoder.
        name: open_clip's name of the model.

    Raises:
        InputError: a decoder that is not guided by texts; weights that do not match.
    """
    from dtbox.registry import TEXTS
    if not decoder.get('guidance'):
        raise InputError('the weights are not those of a TA-TiTok; no text guides their decoder. Leave the text tower '
                         'out.', '--clip')
    cfg = dict(type='OpenCLIPText', name=name, tokenizer=dict(
        type='OpenCLIPTokenizer', context_length=decoder['guidance']['length']))
    tower = TEXTS.build(dict(cfg, weights=path), where='text')
    tower.init_weights()
    return cfg, {f'text.{key}': value for key, value in tower.state_dict().items()}
