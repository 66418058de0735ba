"""What evaluation sees of a TokenizerTask."""
from __future__ import annotations

from typing import Any, Sequence

from torch import Tensor, nn

from dtbox.evaluation.base import EvalContext
from dtbox.structures import Batch, TokenizerOutput
from dtbox.training.tokenizer_texts import read_evaluation_texts


def predict(task: nn.Module, batch: Batch) -> TokenizerOutput:
    """Return everything that metrics read of a prepared Batch: the tokenizer's output in float32, and the teacher's."""
    ids = read_evaluation_texts(task.tokenizer, batch)
    with task.autocast():
        outputs = to_float32(task.tokenizer(batch.images, ids))
    if task.teacher is not None:
        outputs = outputs.replace(teacher=task.teacher(batch.images))
    return outputs


def make_eval_context(task: nn.Module, classes: Sequence[str] | None) -> EvalContext:
    """Return the EvalContext of a TokenizerTask for data with these class names."""
    tokenizer, teacher = task.tokenizer, task.teacher
    can_read = tokenizer.text is not None and tokenizer.text.tokenizer is not None
    return EvalContext(
        classes=classes, embed_text=tokenizer.embed_text if can_read else None,
        teacher=teacher.pooled if teacher is not None else None,
        vocabularies={name: (len(stream.sizes), stream.sizes) for name, stream in tokenizer.streams.items()
                      if stream.sizes},
        pool_regions=dict(tokens=tokenizer.pool_regions if tokenizer.head is not None else None,
                          teacher=teacher.pool_regions if teacher is not None else None))


def to_float32(outputs: TokenizerOutput) -> TokenizerOutput:
    """Return a TokenizerOutput in float32, as metrics and the teacher read it, whatever an autocast made of it."""
    def convert(value: Any) -> Any:
        return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
    changes = {name: convert(getattr(outputs, name)) for name in ('reconstructions', 'pooled', 'last', 'text_pooled')}
    return outputs.replace(features={name: convert(value) for name, value in outputs.features.items()}, **changes)
