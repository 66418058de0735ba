"""Rows of the quantizer as inputs: the default, causal and in need of no cache.

    x(p) = W2 gelu(W1 [sum of the pixel rows / their deviation ; sum of the semantic rows / their deviation] + b1) + b2

Concatenated first, then projected, as in DualToken (arXiv 2503.14324); VILA-U (arXiv 2409.04429) feeds the sum of rows,
too.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dtbox.code_tables import CodeTables
from dtbox.layers.causal_block import make_mlp
from dtbox.registry import VISUAL_EMBEDDINGS
from dtbox.values import Positive
from dtbox.visual_embeddings.base import VisualEmbedding


@VISUAL_EMBEDDINGS.register_module()
class CodesEmbedding(VisualEmbedding):
    """Sum of the quantizer's frozen rows of each stream, concatenated, through an MLP, after arXiv 2503.14324.

    Args:
        tables: rows of the codes; filled in by the model.
        width: H of the language model; filled in by the model.
        streams: which streams are read; None for all.
        hidden: inner width of the MLP; None takes H.
    """
    example = {}

    def __init__(self, tables: CodeTables, width: int, streams: Sequence[str] | None = None,
                 hidden: Positive | None = None) -> None:
        super().__init__(tables, width, streams)
        self.mlp = make_mlp(sum(tables.widths[name] for name in self.names), hidden or width, width)

    def read(self, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See VisualEmbedding: the sum of the rows over the depths, over the deviation of the tables."""
        return {name: self.tables.rows(name, codes[name]).sum(-2) * self.tables.scaling(name) for name in self.names}

    def join(self, parts: Mapping[str, Tensor]) -> Tensor:
        """See VisualEmbedding."""
        return self.mlp(torch.cat([parts[name] for name in self.names], -1))
