"""What fits a language model, its text tokenizer and the visual tokenizer together."""
from __future__ import annotations

from typing import Any

from dtbox.errors import InputError
from dtbox.mllm.frozen_tokenizer import FrozenTokenizer


def add_special_rows(lm: Any, tokens: Any) -> None:
    """Give a language model rows for the special tokens that its table does not have.

    Args:
        lm: LanguageModel.
        tokens: SequenceTokenizer.

    Raises:
        InputError: special tokens whose rows would never train.
    """
    if tokens.vocab_size > lm.vocab_size:
        lm.resize(lm.added + tokens.vocab_size - lm.vocab_size)
    first = lm.vocab_size - lm.added
    inside = [tokens.name(i) for i in tokens.added if i < first]
    if inside and lm.frozen_names():
        raise InputError(f'the special tokens {", ".join(inside)} have rows within the frozen table of the language '
                         f'model, which has {first:,} rows for {min(tokens.added):,} tokens of text: they would never '
                         'train. Train the whole language model (no `lora`), or take a tokenizer that fills its table.',
                         'lm.lora')


def check_causal(embedding: Any, tokenizer: FrozenTokenizer) -> None:
    """Raise `InputError`, which names the projections, where a visual embedding lets a place see codes of later places:
    a model that learns to draw from it would read what it has to predict."""
    try:
        embedding.check_causal()
    except InputError as e:
        kinds = ', '.join(f'{name}: {type(vocabulary.post_projection).__name__}'
                          for name, vocabulary in tokenizer.model.vocabularies.items())
        raise InputError(f'{e} The post-projections of {tokenizer.source} are {kinds}; one of them is not causal '
                         '(`causal=True`).') from e


def check_places(head: Any, embedding: Any) -> None:
    """Raise `InputError` where a visual embedding needs all codes of a place and the head's steps hold some of them."""
    if not embedding.token_local and head.count_steps() != head.tables.places:
        raise InputError(f'{type(embedding).__name__} reads whole images of {head.tables.places} places, and '
                         f'{type(head).__name__} writes an image in {head.count_steps()} steps that hold some codes of a '
                         'place each. Take CodesEmbedding or LearnedEmbedding, or a head of whole places such as '
                         'DepthHead.', 'visual_embedding')


def check_streams(head: Any, embedding: Any, tokenizer: FrozenTokenizer) -> None:
    """Raise `InputError` where a decoder or a visual embedding reads streams that a visual head does not predict:
    images that the model draws would lack them."""
    decoder = {tokenizer.model.find_stream(name).name for name in tokenizer.model.reads}
    readers = {f'the decoder of {tokenizer.source}': decoder, 'the visual embedding': set(embedding.names)}
    for what, names in readers.items():
        missing = sorted(names - set(head.names))
        if missing:
            raise InputError(f'{what} reads {", ".join(missing)}, which the visual head does not predict: it has '
                             f'{", ".join(head.names)}. Let both have the same `streams`, with all that the decoder '
                             'reads.', 'visual_head.streams')
