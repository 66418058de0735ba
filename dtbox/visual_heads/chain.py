"""A depth transformer: the codes of one place, one after the other, from the state of the language model.

    g   = Wb gelu(Wa h + ba) + bb
    a_t = the stream's rows up to step t, summed or concatenated, over the standard deviation of its tables
    u_1 = g + delta_1 (+ Ws a of each given stream);    u_t = Wc a_{t-1} + bc + delta_t
    v   = causal blocks over u_1 .. u_T;    logits_t = classifier_t norm(v_t)

After RQ-Transformer (arXiv 2203.01941) with the maps around it of VILA-U (arXiv 2409.04429). A chain holds the depths
of one stream, or of several streams one after the other; then the first depth of a later stream sees all rows of the
stream before it.

Legend: P places, H width of the language model, W width of the chain, T steps, Q depths, e width of a row, R rows that
are drawn.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.code_tables import CodeTables
from dtbox.layers.causal_block import CausalBlock, RMSNorm, make_mlp
from dtbox.layers.recompute import run
from dtbox.visual_heads.base import Classifiers


class DepthChain(nn.Module):
    """One depth transformer and its classifiers.

    Args:
        tables: rows of the codes.
        width: H.
        streams: whose codes it predicts, in this order.
        given: streams whose codes of the place are known before.
        inner: W.
        blocks, heads, dropout: of the transformer.
        concat: whether a_t holds the rows side by side instead of their sum.
        recompute: whether activations of a block are computed again in the backward pass.
    """

    def __init__(self, tables: CodeTables, width: int, streams: Sequence[str], given: Sequence[str], inner: int,
                 blocks: int, heads: int, dropout: float, concat: bool, recompute: bool) -> None:
        super().__init__()
        self.tables = tables
        self.concat, self.recompute = concat, recompute
        self.streams, self.given = list(streams), list(given)
        self.depths = {name: len(tables.sizes[name]) for name in (*streams, *given)}
        self.steps = [(name, depth) for name in streams for depth in range(self.depths[name])]
        self.hidden_in = make_mlp(width, inner, inner)
        readers = dict.fromkeys(name for name, _ in self.steps[:-1])
        self.code_in = nn.ModuleList(nn.Linear(self._row_width(name), inner) for name in readers)
        self.given_in = nn.ModuleList(nn.Linear(self._row_width(name), inner, bias=False) for name in given)
        self.position = nn.Parameter(torch.randn(len(self.steps), inner) * 0.02)
        self.blocks = nn.ModuleList(CausalBlock(inner, heads, dropout) for _ in range(blocks))
        self.norm = RMSNorm(inner)
        self.classifiers = nn.ModuleList(Classifiers(tables.sizes[name], inner) for name in streams)

    def _row_width(self, name: str) -> int:
        return self.tables.widths[name] * (self.depths[name] if self.concat else 1)

    def accumulate(self, name: str, codes: Tensor) -> Tensor:
        """Codes [P,Q] of a stream -> a_1 .. a_Q [P,Q,e], or [P,Q,Qe]."""
        rows = self.tables.rows(name, codes) * self.tables.scaling(name)
        if not self.concat:
            return rows.cumsum(1)
        depth = rows.shape[1]
        seen = torch.ones(depth, depth, dtype=torch.bool, device=rows.device).tril()
        return (rows[:, None] * seen[..., None]).flatten(2)

    def forward(self, hidden: Tensor, codes: Mapping[str, Tensor]) -> list[Tensor]:
        """Hidden [P,H], codes stream -> [P,Q] -> normed states [P,Q,W] of each stream of the chain."""
        first = self.hidden_in(hidden)
        for name, linear in zip(self.given, self.given_in):
            first = first + linear(self.accumulate(name, codes[name])[:, -1])
        parts = [first[:, None]]
        for name, linear in zip(self.streams, self.code_in):
            last = self.depths[name] - (name == self.streams[-1])
            parts.append(linear(self.accumulate(name, codes[name])[:, :last]))
        u = torch.cat(parts, 1) + self.position
        for block in self.blocks:
            u = run(block, u, self.recompute)
        return list(self.norm(u).split([self.depths[name] for name in self.streams], 1))

    def see(self, name: str, depth: int, codes: Tensor, seen: Tensor | None) -> Tensor:
        """a_{t-1} [R,e] (None at a stream's first depth) and codes [R] of a depth of that stream -> a_t."""
        row = self.tables.depth_rows(name, depth, codes) * self.tables.scaling(name)
        if not self.concat:
            return row if seen is None else seen + row
        wide = row.new_zeros(len(row), self._row_width(name)) if seen is None else seen
        width = row.shape[1]
        wide[:, depth * width:(depth + 1) * width] = row
        return wide
