"""What a histogram of codes says about a codebook.

Shapes: K codebook size.
"""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dtbox.arguments import FLOATS, WHOLE, read_arguments, read_count, read_tensor, read_whole
from dtbox.errors import InputError

DENSE = 1 << 20
"""Most codes whose histogram is a dense tensor; those of larger codebooks hold only what was seen."""


def _read_histogram(value: Any) -> Tensor:
    """Return counts, dense or sparse (COO), none below 0."""
    if isinstance(value, Tensor) and value.layout == torch.sparse_coo and not value.is_meta:
        values = read_tensor(value.coalesce().values(), (*WHOLE, *FLOATS))
        value = torch.sparse_coo_tensor(value.coalesce().indices(), values, value.shape, is_coalesced=True,
                                        check_invariants=False)
    else:
        value = values = read_tensor(value, (*WHOLE, *FLOATS), 'a tensor of counts')
    if values.numel() and not values.double().min() >= 0:
        raise InputError('got counts below 0, or NaN; expected how often each code was seen.')
    return value


@read_arguments(codes=read_whole, size=read_count())
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
        try:
            histogram = torch.bincount(codes, minlength=size)
        except RuntimeError:  # a negative code
            histogram = None
        if histogram is not None and len(histogram) == size:
            return histogram
        raise _outside(codes, size)
    seen, counts = codes.unique(return_counts=True)
    if len(seen) and not 0 <= seen[0] <= seen[-1] < size:
        raise _outside(codes, size)
    return torch.sparse_coo_tensor(seen[None], counts, (size,), is_coalesced=True, check_invariants=False)


def _outside(codes: Tensor, size: int) -> InputError:
    return InputError(f'codes reach from {int(codes.min())} to {int(codes.max())}; expected them from 0 to {size - 1}.')


@read_arguments(histogram=_read_histogram)
def seen_counts(histogram: Tensor) -> Tensor:
    """histogram [K], dense or sparse -> how often each code that was seen was seen, float64."""
    counts = (histogram.coalesce().values() if histogram.is_sparse else histogram).double()
    return counts[counts > 0]


@read_arguments(histogram=_read_histogram)
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
    counts = seen_counts(histogram)
    total = counts.sum()
    if histogram.ndim != 1 or not total > 0:
        raise InputError('expected as `histogram` counts [K] with at least one code in it, '
                         f'got shape {list(histogram.shape)}, sum {total:g}.')
    entropy = torch.special.entr(counts / total).sum()
    return dict(usage=len(counts) / len(histogram), perplexity=entropy.exp().item(),
                dead=float(len(histogram) - len(counts)))
