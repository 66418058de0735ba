"""Projections between the encoder's width and the code width.

`AttentionProjection` is the module of UniTok (arXiv 2502.20321) as DualToken (arXiv 2503.14324) uses it: heads are
averaged on the way down, concatenated and causal on the way up. `MLPProjection` and `LinearProjection` are the plain
choices. A projection whose constructor takes `layout` gets that of the tokens: `ConvProjection` and BEiTProjection
(beit_projection.py) need it.

Legend: B batch, N tokens, H heads, W head width. All map [B, N, in_dim] to [B, N, out_dim].
"""
from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.errors import InputError
from dtbox.layout import TokenLayout, need_grid
from dtbox.registry import ATTENTION, PROJECTIONS
from dtbox.values import Positive


class GatedMLP(nn.Module):
    """norm -> gelu_tanh(w0) * w1 -> w2, hidden width 2 x dim (DualToken's projection MLP)."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.w0 = nn.Linear(dim, 2 * dim)
        self.w1 = nn.Linear(dim, 2 * dim)
        self.w2 = nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, dim] -> [B, N, dim]."""
        x = self.norm(x)
        return self.w2(F.gelu(self.w0(x), approximate='tanh') * self.w1(x))


class ProjectionAttention(nn.Module):
    """Attention whose width is the larger of the two; the key has no bias.

    Down (in_dim > out_dim) the heads are averaged: one head's width comes out, pooled to `out_dim` where it differs.
    Up or equal they are concatenated.
    """

    def __init__(self, in_dim: int, out_dim: int, heads: int, causal: bool, backend: str):
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.out_dim = out_dim
        self.down = in_dim > out_dim
        self.attend = ATTENTION.get(backend)
        width = max(in_dim, out_dim)
        self.qkv = nn.Linear(in_dim, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(out_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, in_dim] -> [B, N, out_dim]."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv_bn3hw = F.linear(x, self.qkv.weight, bias).unflatten(-1, (3, self.heads, -1))
        out_bhnw = self.attend(*qkv_bn3hw.permute(2, 0, 3, 1, 4).unbind(0), causal=self.causal)
        if self.down:
            out = out_bhnw.mean(1)
            if out.shape[-1] != self.out_dim:
                out = F.adaptive_avg_pool1d(out, self.out_dim)
        else:
            out = out_bhnw.transpose(1, 2).flatten(2)
        return self.proj(out)


@PROJECTIONS.register_module()
class AttentionProjection(nn.Module):
    """Attention projection: linear skip through its own norm, attention, gated MLP.

    Args:
        in_dim, out_dim: widths; the smaller must divide the larger.
        heads: attention heads; None takes larger // smaller, DualToken's rule.
        causal: token t attends to raster positions <= t; None means up: yes, down: no, as in DualToken.
        attention: name of the attention backend.
    """

    def __init__(self, in_dim: int, out_dim: int, heads: Positive | None = None, causal: bool | None = None,
                 attention: str = 'sdpa'):
        super().__init__()
        large, small = max(in_dim, out_dim), min(in_dim, out_dim)
        if large % small:
            raise InputError(f'AttentionProjection maps {in_dim} to {out_dim} channels, but one must divide the other. '
                             f'Choose a code width that divides {large}, or MLPProjection.')
        heads = heads or large // small
        if large % heads:
            raise InputError(f'AttentionProjection has {heads} heads, which do not divide {large} channels.')
        causal = in_dim <= out_dim if causal is None else causal
        self.norm1 = nn.LayerNorm(in_dim)
        self.attn = ProjectionAttention(in_dim, out_dim, heads, causal, attention)
        self.proj = nn.Linear(in_dim, out_dim)
        self.norm3 = nn.LayerNorm(in_dim)
        self.norm2 = nn.LayerNorm(out_dim)
        self.mlp = GatedMLP(out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, in_dim] -> [B, N, out_dim]."""
        y = self.proj(self.norm3(x)) + self.attn(self.norm1(x))
        return y + self.mlp(self.norm2(y))


@PROJECTIONS.register_module()
class MLPProjection(nn.Module):
    """LayerNorm (where asked for), linear, GELU, linear.

    Args:
        in_dim, out_dim: widths.
        hidden: inner width; None takes the larger of the two.
        norm: whether the input is layer-normalised first.
    """

    def __init__(self, in_dim: int, out_dim: int, hidden: Positive | None = None, norm: bool = True):
        super().__init__()
        hidden = hidden or max(in_dim, out_dim)
        self.norm = nn.LayerNorm(in_dim) if norm else nn.Identity()
        self.fc1 = nn.Linear(in_dim, hidden)
        self.fc2 = nn.Linear(hidden, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, in_dim] -> [B, N, out_dim]."""
        return self.fc2(F.gelu(self.fc1(self.norm(x))))


@PROJECTIONS.register_module()
class TanhProjection(nn.Module):
    """Linear, tanh, linear: the heads of VQ-KD (BEiT v2, arXiv 2208.06366) and TokenFlow (arXiv 2412.03069).

    Args:
        in_dim, out_dim: widths.
    """

    def __init__(self, in_dim: int, out_dim: int):
        super().__init__()
        self.fc1 = nn.Linear(in_dim, in_dim)
        self.fc2 = nn.Linear(in_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, in_dim] -> [B, N, out_dim]."""
        return self.fc2(self.fc1(x).tanh())


@PROJECTIONS.register_module()
class ConvProjection(nn.Module):
    """A convolution over the grid of the tokens (VAR, arXiv 2404.02905: 3x3 before and after its quantizer).

    Args:
        in_dim, out_dim: widths.
        layout: where the tokens lie, a Grid.
        kernel: rows and columns of the kernel, odd; the map keeps its size, padded with zeros.
    """

    def __init__(self, in_dim: int, out_dim: int, layout: TokenLayout, kernel: Positive = 3):
        super().__init__()
        if kernel % 2 == 0:
            raise InputError(f'`kernel` is {kernel}; expected an odd number, so that the map keeps its size.', 'kernel')
        self.grid = need_grid(layout, 'ConvProjection')
        self.conv = nn.Conv2d(in_dim, out_dim, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, in_dim] -> [B, N, out_dim]."""
        return self.grid.flatten(self.conv(self.grid.unflatten(x)))


@PROJECTIONS.register_module()
class LinearProjection(nn.Module):
    """LayerNorm (where asked for) and one linear layer.

    Args:
        in_dim, out_dim: widths.
        norm: whether the input is layer-normalised first.
    """

    def __init__(self, in_dim: int, out_dim: int, norm: bool = True):
        super().__init__()
        self.norm = nn.LayerNorm(in_dim) if norm else nn.Identity()
        self.fc = nn.Linear(in_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, in_dim] -> [B, N, out_dim]."""
        return self.fc(self.norm(x))


@PROJECTIONS.register_module()
class ScramblingProjection(nn.Module):
    """One linear layer over tokens and channels in exchanged order: what TiTok's two-stage release was trained with
    (arXiv 2406.07550).

    The array [N, D] is read again as [D, N] in the order of memory, without a transpose, so that row d of column n is
    channel (d N + n) mod D of token (d N + n) div D; the layer maps the D values of each column.

    Args:
        in_dim, out_dim: widths.
    """

    def __init__(self, in_dim: int, out_dim: int):
        super().__init__()
        self.fc = nn.Linear(in_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, in_dim] -> [B, N, out_dim]."""
        return self.fc(x.reshape(x.shape[0], x.shape[2], x.shape[1]).transpose(1, 2))


@PROJECTIONS.register_module()
class NoProjection(nn.Module):
    """The features as they are (VILA-U's quantizer works at the encoder's width).

    Args:
        in_dim, out_dim: widths, which must be equal.
    """

    def __init__(self, in_dim: int, out_dim: int):
        super().__init__()
        if in_dim != out_dim:
            raise InputError(f'NoProjection keeps the width, but it is asked to map {in_dim} to {out_dim} channels. '
                             f'Set the quantizer\'s dim to {in_dim}, or choose another projection.')

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, dim] -> the same."""
        return x
