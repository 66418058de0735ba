"""What the checks of language models run on.

Legend: B rows, T places that come in, H width, V text ids.
"""
from __future__ import annotations

from typing import Sequence

import torch
from torch import Tensor

from dtbox.lms.base import LanguageModel
from dtbox.registry import LMS
from dtbox.testing.rank_group import Ranks
from dtbox.testing.subject import Subject, make_generator

T = 9
"""Places of the checks."""


class LanguageModelSubject(Subject):
    """A language model under test.

    Attributes:
        size: V.
    """
    registry, base = LMS, LanguageModel

    def __init__(self, cfg: dict, plugins: str | Sequence[str] = (), ranks: Ranks | None = None):
        super().__init__(cfg, plugins, ranks)
        self.size = self.build().vocab_size

    def ids(self, b: int = 3, t: int = T, seed: int = 0) -> Tensor:
        """Return text ids [B,T]."""
        return torch.randint(0, self.size, (b, t), generator=make_generator(seed))

    @staticmethod
    def run(lm: LanguageModel, ids: Tensor, first: int = 0, mask: Tensor | None = None, cache: object = None) -> Tensor:
        """Return the hidden states [B,T,H] of ids [B,T] at the positions from `first` on."""
        positions = torch.arange(first, first + ids.shape[1]).expand(ids.shape)
        return lm(lm.embed(ids), positions, mask, cache)


def make_causal(b: int, t: int) -> Tensor:
    """Return the causal mask bool [B,T,T]."""
    return torch.ones(b, t, t, dtype=torch.bool).tril()
