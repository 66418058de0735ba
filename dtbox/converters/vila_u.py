"""VILA-U's published vision tower (arXiv 2409.04429) to a run folder.

The layout is that of the code release, which DualToken's grew from; it is known from that code, and no published file
was at hand. The tower is the folder `vision_tower` of a release: config.json, whose entries may stand under
`rqvaesiglip`, and weights, whose names may:

- `siglip_model.*`: a whole Hugging Face SigLIP, or its image tower alone;
- `quantizer.codebooks.{d}.{weight, cluster_size_ema, embed_ema}`: the residual quantizer of the raw output of the last
  block but one, one table listed under every depth, with a padding row;
- `post_quant_conv`, a 1 x 1 convolution, and `decoder.*`.

Anything else is listed as an error.
"""
from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import torch

from dtbox.converters.dualtoken import (
    build_decoder_config,
    build_quantizer_config,
    build_text_config,
    build_trunk_config,
    map_codebooks,
    map_words,
    unwrap,
)
from dtbox.converters.run_folder import Converted, check_values, find_words
from dtbox.errors import InputError
from dtbox.weights.model_folders import load_published, read_json
from dtbox.weights.renaming import Renaming
from dtbox.weights.siglip_names import describe_first_keys, find_sizes, map_vision

VOCABULARY = 'unified'
WRAPPER = 'rqvaesiglip'
"""Where a release wraps the tower: an entry of its config, and a prefix of its weights."""


def convert(src: str, weights: str | None = None, siglip: str | None = None) -> Converted:
    """Read VILA-U's published vision tower.

    Args:
        src: folder of the tower (`vision_tower` of the release): config.json and its weights.
        weights: which of several sets of weights in the file to take, such as `ema`; None takes an average where there
            is one, and the log says so.
        siglip: Hugging Face SigLIP folder, or the name of a published SigLIP; None takes `pretrained_model` of the
            config.

    Raises:
        InputError: files that are missing, damaged, of another layout, or that do not belong together.
    """
    config, state, source = read_source(src, weights)
    check_values(state, src)
    siglip = siglip or config.get('pretrained_model')
    if not siglip:
        raise InputError(f'{src}/config.json has no `pretrained_model`, which tells the sizes of the towers. Give '
                         '--siglip NAME or DIR.')
    sizes = find_sizes(siglip)
    text, words = (sizes.text, find_words(siglip)) if has_text(state) else (None, None)
    try:
        cfg = build_tokenizer_config(config, sizes.vision, text, words)
    except KeyError as e:
        raise InputError(f'{src}/config.json has no entry {e}; expected the config of VILA-U\'s vision tower.') from e
    return Converted(cfg, map_state(state, config, sizes.vision, sizes.text, source), source, words)


def read_source(folder: str, entry: str | None = None) -> tuple[dict, dict[str, torch.Tensor], str]:
    """Read the tower's folder.

    Args:
        folder: of the tower.
        entry: which of several sets of weights in its file to take.

    Returns:
        (config dict, state dict, path of the weights).
    """
    config = unwrap(read_json(os.path.join(folder, 'config.json')), folder)
    state, source = load_published(folder, entry=entry or '')
    state = {re.sub(rf'^(module\.)?({WRAPPER}\.)?', '', name): value for name, value in state.items()}
    if not any(name.startswith('siglip_model.vision_model.')
               for name in state) or 'quantizer.codebooks.0.weight' not in state:
        raise InputError(f'{source} is no vision tower of VILA-U: expected siglip_model.vision_model.* and '
                         f'quantizer.codebooks.0.weight. {describe_first_keys(state)} Give the folder `vision_tower` '
                         'of the release.')
    return config, state, source


def has_text(state: Mapping[str, torch.Tensor]) -> bool:
    """Whether the weights have SigLIP's text tower, too."""
    return any(name.startswith('siglip_model.text_model.') for name in state)


def build_tokenizer_config(config: Mapping[str, Any], vision: Any, text: Any = None,
                           text_tokenizer: str | None = None) -> dict:
    """Return the VisualTokenizer config of a published tower.

    Args:
        config: its config.
        vision, text: SigLIP's configs; text None where the weights have no text tower.
        text_tokenizer: path of a tokenizer.json, or None.
    """
    quantizer = build_quantizer_config(config, 'the quantizer')
    layer = vision['num_hidden_layers'] - 1
    words = dict(text=build_text_config(vision, text, text_tokenizer)) if text else {}
    return dict(
        type='VisualTokenizer', image_size=vision['image_size'], encoders=dict(trunk=build_trunk_config(vision)),
        vocabularies={VOCABULARY: dict(taps=layer, quantizer=quantizer, projection=dict(type='NoProjection'),
                                       reinject=layer)},
        decoder=dict(build_decoder_config(config, vision, config['ddconfig']['z_channels']), reads=[VOCABULARY],
                     post_quant=False),
        head=dict(type='TrunkPool'), **words)


def map_state(state: Mapping[str, torch.Tensor], config: Mapping[str, Any], vision: Any, text: Any,
              source: str) -> dict[str, torch.Tensor]:
    """Map a published state dict to a VisualTokenizer's; `InputError` lists keys that are missing or left over."""
    rules = Renaming(state, source)
    map_vision(rules, 'encoders.trunk.trunk.', 'siglip_model.vision_model', vision['num_hidden_layers'])
    unread = ['position_ids']
    if has_text(state):
        map_words(rules, text)
    else:  # of no use without texts
        unread += ['logit_scale', 'logit_bias']
    map_codebooks(rules, f'vocabularies.{VOCABULARY}.quantizer.codebooks', 'quantizer.codebooks', config)
    rules.tree('decoder.post_quant_conv.', 'post_quant_conv.')
    rules.tree('decoder.decoder.', 'decoder.')
    return rules.finish(ignore=unread)
