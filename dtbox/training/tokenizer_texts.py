"""The texts of a batch, as a TokenizerTask reads them: for losses that compare images with them, for decoders that they
guide.

Legend: B batch, L ids of a text.
"""
from __future__ import annotations

from typing import Any

from torch import Tensor

from dtbox.errors import InputError
from dtbox.losses.criterion import Criterion
from dtbox.structures import Batch
from dtbox.tokenizers.guidance import read_guiding_texts


def check_needs_texts(tokenizer: Any, criterion: Criterion | None) -> bool:
    """Return whether samples without a text cannot be trained on: losses compare images with texts, or texts guide the
    decoder and none stands for a missing one.

    Raises:
        InputError: texts guide the decoder, and there is no text tower that reads those of the data.
    """
    if criterion is None:
        return False
    if tokenizer.guided and tokenizer.text is None:
        raise InputError('texts guide the decoder, and there is no text tower that reads those of the data. Add '
                         '`text`.', 'tokenizer')
    compared = any(name.startswith('text_pooled') for name in criterion.requires)
    return compared or (tokenizer.guided and tokenizer.decoder.guidance.default is None)


def read_step_texts(tokenizer: Any, batch: Batch, needed: bool) -> Tensor | None:
    """Return the ids [B,L] of a batch's texts for a step of training; None where nothing reads texts.

    Args:
        tokenizer: VisualTokenizer.
        batch: prepared Batch.
        needed: as `check_needs_texts` returns it.

    Raises:
        InputError: texts are needed and there are none.
    """
    if needed and batch.texts is None:
        if tokenizer.guided:
            raise InputError('texts guide the decoder, but the data has no texts. Add captions (a captions file or '
                             'class folders), or set `guidance.default` of the decoder to a text for all images.')
        raise InputError('the losses compare images with texts, but the data has no texts. Add captions '
                         '(a captions file or class folders), or take a recipe without a contrastive loss.')
    if tokenizer.guided:
        return read_guiding_texts(tokenizer, batch.texts, batch.keys)
    return tokenizer.text.ids(batch.texts) if needed else None


def read_evaluation_texts(tokenizer: Any, batch: Batch) -> Tensor | None:
    """Return the ids [B,L] of a batch's texts for a pass of evaluation, None where there are none to read.

    Where nothing but a metric reads them, a sample without a text counts as '?', and images with several captions
    (`batch.captions`) have none: the metric embeds them all.
    """
    if tokenizer.guided:
        return read_guiding_texts(tokenizer, batch.texts, batch.keys)
    text = tokenizer.text
    if batch.texts is None or batch.captions is not None or text is None or not text.tokenizer:
        return None
    return text.ids([t or '?' for t in batch.texts])
