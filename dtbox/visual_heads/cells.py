"""What the delay and the flatten head share: linear classifiers on the state, and steps that hold some of the cells.

Legend: P target steps, H width of the language model, M images, N places, S steps of an image, Q codes per place
(depths), R rows that are drawn.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.code_tables import EMPTY, CodeTables
from dtbox.errors import InputError
from dtbox.sampling import Sampler
from dtbox.values import Positive
from dtbox.visual_heads.base import Classifiers, VisualHead


class CellsHead(VisualHead):
    """Base class of heads whose steps hold some of the cells of all streams.

    A subclass gives `expand`, and the rest follows: which cells a step holds, the number of steps, the inverse.

    Args:
        tables: rows of the codes; filled in by the model.
        width: H of the language model; filled in by the model.
        chunk: steps whose logits are held at once; None chooses.
        streams: which streams the head predicts; None for all.
    """
    example = {}

    def __init__(self, tables: CodeTables, width: int, chunk: Positive | None = None,
                 streams: Sequence[str] | None = None) -> None:
        super().__init__(tables, width, streams)
        self.chunk = chunk
        self.classifiers = nn.ModuleList(Classifiers(tables.sizes[name], width) for name in self.names)
        self._cells: dict[str, Tensor] | None = None

    @property
    def cells(self) -> dict[str, Tensor]:
        """Stream -> which cells each step holds, bool [S,Q]."""
        if self._cells is None:
            zeros = {name: torch.zeros(1, self.tables.places, depth, dtype=torch.long)
                     for name, depth in self.depths.items()}
            self._cells = {name: steps[0] != EMPTY for name, steps in self.expand(zeros).items()}
        return self._cells

    def count_steps(self) -> int:
        """See VisualHead."""
        return len(self.cells[self.names[0]])

    def _sum_losses(self, hidden: Tensor, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        sums = {}
        for name, classify in zip(self.names, self.classifiers):
            depths = []
            for depth in range(codes[name].shape[1]):
                # a step that holds few cells is not multiplied with the classifiers of the others
                live = (codes[name][:, depth] >= 0).nonzero()[:, 0]
                one = codes[name][live, depth:depth + 1]
                depths.append(classify.losses_at(depth, hidden[live], one, self.chunk))
            sums[name] = torch.cat(depths)
        return sums

    def _make_logits(self, hidden: Tensor, codes: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        return {name: [classify.logits(d, hidden) for d in range(self.depths[name])]
                for name, classify in zip(self.names, self.classifiers)}

    def _draw(self, hidden: Tensor, sampler: Sampler, step: int) -> dict[str, Tensor]:
        if not 0 <= step < self.count_steps():
            raise InputError(f'got the step {step}; an image has the steps 0 to {self.count_steps() - 1}.', 'step')
        drawn = {}
        for name, classify in zip(self.names, self.classifiers):
            drawn[name] = hidden.new_full((sampler.rows, self.depths[name]), EMPTY, dtype=torch.long)
            for depth, live in enumerate(self.cells[name][step].tolist()):
                if live:
                    drawn[name][:, depth] = sampler.draw(name, depth, classify.logits(depth, hidden))
        return drawn
