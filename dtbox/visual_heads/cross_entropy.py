"""Cross entropy of linear classifiers without keeping their logits.

The logits of a chunk of places are computed, turned into their gradient in place and multiplied into the gradients of
states and weights at once; then the next chunk takes their room. No classifier runs twice. The backward pass only
scales by what comes from above, one number a classifier, as each has its own weights.

Legend: P places, T classifiers (depths), W width, K classes.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = {'cpu': 2 ** 20}
"""Logits that are held at once where no chunk is given, by type of device."""
ELSEWHERE = 2 ** 27


def sum_cross_entropy(states: Tensor, weight: Tensor, targets: Tensor, sizes: Sequence[int],
                      chunk: int | None = None) -> Tensor:
    """Sum -log softmax(weight_t state_t)[target_t] over the places, for each classifier.

    Args:
        states: [P,T,W].
        weight: rows of all classifiers, one after the other, [sum K, W].
        targets: [P,T] int64; negative where there is no target.
        sizes: K of each of the T classifiers.
        chunk: places at a time; None chooses by the memory of the device.

    Returns:
        [T] float32, in nats.
    """
    if chunk is None:
        chunk = max(1, CHUNK.get(states.device.type, ELSEWHERE) // max(sizes))
    return _SumCrossEntropy.apply(states, weight, targets, tuple(sizes), chunk)


class _SumCrossEntropy(torch.autograd.Function):

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, targets: Tensor, sizes: tuple[int, ...],
                chunk: int) -> Tensor:
        ctx.sizes = sizes
        wanted = ctx.needs_input_grad[:2]
        d_states = torch.empty_like(states, memory_format=torch.contiguous_format) if wanted[0] else None
        d_weight = torch.zeros_like(weight) if wanted[1] else None
        sums = []
        start = 0
        for t, size in enumerate(sizes):
            rows = slice(start, start + size)
            start += size
            parts = []
            for i in range(0, len(states), chunk):
                here = slice(i, i + chunk)
                value, gradient = _chunk(states[here, t], weight[rows], targets[here, t], any(wanted))
                parts.append(value)
                if d_states is not None:
                    d_states[here, t] = gradient @ weight[rows]
                if d_weight is not None:
                    d_weight[rows].addmm_(gradient.T, states[here, t])
            sums.append(torch.stack(parts).sum() if parts else weight.new_zeros((), dtype=torch.float32))
        ctx.save_for_backward(d_states, d_weight)
        return torch.stack(sums)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        d_states, d_weight = ctx.saved_tensors
        if d_states is not None:
            d_states = d_states * above[:, None].to(d_states.dtype)
        if d_weight is not None:
            d_weight = d_weight * above.repeat_interleave(torch.tensor(ctx.sizes, device=above.device),
                                                          output_size=len(d_weight))[:, None].to(d_weight.dtype)
        return d_states, d_weight, None, None, None


def _chunk(states: Tensor, weight: Tensor, targets: Tensor, wanted: bool) -> tuple[Tensor, Tensor]:
    """Return the summed loss of places [P,W] and, where it is wanted, its gradient by the logits [P,K]."""
    logits = (states @ weight.T).float()
    live = (targets >= 0)[:, None]
    index = targets.clamp(min=0)[:, None]
    logits.sub_(logits.amax(1, keepdim=True))
    chosen = logits.gather(1, index)
    total = logits.exp_().sum(1, keepdim=True)
    loss = ((total.log() - chosen) * live).sum()
    if wanted:
        logits.mul_(live / total).scatter_add_(1, index, -live.to(logits.dtype))
    return loss, logits.to(weight.dtype)
