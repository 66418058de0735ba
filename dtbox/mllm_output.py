"""What a multimodal language model did with a batch of held-out samples: what metrics of it read.

Shapes: B samples, S sampling seeds, H and W pixels, Q codes per place.
"""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Tuple

from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.questions import Question


@dataclass(frozen=True)
class Reply:
    """An answer of the model beside the right one.

    Attributes:
        kind: name of the task: 'caption', 'skin_tone', ...; 'closed_loop' for the caption of the model's own drawing.
        question: what was asked.
        truth: right answer; of the closed loop the prompt of the drawing.
        reply: what the model said.
        others: further right answers (other captions of the image).
        asked: the Question of a benchmark that this answers; None for any other question. Its `truth` is '' where the
            file has no right answer.
    """
    kind: str
    question: str
    truth: str
    reply: str
    others: Tuple[str, ...] = ()
    asked: Question | None = None

    @property
    def truths(self) -> tuple[str, ...]:
        """Every right answer, `truth` first."""
        return self.truth, *self.others


@dataclass(frozen=True)
class MLLMOutput:
    """The counterpart of TokenizerOutput; what was not asked for is None or empty.

    Attributes:
        images: [B, 3, H, W] in [-1, 1], the real ones of the samples.
        reconstructions: [B, 3, H, W], the tokenizer's, nominally in [-1, 1].
        replies: of each sample; [] where nothing was asked.
        drawings: label of the way of sampling ('s=2') -> [B, S, 3, H, W], nominally in [-1, 1].
        prompts: what the drawings were asked for.
        nats: stream -> [B, Q], mean over places of -log p of the true codes of a depth, given the prompt.
        nats_without: the same, the prompt replaced by `<uncond>`.

    Raises:
        InputError: a field that does not have B entries.
    """
    images: Tensor
    reconstructions: Tensor | None = None
    replies: list[list[Reply]] = field(default_factory=list)
    drawings: dict[str, Tensor] = field(default_factory=dict)
    prompts: list[str] | None = None
    nats: dict[str, Tensor] = field(default_factory=dict)
    nats_without: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        size = len(self.images)
        parts: dict[str, Any] = dict(reconstructions=self.reconstructions, replies=self.replies or None,
                                     prompts=self.prompts)
        for name in ('drawings', 'nats', 'nats_without'):
            parts.update({f'{name} {label}': value for label, value in (getattr(self, name) or {}).items()})
        for name, value in parts.items():
            if value is not None and len(value) != size:
                raise InputError(f'an MLLMOutput of {format_count(size, "image")} has {len(value)} of {name}; '
                                 'expected one each.')

    def replace(self, **changes: Any) -> MLLMOutput:
        """Return a copy with some fields changed."""
        return replace(self, **changes)
