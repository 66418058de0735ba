"""Where a table starts: from vectors of the first steps, or from another checkpoint.

A start from data happens in the first commit (in the first but `delay` ones), with vectors of the global batch that are
the same on every rank.

Legend: M vectors, K codes, C code width.
"""
from __future__ import annotations

import torch
from torch import Tensor

from dtbox.errors import InputError, closest
from dtbox.quantizers.base import check_sizes
from dtbox.quantizers.codebooks.vectors import draw, statistics
from dtbox.quantizers.search import nearest_codes
from dtbox.registry import STARTS
from dtbox.values import Depth


@STARTS.register_module()
class SampleStart:
    """Start from vectors of the first batch, drawn without repetition where there are enough.

    Args:
        limit: most vectors to draw from.
    """
    needs_data = True

    def __init__(self, limit: int = 65536) -> None:
        check_sizes(limit=limit)
        self.limit = limit

    def __call__(self, vectors: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """vectors [M, C] -> table [K, C] and the vectors of each row [K]."""
        picks, noise = draw(len(vectors), size, vectors.shape[1], generator)
        table = vectors[picks.to(vectors.device)] + noise.to(vectors.device)
        return table, statistics(vectors, nearest_codes(vectors, table), size)[0]


@STARTS.register_module()
class KMeansStart(SampleStart):
    """Start from the k-means of the first batch (SoundStream, arXiv 2107.03312, section III-C).

    Args:
        iters: Lloyd iterations from drawn vectors; a row that loses all its vectors stays where it is.
        limit: most vectors to cluster.
    """

    def __init__(self, iters: Depth = 10, limit: int = 65536) -> None:
        super().__init__(limit)
        check_sizes(iters=iters)
        self.iters = iters

    def __call__(self, vectors: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """vectors [M, C] -> table [K, C] and the vectors of each row [K]."""
        table, _ = super().__call__(vectors, size, generator)
        for _ in range(self.iters):
            count, total = statistics(vectors, nearest_codes(vectors, table), size)
            table = torch.where(count[:, None] > 0, total / count[:, None].clamp_min(1), table)
        return table, statistics(vectors, nearest_codes(vectors, table), size)[0]


@STARTS.register_module()
class CheckpointStart:
    """Start from the table of another checkpoint, read before training (not when a run is opened or resumed).

    Args:
        file: checkpoint, safetensors file or `dtbox://` name.
        key: name of the table in it, such as 'tokenizer.vocabularies.pixel.quantizer.codebooks.0.weight'. The averaged
            counts (`cluster_size`) that stand beside it are taken, too, so that its codes do not restart at once.
    """
    needs_data = False

    def __init__(self, file: str, key: str) -> None:
        self.file, self.key = file, key

    def load(self, size: int, dim: int) -> tuple[Tensor, Tensor | None]:
        """Return the table [K, C] and the averaged counts [K] beside it (None without); `InputError` where it is not
        there or does not fit."""
        from dtbox.weights.entries import strip_name
        from dtbox.weights.state_dicts import load_state
        state = load_state(self.file)
        key = self.key if self.key in state else strip_name(self.key)
        if key not in state:
            raise InputError(f'{self.file} has no `{self.key}`.{closest(self.key, state)}', 'start.key')
        table = state[key]
        if tuple(table.shape) != (size, dim):
            raise InputError(f'`{self.key}` of {self.file} is {list(table.shape)}; this codebook is [{size}, {dim}].',
                             'start')
        counts = state.get(key.removesuffix('weight') + 'cluster_size')
        return table.float(), counts.float() if counts is not None and len(counts) == size else None
