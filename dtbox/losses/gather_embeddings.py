"""Embeddings of all ranks, with gradients that return to the rank of each."""
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox import distributed


class _Gather(torch.autograd.Function):
    """[M,D], the same M on every rank -> [M * ranks, D]; backward sums the gradients of all ranks with respect to these
    rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        return torch.cat(distributed.gather_tensor(rows))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        distributed.sum_in_place(gradient)
        return gradient.chunk(distributed.get_world_size())[distributed.get_rank()]


def gather_embeddings(image: torch.Tensor, text: torch.Tensor,
                      words: list[str]) -> tuple[torch.Tensor, torch.Tensor, list[str], int]:
    """Join the embeddings of all ranks.

    Args:
        image, text: [B,E] of this rank; B may differ between ranks and may be 0.
        words: B texts.

    Returns:
        (images [G,E], texts [G,E], G texts, index of this rank's first row among the G).
    """
    if distributed.get_world_size() == 1:
        return image, text, list(words), 0
    parts = distributed.gather_objects(list(words))
    counts = [len(part) for part in parts]
    most = max(counts)
    rows = _Gather.apply(F.pad(torch.cat([image, text], 1), (0, 0, 0, most - len(image))))
    filled = torch.cat([torch.arange(n) + i * most for i, n in enumerate(counts)]).to(rows.device)
    images, texts = rows[filled].chunk(2, 1)
    return images, texts, [word for part in parts for word in part], sum(counts[:distributed.get_rank()])
