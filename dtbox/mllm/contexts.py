"""What a generation starts from: a sequence of text ids and of images that are known, one for each row of a batch.

Rows of different lengths are padded on the left, so that all end at the same place. Positions do not count padding, and
no place attends to it.

Legend: B rows, L places of the longest, M images of a row, N visual places of an image, Q codes of a place.
"""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from dtbox.mllm.sequences.rendered import Rendered
from dtbox.sequence_batch import SequenceBatch


@dataclass(frozen=True)
class Context:
    """One row.

    Attributes:
        ids: [L] int64; `<image>` at visual places.
        visual: [L] int64: -1, or m * N + n, which is place n of the row's image m.
        codes: stream -> [M,N,Q] of its images, on the CPU; {} where it has none.
    """
    ids: np.ndarray
    visual: np.ndarray
    codes: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of_text(cls, ids: Sequence[int]) -> Context:
        """Return a context without images."""
        return cls(np.asarray(ids, np.int64), np.full(len(ids), -1, np.int64))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def images(self) -> int:
        """Number M of images."""
        return len(next(iter(self.codes.values()))) if self.codes else 0

    def add_text(self, ids: Sequence[int]) -> Context:
        """Return the context with more text after it."""
        more = Context.of_text(ids)
        return replace(self, ids=np.concatenate([self.ids, more.ids]),
                       visual=np.concatenate([self.visual, more.visual]))

    def add_image(self, codes: Mapping[str, Tensor], mark: int) -> Context:
        """Return the context with an image after it.

        Args:
            codes: stream -> [N,Q].
            mark: id of `<image>`.
        """
        places = len(next(iter(codes.values())))
        joined = {name: torch.cat([*([self.codes[name]] if self.codes else []), value[None].cpu()])
                  for name, value in codes.items()}
        return Context(np.concatenate([self.ids, np.full(places, mark, np.int64)]),
                       np.concatenate([self.visual, np.arange(places) + self.images * places]), joined)


def take_context(rendered: Rendered, codes: Mapping[str, Tensor]) -> Context:
    """Return the context of a rendered prompt.

    Args:
        rendered: one segment, whose `visual` counts the images of `codes`.
        codes: stream -> [M,N,Q] of more images than it shows, as those of a batch.
    """
    places = next(iter(codes.values())).shape[1] if codes else 1
    shown = np.unique(rendered.visual[rendered.visual >= 0] // places)
    number = np.searchsorted(shown, np.maximum(rendered.visual, 0) // places)
    visual = np.where(rendered.visual >= 0, number * places + rendered.visual % places, -1)
    return Context(rendered.ids, visual, {name: value[shown].cpu() for name, value in codes.items()} if len(shown)
                   else {})


def join_contexts(model: Any, contexts: Sequence[Context]) -> SequenceBatch:
    """Return the contexts as one SequenceBatch [B,L] on the model's device, padded on the left, without targets.

    Args:
        model: MultimodalLM.
        contexts: B rows.
    """
    rows, first = [], 0
    for i, context in enumerate(contexts):
        visual = np.where(context.visual >= 0, context.visual + first * model.places, -1)
        none, zero = np.zeros(len(context), bool), np.zeros(len(context), np.int64)
        rows.append([(i, Rendered('', context.ids, visual, none, np.arange(len(context)), zero, none))])
        first += context.images
    shown = [context.codes for context in contexts if context.codes]
    codes = {name: torch.cat([codes[name] for codes in shown]) for name in (shown[0] if shown else ())}
    return model.sequence.assemble(rows, codes, side='left').to(model.device)
