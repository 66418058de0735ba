"""A trained tokenizer as a part of a config: the frozen half of a multimodal language model."""
from __future__ import annotations

from dtbox.apis.loading import load_as
from dtbox.apis.opening import TOKENIZER
from dtbox.errors import InputError, at
from dtbox.mllm.frozen_tokenizer import FrozenTokenizer
from dtbox.registry import TOKENIZERS
from dtbox.values import Text


@TOKENIZERS.register_module()
def TrainedTokenizer(source: Text, digest: Text | None = None) -> FrozenTokenizer:
    """Open a trained tokenizer, frozen.

    Args:
        source: run folder, folder that `save_pretrained` wrote, or `dtbox://NAME` of a packaged one.
        digest: hash of its weights (`FrozenTokenizer.digest`); None takes any.

    Raises:
        InputError: what `dtbox.load` says; a tokenizer without codes; weights of another hash.
    """
    with at('source'):
        opened = load_as(TOKENIZER, source)
    frozen = FrozenTokenizer(opened.model, (opened.config or {}).get('pipeline', ()), opened.config, source)
    if digest is not None and frozen.digest != digest:
        raise InputError(f'the weights of {source} have the hash {frozen.digest}; expected {digest}: codes of another '
                         'tokenizer mean other images. Give the tokenizer that the model was trained with.', 'digest')
    return frozen
