"""Vectors that codebooks collect: sums of each code, draws, and rows of the batch of all ranks.

Legend: M vectors, K codes, C code width, Q codes per token, B batch, N tokens, R rows.
"""
from __future__ import annotations

import torch
from torch import Tensor

from dtbox import distributed


def take_rows(vectors: Tensor, batches: list[int], picks: Tensor) -> Tensor:
    """Take vectors of the global batch by their place in it, the same on every rank.

    Args:
        vectors: this rank's [Q, B, N, C].
        batches: B of every rank.
        picks: [R] int64 places in [Q, sum of batches, N], flattened.

    Returns:
        [R, C].
    """
    _, _, tokens, dim = vectors.shape
    whole = sum(batches)
    rank = distributed.get_rank() if len(batches) > 1 else 0
    d, rest = picks // (whole * tokens), picks % (whole * tokens)
    b, n = rest // tokens - sum(batches[:rank]), rest % tokens
    mine = ((b >= 0) & (b < batches[rank])).nonzero().squeeze(1)
    rows, device = vectors.new_zeros(len(picks), dim), vectors.device
    rows[mine.to(device)] = vectors[d[mine].to(device), b[mine].to(device), n[mine].to(device)]
    if len(batches) > 1:
        distributed.sum_in_place(rows)
    return rows


def draw(candidates: int, wanted: int, dim: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pick candidates for dead codes.

    Without repetition where there are enough; otherwise they repeat, with one-sided noise U[0,1) * 0.01 / sqrt(C) that
    tells the copies apart (RQ-VAE's rule).

    Returns:
        picks [wanted] int64, noise [wanted, dim] (zeros where none is needed).
    """
    if candidates >= wanted:
        return torch.randperm(candidates, generator=generator)[:wanted], torch.zeros(wanted, dim)
    copies = -(-wanted // candidates)
    picks = torch.randperm(candidates * copies, generator=generator)[:wanted] % candidates
    return picks, torch.rand(wanted, dim, generator=generator) * 0.01 / dim ** 0.5


def statistics(vectors: Tensor, codes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Count and sum the vectors of each code, without a one-hot matrix.

    Args:
        vectors: [M, C] float32.
        codes: [M] int64.
        size: number of codes K.

    Returns:
        count [K], total [K, C], float32.
    """
    count = torch.bincount(codes, minlength=size).to(vectors.dtype)
    return count, vectors.new_zeros(size, vectors.shape[1]).index_add_(0, codes, vectors)
