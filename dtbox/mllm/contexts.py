"""What a generation starts from: a sequence of text ids and of images that are known, one for each row of a batch.

Rows of different lengths are padded on the left, so that all end at the same place. Positions do not count padding, and
no place attends to it.

Legend: B rows, L places of the longest, M images of a row, N visual places of an image, Q codes of a place.
"""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Mapping, Sequence

import torch
from torch import Tensor

from dtbox.sequence_batch import SequenceBatch


@dataclass(frozen=True)
class Context:
    """One row.

    Attributes:
        ids: [L] int64; `<image>` at visual places.
        visual: [L] int64: -1, or m * N + n, which is place n of the row's image m.
        codes: stream -> [M,N,Q] of its images; {} where it has none.
    """
    ids: Tensor
    visual: Tensor
    codes: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of_text(cls, ids: Sequence[int] | Tensor) -> Context:
        """Return a context without images."""
        ids = torch.as_tensor(ids, dtype=torch.int64)
        return cls(ids, torch.full_like(ids, -1))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def images(self) -> int:
        """Number M of images."""
        return len(next(iter(self.codes.values()))) if self.codes else 0

    def add_text(self, ids: Sequence[int]) -> Context:
        """Return the context with more text after it."""
        more = torch.as_tensor(list(ids), dtype=torch.int64)
        return replace(self, ids=torch.cat([self.ids, more]), visual=torch.cat([self.visual, torch.full_like(more, -1)]))

    def add_image(self, codes: Mapping[str, Tensor], mark: int) -> Context:
        """Return the context with an image after it.

        Args:
            codes: stream -> [N,Q].
            mark: id of `<image>`.
        """
        places = len(next(iter(codes.values())))
        visual = torch.arange(places) + self.images * places
        joined = {name: torch.cat([*([self.codes[name]] if self.codes else []), value[None].cpu()])
                  for name, value in codes.items()}
        return Context(torch.cat([self.ids, torch.full((places,), mark, dtype=torch.int64)]),
                       torch.cat([self.visual, visual]), joined)


def join_contexts(contexts: Sequence[Context], pad: int, device: torch.device | str = 'cpu') -> SequenceBatch:
    """Return the contexts as one SequenceBatch [B,L], padded on the left, without targets.

    Args:
        contexts: B rows.
        pad: id of `<pad>`.
        device: of the result.
    """
    length = max(map(len, contexts))
    size = (len(contexts), length)
    ids, visual = torch.full(size, pad, dtype=torch.int64), torch.full(size, -1, dtype=torch.int64)
    position, sample = torch.zeros(size, dtype=torch.int64), torch.full(size, -1, dtype=torch.int64)
    first = 0
    for row, context in enumerate(contexts):
        start = length - len(context)
        ids[row, start:] = context.ids
        places = context.visual
        count = 0 if not context.codes else next(iter(context.codes.values())).shape[:2].numel()
        visual[row, start:] = torch.where(places >= 0, places + first, places)
        first += count
        position[row, start:] = torch.arange(len(context))
        sample[row, start:] = 0
    names = next((list(context.codes) for context in contexts if context.codes), [])
    codes = {name: torch.cat([context.codes[name] for context in contexts if context.codes]) for name in names}
    none = torch.zeros(size, dtype=torch.bool)
    batch = SequenceBatch(ids=ids, visual=visual, codes=codes, position=position, segment=sample, sample=sample,
                          prefix=none, text_target=torch.full(size, -100, dtype=torch.int64), visual_target=none,
                          need_mask=bool((sample < 0).any()))
    return batch.to(device)
