"""What a step of MLLMTask does with batches: parts that are computed at a time, numbers of targets, weighted means.

Shapes: Q codes of a place.
"""
from __future__ import annotations

from dataclasses import replace
from typing import Any, Mapping, Sequence

import torch
from torch import Tensor

from dtbox import distributed
from dtbox.conversations import Conversation, ConversationBatch, Turn
from dtbox.errors import InputError, closest
from dtbox.mllm.model import TEXT
from dtbox.sequence_batch import IGNORE, SequenceBatch
from dtbox.training.parallel import is_sharded

SAMPLES = 'samples'
PARTS = 'parts'
REDUCTIONS = ('mean', 'sum')
NAMED = 5
"""Samples that a message names."""


def make_placeholder(size: Sequence[int]) -> ConversationBatch:
    """Return a batch of one text without targets; `size` is the (height, width) of images."""
    text = Conversation('placeholder', 'text', (Turn('assistant', ('?',)),))
    return ConversationBatch(torch.zeros(0, 3, *size, dtype=torch.uint8), [text], [''], [''], [(0, 0)],
                             placeholder=True)


def split(data: ConversationBatch, size: int | None) -> list[ConversationBatch]:
    """Return the batch in parts that are computed one after the other, each with its own images.

    Drawings, images with questions and everything else are parts of their own: their lengths are alike, and only those
    with a shared prefix need a mask.

    Args:
        data: the batch.
        size: most conversations of a part; None for any number.
    """
    kinds: dict[tuple[bool, bool], list[int]] = {}
    for row, conversation in enumerate(data.conversations):
        kinds.setdefault((conversation.shared_prefix, conversation.kind == 'draw'), []).append(row)
    size = size or max(len(data), 1)
    parts = [rows[first:first + size] for rows in kinds.values() for first in range(0, len(rows), size)]
    return [data] if len(parts) == 1 else [data.select(rows) for rows in parts]


def drop_targets(batch: SequenceBatch) -> SequenceBatch:
    """Return the batch without targets and samples; its places count as padding."""
    return replace(batch, sample=torch.full_like(batch.sample, -1),
                   text_target=torch.full_like(batch.text_target, IGNORE),
                   visual_target=torch.zeros_like(batch.visual_target))


def count_targets(batches: Sequence[SequenceBatch], sizes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Return the numbers of targets of a step, over all its parts and all ranks: `text` and `samples` scalars, stream
    -> [Q]; and `parts` [ranks], the parts of each rank. Steps of a visual head that hold no code of a depth (`EMPTY`)
    are no targets of it.

    Args:
        batches: parts of the step on this rank.
        sizes: stream -> codebook sizes of its Q depths.
    """
    counts = {TEXT: torch.zeros(()), SAMPLES: torch.zeros(()), PARTS: torch.zeros(distributed.get_world_size())}
    counts[PARTS][distributed.get_rank()] = len(batches)
    counts.update({name: torch.zeros(len(depths)) for name, depths in sizes.items()})
    for batch in batches:
        counts[TEXT] = counts[TEXT] + (batch.text_target[:, 1:] != IGNORE).sum().cpu()
        counts[SAMPLES] = counts[SAMPLES] + len(batch.sample[batch.sample >= 0].unique())
        places = batch.visual[:, 1:][batch.visual_target[:, 1:]]
        for name, codes in batch.codes.items():
            counts[name] = counts[name] + (codes.flatten(0, 1)[places] >= 0).sum(0).cpu()
    summed = distributed.sum_tensor(torch.cat([count.double().flatten() for count in counts.values()]))
    parts = summed.split([count.numel() for count in counts.values()])
    return {kind: part.reshape(count.shape) for (kind, count), part in zip(counts.items(), parts)}


@torch.no_grad()
def name_not_finite(model: Any, batch: SequenceBatch, keys: Sequence[str]) -> str:
    """Return a sentence on the samples whose inputs or, where all of these are finite, states are NaN or infinite; ''
    where all are finite. Of a sharded model, which one rank cannot run alone, it looks at inputs only.

    Args:
        model: MultimodalLM.
        batch: sequences.
        keys: of the conversations that `batch.sample` counts.
    """
    for find in (model.embed,) if any(map(is_sharded, model.parameters())) else (model.embed, model.run):
        wrong = batch.sample[~find(batch).isfinite().all(-1)]
        names = [keys[i] for i in wrong[wrong >= 0].unique().tolist()]
        if names:
            more = f' and {len(names) - NAMED} more' if len(names) > NAMED else ''
            return f' The states of {", ".join(names[:NAMED])}{more} are not finite.'
    return ''


class Weights:
    """The weighted sum of the losses of a multimodal language model.

    Args:
        model: MultimodalLM, whose streams have weights.
        weights: kind (`text`, or a stream) -> weight; 1 where nothing is said.
        depth_weights: stream -> weights of its Q depths; None weighs them equally.
        reduction: 'mean': of the mean of each kind, over targets and depths; 'sum': of all log-probabilities, divided
            by the samples.
    """

    def __init__(self, model: Any, weights: Mapping[str, float] | None = None,
                 depth_weights: Mapping[str, Sequence[float]] | None = None, reduction: str = 'mean') -> None:
        if reduction not in REDUCTIONS:
            raise InputError(f'`reduction` is {reduction!r}; expected one of {", ".join(REDUCTIONS)}.', 'reduction')
        kinds, sizes = [TEXT, *model.names], {name: len(model.tables.sizes[name]) for name in model.names}
        _check_names('weights', weights, kinds)
        _check_names('depth_weights', depth_weights, model.names)
        for name, values in (depth_weights or {}).items():
            if len(values) != sizes[name] or min(values) < 0 or not sum(values):
                raise InputError(f'`depth_weights` of `{name}` are {list(values)}; expected {sizes[name]} numbers, one '
                                 'a depth, none below 0 and not all 0.', f'depth_weights.{name}')
        self.mean = reduction == 'mean'
        self.weights = {kind: float((weights or {}).get(kind, 1.0)) for kind in kinds}
        self.depths = {name: torch.tensor((depth_weights or {}).get(name) or [1.0] * size)
                       for name, size in sizes.items()}

    def __call__(self, sums: Mapping[str, Tensor], counts: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (what is minimised, name -> logged term).

        Args:
            sums: as MultimodalLM's forward returns them, of a part of the step.
            counts: as `count_targets` returns them, of the whole step on all ranks.
        """
        total, terms = torch.zeros((), device=sums[TEXT].device), {}
        for kind, weight in self.weights.items():
            if kind not in sums:
                continue
            means = sums[kind].float() / counts[kind].to(sums[kind]).clamp(min=1)  # without targets the sum is 0
            terms[kind] = means.detach().mean()
            if kind != TEXT:
                terms.update({f'{kind}_{depth + 1}': value for depth, value in enumerate(means.detach())})
            total = total + weight * self._reduce(kind, sums[kind], means, counts)
        return total, terms

    def _reduce(self, kind: str, sums: Tensor, means: Tensor, counts: Mapping[str, Tensor]) -> Tensor:
        depths = self.depths.get(kind, torch.ones(())).to(sums.device)
        if self.mean:
            return (depths * means).sum() / depths.sum()
        return (depths * sums).sum() / counts[SAMPLES].to(sums).clamp(min=1)


def _check_names(key: str, given: Mapping[str, Any] | None, known: Sequence[str]) -> None:
    for name in given or {}:
        if name not in known:
            raise InputError(f'`{key}` names `{name}`.{closest(name, known)} There are: {", ".join(known)}.', key)
