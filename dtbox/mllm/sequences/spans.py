"""Pieces of a rendered conversation, before they become places."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Tuple

from dtbox.conversations import ImagePart
from dtbox.errors import InputError
from dtbox.mllm.sequences.tokens import SequenceTokenizer


class Unusable(InputError):
    """A conversation that cannot become a sequence; it is counted and named, never skipped in silence.

    Args:
        key: of the conversation.
        reason: why, as the end of a sentence.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f'the conversation {key} {reason}')
        self.key, self.reason = key, reason


@dataclass(frozen=True)
class Span:
    """Ids in a row, or all places of one image.

    Attributes:
        ids: text ids; empty for an image.
        target: whether they are to be predicted.
        image: index of the image, or -1.
    """
    ids: Tuple[int, ...] = ()
    target: bool = False
    image: int = -1


def span_image(part: ImagePart, tokens: SequenceTokenizer, start_is_target: bool) -> list[Span]:
    """Return an image between its tokens.

    Args:
        part: the image.
        tokens: gives the ids around it.
        start_is_target: whether the start of a generated image is to be predicted, too; a given image has no target.
    """
    start, end = tokens.drawn if part.generated else tokens.given
    return [Span((start,), part.generated and start_is_target), Span((), part.generated, part.image),
            Span((end,), part.generated)]


def number_images(ids: Sequence[int], target: bool, images: Sequence[ImagePart], tokens: SequenceTokenizer,
                  start_is_target: bool) -> list[Span]:
    """Return ids in which each image is its three tokens as spans with the places of `images`, in order.

    Args:
        ids: with as many `<image>` as there are `images`.
        target: whether the text is to be predicted.
        images, tokens, start_is_target: as in `span_image`.
    """
    spans, at = [], 0
    left = list(images)
    for i, number in enumerate(ids):
        if number == tokens.image:
            spans += [Span(tuple(ids[at:i - 1]), target), *span_image(left.pop(0), tokens, start_is_target)]
            at = i + 2
    return [*spans, Span(tuple(ids[at:]), target)]
