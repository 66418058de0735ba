"""The tokenizer's own features as inputs, behind its post-projection, as UniTok's language model reads them (arXiv
2502.20321).

A post-projection lets a place see others, so this embedding is not token-local; one that is not causal is of use for
understanding alone (`check_causal`). While images are written the features are computed again over all places so far.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.code_tables import CodeTables
from dtbox.layers.causal_block import make_mlp
from dtbox.registry import VISUAL_EMBEDDINGS
from dtbox.values import Positive
from dtbox.visual_embeddings.base import VisualEmbedding


class Written:
    """Codes of the places so far, stream -> [B,N,Q], zeros from place `count` on."""

    def __init__(self, codes: dict[str, Tensor]) -> None:
        self.codes, self.count = codes, 0


@VISUAL_EMBEDDINGS.register_module()
class FeaturesEmbedding(VisualEmbedding):
    """Features of the tokenizer, each stream through its own LayerNorm, concatenated, through an MLP (arXiv
    2502.20321).

    Args:
        tables: rows of the codes; filled in by the model.
        width: H of the language model; filled in by the model.
        features: codes, stream -> [M,N,Q] -> features, stream -> [M,N,D]; the frozen tokenizer's, filled in by the
            model.
        streams: which streams are read; None for all.
        hidden: inner width of the MLP; None takes H.
    """
    example = {}
    token_local = False

    def __init__(self, tables: CodeTables, width: int, features: Callable[[dict[str, Tensor]], Mapping[str, Tensor]],
                 streams: Sequence[str] | None = None, hidden: Positive | None = None) -> None:
        super().__init__(tables, width, streams)
        self._features = [features]  # in a list: the tokenizer's weights are not those of this module
        widths = [value.shape[-1] for value in self._read(self._zeros(1)).values()]
        self.norms = nn.ModuleList(nn.LayerNorm(dim, eps=1e-6) for dim in widths)
        self.mlp = make_mlp(sum(widths), hidden or width, width)

    def _zeros(self, batch: int) -> dict[str, Tensor]:
        device = self.tables.scaling(self.names[0]).device
        return {name: torch.zeros(batch, self.tables.places, len(self.tables.sizes[name]), dtype=torch.long,
                                  device=device) for name in self.names}

    @torch.no_grad()
    def _read(self, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        features = self._features[0]({name: codes[name] for name in self.names})
        return {name: features[name] for name in self.names}

    def read(self, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See VisualEmbedding: normed features. All N places of an image are needed, and none of their cells is
        empty."""
        return {name: norm(value) for norm, (name, value) in zip(self.norms, self._read(codes).items())}

    def join(self, parts: Mapping[str, Tensor]) -> Tensor:
        """See VisualEmbedding."""
        return self.mlp(torch.cat([parts[name] for name in self.names], -1))

    def make_cache(self, batch: int) -> Written:
        """Return room for the codes of `batch` images."""
        return Written(self._zeros(batch))

    def step(self, codes: Mapping[str, Tensor], cache: Any = None) -> Tensor:
        """See VisualEmbedding; `cache` is what `make_cache` returned."""
        self.check(codes)
        place = cache.count
        for name in self.names:
            cache.codes[name][:, place:place + 1] = codes[name]
        cache.count += 1
        return self(cache.codes)[:, place:place + 1]

    def explain_leak(self, place: int) -> str:
        """See VisualEmbedding."""
        return (f'the features of places before {place} change with the codes from {place} on: the post-projection of '
                'the tokenizer is not causal, so a model that is trained to write images would read what it predicts. '
                'Take a tokenizer whose `post_projection` has causal=True, or the embedding CodesEmbedding.')
