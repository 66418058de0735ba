"""Weights of a tokenizer from a folder of `save_pretrained`, for a new run that starts there."""
from __future__ import annotations

import os
from typing import Any

from torch import Tensor

from dtbox.tokenizer_files import hash_tokens, open_tokenizer
from dtbox.weights.exported_folders import WEIGHTS, WORDS
from dtbox.weights.model_folders import load_published


def read_tokenizer(folder: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return (the weights of a tokenizer, the hash of its text tokens) of a folder."""
    words = os.path.join(folder, WORDS)
    meta = dict(text_tokens=hash_tokens(open_tokenizer(words))) if os.path.isfile(words) else {}
    return load_published(os.path.join(folder, WEIGHTS), mapped=False)[0], meta
