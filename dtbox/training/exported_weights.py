"""The weights of folders of `save_pretrained` under the names of the modules that they fill, with the hashes that tell
what they were trained with. The callers compare the files with their sums."""
from __future__ import annotations

import os
from typing import Any

from torch import Tensor

from dtbox.errors import at
from dtbox.registry import LMS, SEQUENCES
from dtbox.tokenizer_files import hash_tokens, open_tokenizer
from dtbox.weights.exported_folders import LANGUAGE, WEIGHTS, WORDS, read_config_of
from dtbox.weights.model_folders import load_published


def read_tokenizer(folder: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return (the weights of a tokenizer, the hash of its text tokens) of a folder."""
    words = os.path.join(folder, WORDS)
    meta = dict(text_tokens=hash_tokens(open_tokenizer(words))) if os.path.isfile(words) else {}
    return load_published(os.path.join(folder, WEIGHTS), mapped=False)[0], meta


def read_language_model(folder: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return (the weights of a multimodal language model by their names in it, hashes of its tokenizer and of its text
    tokens) of a folder."""
    config = read_config_of(folder)
    with at('lm'):
        lm = LMS.build(dict(config['lm'], pretrained=os.path.join(folder, LANGUAGE)))
        lm.init_weights()
    tokens = SEQUENCES.build(dict(type='PretrainedTokenizer', path=folder), where='sequence.tokenizer')
    rest = load_published(os.path.join(folder, WEIGHTS), mapped=False)[0]
    state = {**{f'lm.{name}': value for name, value in lm.state_dict().items()}, **rest}
    return state, dict(tokenizer=(config.get('tokenizer') or {}).get('digest'), text_tokens=tokens.digest)
