"""EvalContext: what metrics may read beside batches and outputs, and why a metric cannot measure without a part of
it."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from dtbox.structures import Batch, TokenizerOutput

REASONS = {
    'reconstructions': 'no reconstructions: nothing was decoded',
    'codes': 'no codes: nothing was encoded, or every vocabulary is continuous',
    'pooled': 'no pooled embedding of the tokens: the model has no head, or it did not run',
    'teacher.tokens': 'no teacher tokens to compare with',
    'teacher.pooled': 'no pooled embedding of a teacher',
    'batch.texts': 'the data has no texts',
    'batch.labels': 'the data has no labels',
    'replies': 'no replies: nothing was asked',
    'drawings': 'no drawings: nothing was drawn',
    'prompts': 'no prompts of drawings',
    'nats': 'no likelihood of the codes',
    'context.teacher': 'no teacher to embed the images',
    'context.classes': 'the data has no class names',
    'context.embed_text': 'no text tower to embed texts',
    'context.vocabularies': 'the sizes of the codebooks are not known',
    'context.bank': 'there are no training images to learn from: give data with a training part',
    'batch.regions': 'the data has no regions (masks of objects)',
}
"""Why a metric is absent, by the dotted name of what it lacks."""


@dataclass(frozen=True)
class EvalContext:
    """What metrics may need beside batches and outputs; all of it optional.

    Attributes:
        classes: names of the classes for zero-shot, by label.
        embed_text: list of T strings -> embeddings [T,E], normalised.
        teacher: images [B,3,H,W] in [-1, 1] -> the frozen teacher's pooled output [B,E], not normalised.
        vocabularies: name -> (Q, list of its Q codebook sizes).
        pool_regions: side (`tokens`, `teacher`) -> callable (last tokens of the side [B,P + N,D], B masks bool [M,H,W])
            -> list of B embeddings [M,E], or None.
        bank: callable without arguments -> Bank of the training images, embedded once when a metric first asks.
        stride: numbers of frames between neighbours of a video; None where it is not known.
        dump: folder for the images that metrics measure (see `dtbox.evaluation.dump`); None writes none.
    """
    classes: Sequence[str] | None = None
    embed_text: Callable[[list[str]], Tensor] | None = None
    teacher: Callable[[Tensor], Tensor] | None = None
    vocabularies: dict[str, tuple[int, list[int]]] = field(default_factory=dict)
    pool_regions: dict[str, Callable[[Tensor, list[Tensor]], list[Tensor]] | None] = field(default_factory=dict)
    bank: Callable[[], Any] | None = None
    stride: int | None = None
    dump: str | None = None


def find_missing(names: tuple[str, ...], outputs: TokenizerOutput, batch: Batch, context: EvalContext) -> str | None:
    """Return the first of some dotted names whose value is absent or empty, or None where all are there.

    Args:
        names: fields of TokenizerOutput (`teacher.tokens`), of the Batch (`batch.texts`), of the EvalContext
            (`context.classes`).
        outputs, batch, context: where they are looked up.
    """
    return next((name for name in names if _is_absent(_lookup(name, outputs, batch, context))), None)


def _lookup(name: str, outputs: TokenizerOutput, batch: Batch, context: EvalContext) -> Any:
    head, _, rest = name.partition('.')
    value, path = {'batch': (batch, rest), 'context': (context, rest)}.get(head, (outputs, name))
    for part in path.split('.'):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
    return value


def _is_absent(value: Any) -> bool:
    return value is None or (isinstance(value, (dict, list, tuple)) and not value)
