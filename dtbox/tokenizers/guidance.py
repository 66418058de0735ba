"""Texts that guide a decoder (TA-TiTok, arXiv 2501.07730): the codes do not depend on them, the images do.

Legend: B batch, L tokens of a text, W their width.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from dtbox.errors import InputError
from dtbox.structures import Guidance


def get_guidance(decoder: Any) -> Guidance | None:
    """Return what a decoder asks of texts; None where it asks nothing, or does not exist."""
    return getattr(decoder, 'guidance', None)


def check_guidance(decoder: Any, text: Any) -> None:
    """Raise `InputError` where a text tower does not give the tokens that a decoder is guided by."""
    asked = get_guidance(decoder)
    given = text.guidance if text is not None else None
    if asked is None or text is None:
        if asked is not None and asked.default is not None:
            raise InputError('`default` is a text, and there is no text tower that reads it. Add `text`, or leave it '
                             'out.', 'decoder.guidance')
        return
    if given is None or (given.length, given.width) != (asked.length, asked.width):
        what = f'{given.length} tokens of width {given.width} a text' if given else 'no tokens'
        raise InputError(f'the decoder is guided by {asked.length} tokens of width {asked.width} a text, and '
                         f'{type(text).__name__} gives {what}. Make them agree.', 'decoder.guidance')


def find_guidance(decoder: Any, text: Any, texts: str | Sequence[str] | Tensor | None, batch: int) -> Tensor | None:
    """Return the text tokens [B,L,W] for a batch of images; None where the decoder takes none.

    Args:
        decoder, text: of the tokenizer.
        texts: a text for each image (a string where there is one image), their ids [B,L] or their tokens [B,L,W]; None
            takes the decoder's default text, where it has one.
        batch: number of images.

    Raises:
        InputError: texts for a decoder that takes none, no texts for one that needs them, other numbers of them.
    """
    asked = get_guidance(decoder)
    if asked is None:
        if texts is not None:
            raise InputError('texts came, but the decoder is not guided by texts. Leave them out.', 'texts')
        return None
    if texts is None:
        if asked.default is None:
            raise InputError('the decoder is guided by texts, and none came. Give one for each image, or set '
                             '`guidance.default` of the decoder to the text that stands for none.', 'texts')
        texts = [asked.default] * batch
    if isinstance(texts, Tensor) and texts.is_floating_point():
        return texts
    if text is None:
        raise InputError('this tokenizer has no text tower that reads texts for its decoder. Give the tokens '
                         f'[B, {asked.length}, {asked.width}] of the tower that it was trained with.', 'texts')
    ids = text.ids(texts)
    if len(ids) != batch:
        raise InputError(f'{len(ids)} texts came for {batch} images; expected one for each.', 'texts')
    return text.tokens(ids)
