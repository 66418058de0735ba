"""What fits a language model, its text tokenizer and the visual tokenizer together."""
from __future__ import annotations

from typing import Any, Mapping

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.mllm.frozen_tokenizer import FrozenTokenizer
from dtbox.mllm.sequences.tokens import SPECIAL
from dtbox.registry import LMS, SEQUENCES


def build_lm(lm: Mapping[str, Any], tokenizer: Any) -> tuple[Any, Any]:
    """Build a language model and the text tokenizer, with rows for the special tokens of images.

    A model from a config gets as many rows as the tokenizer has ids. One with a table of its own gets special rows
    after it, which train also where the table is frozen.

    Args:
        lm: config of the LanguageModel.
        tokenizer: config of the text tokenizer.

    Returns:
        (LanguageModel, SequenceTokenizer).
    """
    tokens = SEQUENCES.build(tokenizer, where='sequence.tokenizer')
    # a table that is there already has no rows for the tokens of images, which come last
    own = lm.get('pretrained') is not None or 'vocab_size' in (lm.get('config') or {})
    model = LMS.build(lm, where='lm', vocab_size=tokens.vocab_size - (count_last(tokens) if own else 0))
    if tokens.added and model.vocab_size != tokens.vocab_size:
        tokens = SEQUENCES.build(tokenizer, where='sequence.tokenizer', rows=model.vocab_size)
    if tokens.vocab_size > model.vocab_size:
        model.resize(model.added + tokens.vocab_size - model.vocab_size)
    return model, tokens


def count_last(tokens: Any) -> int:
    """Return how many of a text tokenizer's last ids are special tokens of images, added or read from a run."""
    ids = {tokens.find(token) for token in SPECIAL}
    return next(i for i in range(len(ids) + 1) if tokens.vocab_size - 1 - i not in ids)


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
        raise InputError(f'{type(embedding).__name__} reads whole images of '
                         f'{format_count(head.tables.places, "place")}, and '
                         f'{type(head).__name__} writes an image in {format_count(head.count_steps(), "step")} that '
                         'hold some codes '
                         'of a place each. Take CodesEmbedding or LearnedEmbedding, or a head of whole places such as '
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
