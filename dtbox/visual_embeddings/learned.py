"""Learned rows as inputs, as Liquid (arXiv 2412.04332), Emu3 (arXiv 2409.18869) and MusicGen (arXiv 2306.05284) have
them: what the tokenizer knows of its codes is learned anew."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.code_tables import CodeTables
from dtbox.registry import VISUAL_EMBEDDINGS
from dtbox.visual_embeddings.base import VisualEmbedding


@VISUAL_EMBEDDINGS.register_module()
class LearnedEmbedding(VisualEmbedding):
    """Sum over streams and depths of rows of learned tables, one row for each code and one for an empty cell (arXiv
    2306.05284).

    Args:
        tables: rows of the codes, of which only the sizes are read; filled in by the model.
        width: H of the language model; filled in by the model.
        streams: which streams are read; None for all.
    """
    example = {}

    def __init__(self, tables: CodeTables, width: int, streams: Sequence[str] | None = None) -> None:
        super().__init__(tables, width, streams)
        self.rows = nn.ParameterList(nn.Parameter(torch.randn(sum(tables.sizes[name]) + len(tables.sizes[name]), width)
                                                  * 0.02) for name in self.names)

    def read(self, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See VisualEmbedding: the sum of a stream's rows; an empty cell adds the row of empty cells of its depth."""
        parts = {}
        for name, rows in zip(self.names, self.rows):
            sizes = self.tables.sizes[name]
            # the row of a depth's empty cell stands before its first code, at EMPTY = -1
            starts = [depth + 1 + sum(sizes[:depth]) for depth in range(len(sizes))]
            flat = (codes[name] + torch.tensor(starts, device=rows.device)).flatten(0, 1)
            parts[name] = F.embedding_bag(flat, rows, mode='sum').unflatten(0, codes[name].shape[:2])
        return parts

    def join(self, parts: Mapping[str, Tensor]) -> Tensor:
        """See VisualEmbedding."""
        total = torch.zeros((), device=self.rows[0].device)
        for name in self.names:
            total = total + parts[name]
        return total
