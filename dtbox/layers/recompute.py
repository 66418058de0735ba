"""Activation checkpointing: run a part that way, and tell a recomputed forward from the first one."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_backward() -> bool:
    """Whether the code runs inside a backward pass, as recomputed forwards of activation checkpointing do."""
    return torch._C._current_graph_task_id() != -1


def run(block: Callable[[Tensor], Tensor], x: Tensor, recompute: bool) -> Tensor:
    """Apply `block` to `x`; with `recompute` its activations are dropped and computed again in the backward pass."""
    if recompute and x.requires_grad:
        return checkpoint(block, x, use_reentrant=False)
    return block(x)
