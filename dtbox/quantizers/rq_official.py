"""The codebook updates of the published DualToken quantizers, to match its training exactly.

They rewrite the table inside a training forward, on purpose, and so break the contract that only `commit()` changes
state: not for activation checkpointing, gradient accumulation or skipped steps. Two variants:

- `rq` (pixel): after each depth, from that depth's residuals; the looked-up row is still the old one, the next depth
  already searches the new table. The effective decay per step is decay^Q.
- `rq_ema` (semantic): once after all depths; every depth's code is credited with the *final* residual, an oversight of
  the published code that its training nevertheless contains.
"""
from __future__ import annotations

import torch
from torch import Tensor

from dtbox import distributed
from dtbox.quantizers.codebooks import EMACodebook, smoothed, statistics

VARIANTS = ('rq', 'rq_ema')


def update_after_depth(book: EMACodebook, residual: Tensor, codes: Tensor) -> None:
    """Variant `rq`: one update from residual [B,N,C] and codes [B,N] of one depth."""
    _update(book, residual.flatten(0, 1), codes.flatten())


def update_after_forward(book: EMACodebook, final_residual: Tensor, codes_q: list[Tensor]) -> None:
    """Variant `rq_ema`: one update from the final residual [B,N,C], once for each depth's codes (list of [B,N])."""
    vectors = final_residual.flatten(0, 1).repeat(len(codes_q), 1)
    _update(book, vectors, torch.stack(codes_q).flatten())


@torch.no_grad()
def _update(book: EMACodebook, vectors: Tensor, codes: Tensor) -> None:
    count, total = statistics(vectors, codes, book.size)
    distributed.sum_in_place(count, total)
    book.cluster_size.mul_(book.decay).add_(count, alpha=1 - book.decay)
    book.embed_sum.mul_(book.decay).add_(total, alpha=1 - book.decay)
    if book.restart > 0:
        _restart(book, vectors)
    book.weight.copy_(smoothed(book.cluster_size, book.embed_sum, book.eps))
    book.updates += 1


def _restart(book: EMACodebook, vectors: Tensor) -> None:
    """Replace codes whose averaged count is under the threshold by random vectors of this rank 0's call."""
    if not len(vectors):  # an empty batch has no candidates: rows of the table stand in
        vectors = book.weight.clone()
    if len(vectors) < book.size:
        vectors = vectors.repeat(-(-book.size // len(vectors)), 1)
        vectors = vectors + torch.rand_like(vectors) * 0.01 / vectors.shape[1] ** 0.5
    rows = vectors[torch.randperm(len(vectors), device=vectors.device)][:book.size].contiguous()
    distributed.broadcast_in_place(rows)
    alive = (book.cluster_size >= book.restart).to(rows.dtype)
    book.embed_sum.mul_(alive[:, None]).add_(rows * (1 - alive)[:, None])
    book.cluster_size.mul_(alive).add_(1 - alive)
