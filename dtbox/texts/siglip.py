"""The text tower of any published SigLIP, with its tokenizer from a local file."""
from __future__ import annotations

import os
from typing import Any

import torch

from dtbox.errors import InputError
from dtbox.registry import TEXTS
from dtbox.texts.towers import OpenCLIPText
from dtbox.values import Depth, check_value
from dtbox.weights.model_folders import load_published, read_json
from dtbox.weights.siglip_names import build_text_arguments, find_sizes, is_text_key, map_text_state
from dtbox.weights.state_dicts import load_into

PADS = {1: '</s>', 2: '<pad>'}
"""Version -> the padding token of its tokenizer, where its folder does not say."""
LARGEST_OF_1 = 32000
"""Ids of SigLIP 1's tokenizer; that of SigLIP 2 has 256,000."""


@TEXTS.register_module()
class SigLIPText(OpenCLIPText):
    """SigLIP's (arXiv 2303.15343) or SigLIP 2's (arXiv 2502.14786) text transformer.

    It has no mask: padding attends, too, and the last of 64 positions is the embedding of the text.

    Args:
        name: as in the encoder `SigLIP`.
        weights: as there; also scale and bias of the logits are read.
        tokenizer: config of the tokenizer; None takes the tokenizer.json of a local folder that `weights` or `name` is,
            where there is one.
        text: entries of Hugging Face's `text_config` that differ, for small models of the same shape.

    Raises:
        InputError: an unknown name; from `init_weights`, weights that do not match, with their keys.
    """

    def __init__(self, name: str, weights: str | None = None, tokenizer: dict | None = None,
                 text: dict[str, Any] | None = None) -> None:
        sizes = find_sizes(name)
        wrong = set(text or {}) - set(sizes.text)
        if wrong:
            raise InputError(f'`text` has {", ".join(sorted(wrong))}; expected entries of a text_config: '
                             f'{", ".join(sizes.text)}.')
        config = {**sizes.text, **(text or {})}
        check_value(config['num_hidden_layers'], Depth, 'text.num_hidden_layers')
        weights = name if weights is None and sizes.hub == '' else weights
        words = os.path.join(weights or '', 'tokenizer.json')
        if tokenizer is None and weights and os.path.isfile(words):
            tokenizer = dict(type='FileTokenizer', file=words, context_length=config['max_position_embeddings'],
                             pad=read_padding(weights) or PADS[sizes.version])
        super().__init__(embed_dim=config.get('projection_size') or config['hidden_size'],
                         text_cfg=build_text_arguments(config), tokenizer=tokenizer, weights=weights)
        self.name = name
        self.hub = sizes.hub
        self.layers = config['num_hidden_layers']

    def init_weights(self) -> None:
        """Load `weights` into the tower, and scale and bias where the file has them."""
        if self.weights is None:
            return
        state, source = load_published(self.weights, is_text_key, self.hub)
        state, scalars = map_text_state(state, self.layers, source)
        load_into(self.tower, state, source)
        with torch.no_grad():
            for key, value in scalars.items():
                getattr(self, key).copy_(value)


def read_padding(folder: str) -> str | None:
    """Return the padding token that a folder's tokenizer_config.json names, or None."""
    path = os.path.join(folder, 'tokenizer_config.json')
    pad = read_json(path).get('pad_token') if os.path.isfile(path) else None
    return pad.get('content') if isinstance(pad, dict) else pad
