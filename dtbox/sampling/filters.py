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
        largest = logits.argmax(-1, keepdim=True)
        return torch.full_like(logits, float('-inf')).scatter_(-1, largest, logits.gather(-1, largest))
    if choice.temperature != 1:
        # the largest becomes 0, so that a tiny temperature gives no infinity
        logits = (logits - logits.amax(-1, keepdim=True)) / choice.temperature
    size = logits.shape[-1]
    if choice.top_k is not None and choice.top_k < size:
        ordered, index = logits.topk(choice.top_k, -1)  # exactly so many, also where some are equal
    elif choice.top_p is not None:
        ordered, index = logits.sort(dim=-1, descending=True, stable=True)
    else:
        return logits
    if choice.top_p is not None:
        ordered = keep_top_p(ordered, choice.top_p)
    return torch.full_like(logits, float('-inf')).scatter_(-1, index, ordered)


def keep_top_p(ordered: Tensor, p: float) -> Tensor:
    """Return logits [R,n], the largest first, of which the first remain until their probabilities reach p, the one
    that crosses p included."""
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities  # of the first one 0, so that it stays
    return ordered.masked_fill(before >= p, float('-inf'))
