"""Tokens of single regions of a image."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def find_tokens_inside(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """Say which tokens belong to which region: those of whose patch at least half does; where none, the one that the
    region covers most.

    Args:
        masks: bool [M, H, W], none empty.
        grid: (rows, columns) of the tokens.

    Returns:
        bool [M, N].
    """
    fraction = F.adaptive_avg_pool2d(masks.to(torch.float32)[:, None], grid).flatten(1)
    inside = fraction >= 0.5
    best = F.one_hot(fraction.argmax(1), fraction.shape[1]).bool()
    return torch.where(inside.any(1, keepdim=True), inside, best)


def pool_regions(tokens: Tensor, masks: Sequence[Tensor], grid: tuple[int, int],
                 pool: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Pool the tokens of each region as those of a whole image are pooled.

    Args:
        tokens: [B, N, D].
        masks: B tensors bool [M, H, W]; M may be 0 and differ.
        grid: (rows, columns) of the tokens.
        pool: callable [1, n, D] -> [1, E].

    Returns:
        list of B tensors [M, E].
    """
    embeddings = []
    for rows, mask in zip(tokens, masks):
        pooled = [pool(rows[None, inside])[0]
                  for inside in find_tokens_inside(mask.to(rows.device), grid)] if len(mask) else []
        embeddings.append(torch.stack(pooled) if pooled else rows.new_zeros(0, 0))
    return embeddings
