"""Which ids may be drawn: temperature, then top-k, then top-p, in float32.

Legend: R rows, K ids.
"""
from __future__ import annotations

import torch
from torch import Tensor

from dtbox.sampling.rule import Choice


def filter_logits(logits: Tensor, choice: Choice) -> Tensor:
    """Logits [R,K] -> float32 [R,K], minus infinity where an id may not be drawn; at least one id of a row remains.

    Where the choice is greedy, only the first of the largest logits remains.
    """
    logits = logits.float()
    if choice.greedy:
        return keep_only(logits, logits.argmax(-1, keepdim=True))
    if choice.temperature != 1:
        # the largest becomes 0, so that a tiny temperature gives no infinity
        logits = (logits - logits.amax(-1, keepdim=True)) / choice.temperature
    if choice.top_k is not None:
        logits = keep_top_k(logits, choice.top_k)
    if choice.top_p is not None:
        logits = keep_top_p(logits, choice.top_p)
    return logits


def keep_only(logits: Tensor, index: Tensor) -> Tensor:
    """Return logits [R,K] with minus infinity everywhere but at index [R,n]."""
    return torch.full_like(logits, float('-inf')).scatter_(-1, index, logits.gather(-1, index))


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Return logits [R,K] of which the k largest remain, exactly k also where some are equal."""
    return logits if k >= logits.shape[-1] else keep_only(logits, logits.topk(k, -1).indices)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Return logits [R,K] of which the most probable remain until their sum reaches p, the one that crosses p
    included."""
    ordered, index = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(-1)
    drop = probabilities.cumsum(-1) - probabilities >= p  # of the first one 0, so that it stays
    return logits.masked_fill(torch.zeros_like(drop).scatter_(-1, index, drop), float('-inf'))
