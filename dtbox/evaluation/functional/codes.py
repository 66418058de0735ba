"""What a histogram of codes says about a codebook.

Shapes: K codebook size.
"""
from __future__ import annotations

import torch
from torch import Tensor

from dtbox.errors import InputError

DENSE = 1 << 20
"""Most codes whose histogram is a dense tensor; those of larger codebooks hold only what was seen."""


def count_codes(codes: Tensor, size: int) -> Tensor:
    """Count codes.

    Args:
        codes: int64 tensor of any shape, values in [0, K).
        size: number of codes K.

    Returns:
        histogram [K] int64; a sparse (COO) tensor where K is larger than `DENSE`.
    """
    codes = codes.flatten()
    if size <= DENSE:
        return torch.bincount(codes, minlength=size)
    seen, counts = codes.unique(return_counts=True)
    return torch.sparse_coo_tensor(seen[None], counts, (size,), is_coalesced=True, check_invariants=False)


def seen_counts(histogram: Tensor) -> Tensor:
    """histogram [K], dense or sparse -> how often each code that was seen was seen, float64."""
    histogram = torch.as_tensor(histogram)
    counts = (histogram.coalesce().values() if histogram.is_sparse else histogram).double()
    return counts[counts > 0]


def code_usage(histogram: Tensor) -> dict[str, float]:
    """Use of a codebook.

    Args:
        histogram: [K], how often each code was seen; dense or sparse.

    Returns:
        dict: `usage`, the fraction of codes seen at least once; `perplexity`, exp of the entropy (in nats) of the
        histogram, 1 to K: how many codes it would be if all were used alike; `dead`, the number of codes never seen.

    Raises:
        InputError: when nothing was counted.
    """
    histogram = torch.as_tensor(histogram)
    counts = seen_counts(histogram)
    total = counts.sum()
    if histogram.ndim != 1 or not total > 0:
        raise InputError('expected a histogram [K] with at least one code in it, '
                         f'got shape {list(histogram.shape)}, sum {total:g}.')
    entropy = torch.special.entr(counts / total).sum()
    return dict(usage=len(counts) / len(histogram), perplexity=entropy.exp().item(),
                dead=float(len(histogram) - len(counts)))
