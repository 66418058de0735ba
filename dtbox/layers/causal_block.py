"""A causal transformer block over a few vectors, and the two-layer MLP in front of it.

Pre-norm, RMSNorm (arXiv 1910.07467), attention without positions, SwiGLU of width 8/3 (arXiv 2002.05202), no biases.
The sequences are short (the depths of one place) and many, so attention is written as matrix products: for 4 vectors
that takes two thirds of the time of a fused kernel on a CPU.

Legend: P sequences, T vectors of a sequence, W width, A heads, V width of a head.
"""
from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.errors import InputError

EPSILON = 1e-6


def make_mlp(in_dim: int, hidden: int, out_dim: int) -> nn.Sequential:
    """Return linear, gelu, linear: [..., in_dim] -> [..., out_dim]."""
    return nn.Sequential(nn.Linear(in_dim, hidden), nn.GELU(), nn.Linear(hidden, out_dim))


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) times a learned weight."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., W] -> [..., W]."""
        return F.rms_norm(x, self.weight.shape, self.weight, EPSILON)


class CausalBlock(nn.Module):
    """x + attention(norm(x)), then x + swiglu(norm(x)); vector t sees vectors <= t.

    Args:
        width: W.
        heads: A; must divide W.
        dropout: rate on both residual branches in training.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise InputError(f'{heads} heads do not divide the width {width}. Choose heads that divide it.', 'heads')
        self.heads = heads
        self.dropout = dropout
        hidden = -(-8 * width // 24) * 8  # 8/3 of the width, up to a multiple of 8
        self.norm1 = RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm2 = RMSNorm(width)
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout else x

    def forward(self, x: Tensor) -> Tensor:
        """x [P,T,W] -> [P,T,W]."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        hide = torch.full(scores.shape[-2:], float('-inf'), dtype=x.dtype, device=x.device).triu(1)
        mixed = (scores + hide).softmax(-1) @ v
        x = x + self._drop(self.out(mixed.transpose(1, 2).flatten(2)))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self._drop(self.down(F.silu(gate) * up))
