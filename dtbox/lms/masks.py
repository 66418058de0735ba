"""Masks as attention takes them.

Legend: B rows, T places that come in, S places that they may see.
"""
from __future__ import annotations

import torch
from torch import Tensor


def own_places(t: int, s: int, device: torch.device) -> Tensor:
    """Return bool [T,S]: True where a place meets itself; the T new places are the last of the S."""
    return torch.arange(s - t, s, device=device)[:, None] == torch.arange(s, device=device)


def allow_earlier(t: int, s: int, device: torch.device) -> Tensor:
    """Return bool [1,T,S]: True where a place meets itself or an earlier one; the T new places are the last of the
    S."""
    return (torch.arange(s - t, s, device=device)[:, None] >= torch.arange(s, device=device))[None]


def complete(mask: Tensor) -> Tensor:
    """Let each place that may see nothing see itself: bool [B,T,S] -> the same.

    Softmax over nothing is NaN, and a NaN of padding reaches every gradient.
    """
    t, s = mask.shape[1:]
    return mask | (own_places(t, s, mask.device) & ~mask.any(-1, keepdim=True))


def make_mask(mask: Tensor | None, t: int, s: int, device: torch.device, additive: torch.dtype | None) -> Tensor | None:
    """Return what the attention of `transformers` takes.

    Args:
        mask: bool [B,T,S], or None: each place sees itself and all before it.
        t, s: T and S.
        device: of the places.
        additive: None: the attention reads a bool mask, and T = S places without one are causal.
            A dtype: the attention adds the mask to its scores, and always gets one.

    Returns:
        [B,1,T,S], bool or of the dtype, or None where the attention needs none.
    """
    if mask is None:
        if additive is None and t in (1, s):
            return None
        # SDPA's own causal mask counts from the first of the S places; the T places are the last
        mask = allow_earlier(t, s, device)
    else:
        mask = complete(mask)
    mask = mask[:, None]
    if additive is None:
        return mask
    return torch.zeros(mask.shape, dtype=additive, device=device).masked_fill_(~mask, torch.finfo(additive).min)
