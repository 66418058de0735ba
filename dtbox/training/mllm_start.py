"""Weights of a multimodal language model from a folder of `save_pretrained`, for a new run that starts there and for
evaluation."""
from __future__ import annotations

import os
from typing import Any

from torch import Tensor

from dtbox.errors import at
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
