"""One code a step, as in Chameleon (arXiv 2405.09818), Liquid (arXiv 2412.04332) and Emu3 (arXiv 2409.18869).

The sequence is that of `Tokenizer.flat_ids`. Which stream and depth a step holds is known from its number, so the
softmax runs over the K codes that can stand there and not, as in the papers, over text and all codes together. With
`LearnedEmbedding` every flat id has its own row, as there.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from dtbox.code_tables import EMPTY, CodeTables
from dtbox.layout import CodeOrder
from dtbox.registry import VISUAL_HEADS
from dtbox.values import Positive
from dtbox.visual_heads.cells import CellsHead


@VISUAL_HEADS.register_module()
class FlattenHead(CellsHead):
    """One linear classifier for each stream and depth; every code takes a step of its own (arXiv 2405.09818).

    Args:
        tables, width, chunk, streams: as of `DelayHead`.
        by: 'token': place after place, and at each the codes of one stream after the other; 'stream': one stream of
            the image after the other.
        stream_order: names of the streams, first to last; None takes the order of the tables.
    """

    def __init__(self, tables: CodeTables, width: int, chunk: Positive | None = None,
                 streams: Sequence[str] | None = None, by: Literal['token', 'stream'] = 'token',
                 stream_order: Sequence[str] | None = None) -> None:
        super().__init__(tables, width, chunk, streams)
        self.layout = tables.layout.select(self.names)
        self.order = CodeOrder(by, None if stream_order is None else tuple(stream_order))
        self.order.arrange(self.names)  # names every stream, or is refused

    def flat_ids(self, codes: Mapping[str, Tensor]) -> Tensor:
        """Codes of places [M,N,Q] -> flat ids [M,S] in the order of the steps."""
        return self.layout.flat_ids({name: codes[name] for name in self.names}, self.order)

    def expand(self, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See VisualHead; S = N times the sum of all Q."""
        ids = self.flat_ids(codes)[..., None]
        steps = {}
        for name, sizes in self._ranges():
            own = ids - torch.tensor(self.layout.offsets[name], device=ids.device)
            steps[name] = own.masked_fill((own < 0) | (own >= sizes.to(ids.device)), EMPTY)
        return steps

    def collapse(self, steps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See VisualHead."""
        ids = torch.zeros((), dtype=torch.long)
        for name, _ in self._ranges():
            own = steps[name] + torch.tensor(self.layout.offsets[name], device=steps[name].device)
            ids = ids.to(own.device) + own.masked_fill(steps[name] == EMPTY, 0).sum(-1)
        return self.layout.from_flat_ids(ids, order=self.order)

    def _ranges(self) -> list[tuple[str, Tensor]]:
        return [(name, torch.tensor(self.tables.sizes[name])) for name in self.names]
