"""The codes of one place, one after the other: guidance, filters, a draw for each row.

Legend: R rows that are drawn, K codes.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dtbox.errors import InputError
from dtbox.sampling.draws import draw, draw_uniforms
from dtbox.sampling.guidance import Guidance
from dtbox.sampling.rule import SamplingRule


class Sampler:
    """Draws codes from logits of 2R rows under guidance (conditional rows first), of R rows without.

    All random numbers of a place are drawn when it begins, one for each cell, whatever is drawn with them and in which
    order: one rule moves a row's generator as far as another.

    Args:
        rule: how codes are drawn.
        guidance: None where there are no unconditional rows.
        generators: R generators, one for each row.
        depths: stream -> codes of the place.
        device: of the logits.
    """

    def __init__(self, rule: SamplingRule, guidance: Guidance | None, generators: Sequence[torch.Generator],
                 depths: Mapping[str, int], device: torch.device | str = 'cpu') -> None:
        self.rule, self.guidance = rule, guidance
        self.copies = 1 if guidance is None else 2
        self.rows = len(generators)
        cells = [(name, depth) for name, count in depths.items() for depth in range(count)]
        self._uniforms = dict(zip(cells, draw_uniforms(generators, len(cells), device).unbind(1)))

    def check(self, hidden: Tensor) -> None:
        """Raise `InputError` unless hidden states [copies x R, H] have the right number of rows."""
        if hidden.ndim != 2 or len(hidden) != self.copies * self.rows:
            kind = 'conditional and unconditional rows' if self.copies == 2 else 'rows'
            raise InputError(f'hidden states are {list(hidden.shape)} for {self.rows} generators; expected '
                             f'[{self.copies * self.rows}, H], {kind}.')

    def draw(self, name: str, depth: int, logits: Tensor) -> Tensor:
        """Logits [copies x R, K] of a stream's depth -> codes [R] int64."""
        if self.guidance is not None:
            logits = self.guidance.combine(name, logits)
        return draw(logits, self.rule.resolve(name, depth), self._uniforms[name, depth])

    def repeat(self, codes: Tensor) -> Tensor:
        """Codes [R, ...] -> [copies x R, ...]: the unconditional rows go on with the codes of the conditional ones."""
        return codes if self.copies == 1 else torch.cat([codes, codes])
