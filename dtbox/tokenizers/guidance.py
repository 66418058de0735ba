"""Texts that guide a decoder (TA-TiTok, arXiv 2501.07730): the codes do not depend on them, the images do.

Legend: B batch, L tokens of a text, W their width.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.structures import Guidance


def check_guidance(decoder: Any, text: Any) -> bool:
    """Return whether texts guide a decoder; `InputError` where its text tower does not give the tokens for that."""
    asked, given = getattr(decoder, 'guidance', None), getattr(text, 'guidance', None)
    if asked is None:
        return False
    if text is None:
        if asked.default is not None:
            raise InputError('`default` is a text, and there is no text tower that reads it. Add `text`, or leave it '
                             'out.', 'decoder.guidance')
    elif given is None or (given.length, given.width) != (asked.length, asked.width):
        what = f'{format_count(given.length, "token")} of width {given.width} a text' if given else 'no tokens'
        raise InputError(f'the decoder is guided by {format_count(asked.length, "token")} of width {asked.width} a '
                         f'text, and {type(text).__name__} gives {what}. Make them agree.', 'decoder.guidance')
    return True


def read_guiding_texts(tokenizer: Any, texts: Sequence[str] | None, keys: Sequence[str] | None = None) -> Tensor | None:
    """Return the ids [B,L] of the texts of images, for a decoder that they guide; None where there are none at all, and
    for other decoders.

    Args:
        tokenizer: VisualTokenizer.
        texts: one for each image; for '' the decoder's default text is taken.
        keys: names of the images, for messages.

    Raises:
        InputError: no text tower; an image without a text, and no default.
    """
    if texts is None or not tokenizer.guided:
        return None
    if tokenizer.text is None:
        raise InputError('texts guide the decoder, and this tokenizer has no text tower that reads them. Add `text` to '
                         'its config.', 'texts')
    default, missing = tokenizer.decoder.guidance.default, [i for i, text in enumerate(texts) if not text.strip()]
    if missing and default is None:
        name = keys[missing[0]] if keys else f'number {missing[0] + 1}'
        raise InputError(f'texts guide the decoder, and the image {name} has none. Give it one, leave it out, or set '
                         '`guidance.default` of the decoder to the text that stands for none.', 'texts')
    return tokenizer.text.ids([text if text.strip() else default for text in texts])


def run_decoder(decoder: Any, text: Any, features: Tensor, texts: str | Sequence[str] | Tensor | None) -> Tensor:
    """Run a decoder, with texts where they guide it.

    Args:
        decoder, text: of the tokenizer.
        features: [B,N,D].
        texts: a text for each image (a string where there is one image), their ids [B,L] or their tokens [B,L,W]; None
            takes the decoder's default text, where it has one.

    Returns:
        images [B,3,H,W].

    Raises:
        InputError: texts for a decoder that takes none, no texts for one that needs them, other numbers of them.
    """
    asked: Guidance | None = getattr(decoder, 'guidance', None)
    if asked is None:
        if texts is not None:
            raise InputError('texts came, but the decoder is not guided by texts. Leave them out.', 'texts')
        return decoder(features)
    if texts is None:
        if asked.default is None:
            raise InputError('the decoder is guided by texts, and none came. Give one for each image, or set '
                             '`guidance.default` of the decoder to the text that stands for none.', 'texts')
        texts = [asked.default] * features.shape[0]
    if isinstance(texts, Tensor) and texts.is_floating_point():
        return decoder(features, texts.to(features))
    if text is None:
        raise InputError('this tokenizer has no text tower that reads texts for its decoder. Give the tokens '
                         f'[B, {asked.length}, {asked.width}] of the tower that it was trained with.', 'texts')
    ids = text.ids(texts)
    if len(ids) != features.shape[0]:
        raise InputError(f'{format_count(len(ids), "text", "comes")} for '
                         f'{format_count(features.shape[0], "image")}; expected one for each.', 'texts')
    return decoder(features, text.tokens(ids).to(features))
