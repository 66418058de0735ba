"""Weights of a multimodal language model from a folder of `save_pretrained`, for a new run that starts there and for
evaluation."""
from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dtbox.errors import InputError, at
from dtbox.lms.lora import is_adapter, strip_base
from dtbox.registry import LMS, SEQUENCES
from dtbox.weights.exported_folders import LANGUAGE, MLLM_KIND, WEIGHTS, check_kinds, read_config_of
from dtbox.weights.model_folders import load_published


def read_language_model(folder: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return (the weights of a multimodal language model by their names in it, hashes of its tokenizer and of its text
    tokens) of a folder."""
    config = read_config_of(folder)
    check_kinds(folder, config, MLLM_KIND, dict(lm=(dict, 'a dict'), tokenizer=(dict, 'a dict')))
    with at('lm'):
        lm = LMS.build(dict(config['lm'], pretrained=os.path.join(folder, LANGUAGE)))
        lm.init_weights()
    tokens = SEQUENCES.build(dict(type='PretrainedTokenizer', path=folder), where='sequence.tokenizer')
    rest = load_published(os.path.join(folder, WEIGHTS), mapped=False)[0]
    state = {**{f'lm.{name}': value for name, value in lm.state_dict().items()}, **rest}
    return state, dict(tokenizer=config['tokenizer'].get('digest'), text_tokens=tokens.digest)


def match_adapters(state: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str) -> Mapping[str, Tensor]:
    """Return weights under the names of a model that may have adapters (LoRA).

    A model with adapters starts from one without: its layers get the weights, and its adapters stay as they begin, so
    that both compute the same.

    Args:
        state: the weights to start from.
        own: the state of the model, with adapters as they begin.
        source: what errors call the weights.

    Raises:
        InputError: the weights have adapters and the model has none.
    """
    adapters = {name: value for name, value in own.items() if is_adapter(name)}
    if any(map(is_adapter, state)):
        if adapters:
            return state
        raise InputError(f'{source} has adapters (LoRA), and the language model of the config has none. Keep '
                         '`model.lm.lora`, or start from a folder of save_pretrained, in which the adapters are merged '
                         '(dtbox export RUN --to pretrained).')
    names = {strip_base(name): name for name in own} if adapters else {}
    return {**{names.get(name, name): value for name, value in state.items()}, **adapters}
