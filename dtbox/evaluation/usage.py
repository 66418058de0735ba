"""Which codes of each codebook are in use."""
from __future__ import annotations

import torch
from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.evaluation.base import Metric
from dtbox.evaluation.functional import code_usage, count_codes
from dtbox.evaluation.info import MetricInfo
from dtbox.registry import METRICS
from dtbox.structures import Batch, TokenizerOutput


@METRICS.register_module()
class CodeUsage(Metric):
    """`usage/NAME`, `perplexity/NAME`, `dead/NAME` of each vocabulary with its depths pooled, and `.../NAME/depthI` of
    each depth.

    Pooled means one histogram over the codes of all depths, as for a residual quantizer with a shared table; depths of
    different sizes are counted by id in the largest. See `functional.code_usage`. Sizes come from the context.
    """
    info = [MetricInfo('usage/{vocabulary}', 'codes in use', '', '.1%', 'higher', 'codes', order=1, headline=8),
            MetricInfo('perplexity/{vocabulary}', 'perplexity', '', '.1f', 'none', 'codes', order=2),
            MetricInfo('dead/{vocabulary}', 'dead codes', '', '.0f', 'none', 'codes', order=3)]
    requires = ('codes', 'context.vocabularies')

    def update(self, batch: Batch, outputs: TokenizerOutput) -> None:
        """See Metric."""
        for name, codes in outputs.codes.items():
            if name not in self.context.vocabularies:
                self.leave_out(f'the codebook sizes of `{name}` are not known', len(outputs.images))
                continue
            depths, sizes = self.context.vocabularies[name]
            if codes.shape[-1] != depths or len(sizes) != depths:
                raise InputError(f'vocabulary `{name}` has {format_count(depths, "code")} per token of sizes '
                                 f'{list(sizes)}, but its codes are {list(codes.shape)} ([B, N, Q]).')
            for depth, size in enumerate(sizes):
                self.add(f'{name}/depth{depth}', _count(codes[..., depth], size, name, depth))

    def histograms(self) -> dict[str, list[Tensor]]:
        """Return vocabulary -> list over depths of float64 counts [K], sparse for very large K; for plots."""
        histograms = {}
        for name, (depths, _) in self.context.vocabularies.items():
            if f'{name}/depth0' in self.state:
                histograms[name] = [self.state[f'{name}/depth{depth}'] for depth in range(depths)]
        return histograms

    def values(self) -> dict[str, float]:
        """See Metric."""
        values = {}
        for name, histograms in self.histograms().items():
            parts = [(name, pool(histograms)), *((f'{name}/depth{d}', h) for d, h in enumerate(histograms))]
            for where, histogram in parts:
                values.update({f'{what}/{where}': v for what, v in code_usage(histogram).items()})
        return values


def pool(histograms: list[Tensor]) -> Tensor:
    """Histograms [K] of several depths -> one over all of them, by id in the largest codebook."""
    size = max(len(h) for h in histograms)
    if any(h.is_sparse for h in histograms):
        parts = [(h if h.is_sparse else h.to_sparse()).coalesce() for h in histograms]
        indices, values = torch.cat([p.indices() for p in parts], 1), torch.cat([p.values() for p in parts])
        return torch.sparse_coo_tensor(indices, values, (size,), check_invariants=False).coalesce()
    pooled = torch.zeros(size, dtype=torch.float64)
    for histogram in histograms:
        pooled[:len(histogram)] += histogram
    return pooled


def _count(codes: Tensor, size: int, name: str, depth: int) -> Tensor:
    codes = codes.detach().flatten().cpu()
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= size:
        raise InputError(f'codes of `{name}` at depth {depth} must lie in 0..{size - 1}, got {low}..{high}.')
    return count_codes(codes, size)
