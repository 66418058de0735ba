"""All codes of a place at once: MusicGen's parallel pattern (arXiv 2306.05284), and what multi-token prediction does.

    v_d = norm(Wb gelu(Wa h + ba) + bb + delta_d);    logits_d = classifier_d v_d

It is the depth transformer with zero blocks and h at every depth: codes of a place do not see one another.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.code_tables import CodeTables
from dtbox.layers.causal_block import RMSNorm, make_mlp
from dtbox.registry import VISUAL_HEADS
from dtbox.sampling import Sampler
from dtbox.values import Positive
from dtbox.visual_heads.base import Classifiers, VisualHead


class ParallelStream(nn.Module):
    """States of one stream.

    Args:
        width: H.
        inner: W.
        sizes: K of each depth.
    """

    def __init__(self, width: int, inner: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.hidden_in = make_mlp(width, inner, inner)
        self.position = nn.Parameter(torch.randn(len(sizes), inner) * 0.02)
        self.norm = RMSNorm(inner)
        self.classifiers = Classifiers(sizes, inner)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden [P,H] -> normed states [P,Q,W]."""
        return self.norm(self.hidden_in(hidden)[:, None] + self.position)


@VISUAL_HEADS.register_module()
class ParallelHead(VisualHead):
    """An MLP, and one classifier for each stream and depth, all at once (arXiv 2306.05284).

    Args:
        tables: rows of the codes; filled in by the model.
        width: H of the language model; filled in by the model.
        inner: width W of the states.
        chunk: places whose logits are held at once; None chooses.
        streams: which streams the head predicts; None for all.
    """
    example = dict(inner=16)

    def __init__(self, tables: CodeTables, width: int, inner: Positive = 512, chunk: Positive | None = None,
                 streams: Sequence[str] | None = None) -> None:
        super().__init__(tables, width, streams)
        self.chunk = chunk
        self.parts = nn.ModuleList(ParallelStream(width, inner, tables.sizes[name]) for name in self.names)

    def _sum_losses(self, hidden: Tensor, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: part.classifiers.losses(part(hidden), codes[name], self.chunk)
                for name, part in zip(self.names, self.parts)}

    def _make_logits(self, hidden: Tensor, codes: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        logits = {}
        for name, part in zip(self.names, self.parts):
            states = part(hidden)
            logits[name] = [part.classifiers.logits(d, states[:, d]) for d in range(states.shape[1])]
        return logits

    def _draw(self, hidden: Tensor, sampler: Sampler, step: int) -> dict[str, Tensor]:
        return {name: torch.stack([sampler.draw(name, d, one) for d, one in enumerate(logits)], 1)
                for name, logits in self._make_logits(hidden, {}).items()}
