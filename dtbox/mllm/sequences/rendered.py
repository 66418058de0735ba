"""Rendered conversations: places with their ids, positions, segments and targets; rows of them; the batch.

Letters: T places, M images, N visual places of an image, Q codes of a place.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dtbox.mllm.sequences.spans import Span
from dtbox.sequence_batch import IGNORE, SequenceBatch


@dataclass(frozen=True)
class Rendered:
    """A conversation as T places.

    Attributes:
        key: of the conversation.
        ids: [T] int64, text ids; the id of `<image>` at visual places.
        visual: [T] int64: -1, or flat index m * N + n, place n of the image m of the batch.
        target: [T] bool, whether a place is to be predicted.
        position: [T] int64.
        segment: [T] int64, from 0.
        prefix: [T] bool, places of a shared prefix.
    """
    key: str
    ids: np.ndarray
    visual: np.ndarray
    target: np.ndarray
    position: np.ndarray
    segment: np.ndarray
    prefix: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def reach(self) -> int:
        """Places that the language model counts: the highest position and one."""
        return int(self.position.max(initial=-1)) + 1

    def cut(self, start: int, stop: int | None = None) -> Rendered:
        """Return the places from `start` to `stop`, their positions unchanged."""
        part = slice(start, stop)
        return replace(self, ids=self.ids[part], visual=self.visual[part], target=self.target[part],
                       position=self.position[part], segment=self.segment[part], prefix=self.prefix[part])


def lay_out(key: str, spans: Sequence[Span], places: int, image_id: int) -> Rendered:
    """Return spans as places in one segment from position 0; its first place is never a target.

    Args:
        key: of the conversation.
        spans: in order.
        places: N.
        image_id: id of `<image>`.
    """
    lengths = [places if span.image >= 0 else len(span.ids) for span in spans]
    ids, visual = np.full(sum(lengths), image_id, np.int64), np.full(sum(lengths), -1, np.int64)
    target, at = np.zeros(len(ids), bool), 0
    for span, length in zip(spans, lengths):
        part = slice(at, at + length)
        if span.image >= 0:
            visual[part] = np.arange(span.image * places, (span.image + 1) * places)
        else:
            ids[part] = span.ids
        target[part] = span.target
        at += length
    target[:1] = False
    return Rendered(key, ids, visual, target, np.arange(len(ids)), np.zeros(len(ids), np.int64),
                    np.zeros(len(ids), bool))


def join_questions(parts: Sequence[Rendered], prefix: int) -> Rendered:
    """Return conversations that share their first `prefix` places as one sample that holds these once, segment 0; what
    follows them in each is a segment of its own whose positions continue from the end of the prefix."""
    head = replace(parts[0].cut(0, prefix), prefix=np.ones(prefix, bool))
    pieces = [head] + [replace(tail, segment=tail.segment + 1 + i)
                       for i, tail in enumerate(part.cut(prefix) for part in parts)]
    joined = {name: np.concatenate([getattr(piece, name) for piece in pieces])
              for name in ('ids', 'visual', 'target', 'position', 'segment', 'prefix')}
    return Rendered(head.key, **joined)


def pack_rows(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Return the indices of samples in rows of at most `most` places: the longest first, each into the first row that
    has room for it, none divided.

    Args:
        lengths: places of each sample, each at most `most`.
        most: places of a row.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        row = next((r for r, free in enumerate(room) if free >= lengths[i]), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(most)
        rows[row].append(i)
        room[row] -= lengths[i]
    return rows


def assemble(rows: Sequence[Sequence[tuple[int, Rendered]]], codes: Mapping[str, Tensor], pad: int,
             side: str = 'right') -> SequenceBatch:
    """Put rows into a batch.

    Args:
        rows: of (index of the sample, sample) each, in order.
        codes: stream -> [M, N, Q].
        pad: id of padding.
        side: where padding goes, 'right' or, for prompts that generation continues, 'left'.
    """
    length = max((sum(len(sample) for _, sample in row) for row in rows), default=0)
    shape = len(rows), length
    ids, position = np.full(shape, pad, np.int64), np.zeros(shape, np.int64)
    visual, segment, number = (np.full(shape, -1, np.int64) for _ in range(3))
    prefix, target = np.zeros(shape, bool), np.zeros(shape, bool)
    for b, row in enumerate(rows):
        at = length - sum(len(sample) for _, sample in row) if side == 'left' else 0
        segments = 0
        for index, sample in row:
            part = slice(at, at + len(sample))
            ids[b, part], visual[b, part] = sample.ids, sample.visual
            position[b, part], segment[b, part] = sample.position, sample.segment + segments
            prefix[b, part], target[b, part] = sample.prefix, sample.target
            number[b, part] = index
            segments += int(sample.segment.max(initial=-1)) + 1
            at += len(sample)
    is_text = target & (visual < 0)
    padded_left = bool((number[:, :1] < 0).any())
    return SequenceBatch(
        ids=torch.from_numpy(ids), visual=torch.from_numpy(visual), codes=dict(codes),
        position=torch.from_numpy(position), segment=torch.from_numpy(segment), sample=torch.from_numpy(number),
        prefix=torch.from_numpy(prefix), text_target=torch.from_numpy(np.where(is_text, ids, IGNORE)),
        visual_target=torch.from_numpy(target & (visual >= 0)),
        need_mask=padded_left or bool(prefix.any()) or any(len(row) > 1 for row in rows))
