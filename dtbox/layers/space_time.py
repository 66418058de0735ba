"""Transformer blocks on frames of patches, with rotary positions of time, row, column and depth.

Encoder and decoder of AToken (arXiv 2509.14476) share them; parameters have the published names.

Legend: B batch, N tokens, D width, H heads, d = D / H, t, h, w latent frames, rows and columns, K hidden width.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.errors import InputError

EPS = 1e-6
"""Of every norm."""
AXES = 4
"""Of the rotations: time, row, column, depth; the last is 0 here, where nothing has a depth."""
SIDE = 16
"""Rows and columns of the table of positions."""


def compute_rotations(shape: Sequence[int], head_dim: int, device: torch.device | None = None) -> Tensor:
    """Return (cosine, sine) of each token and pair of channels, [2, t h w, d / 2] float32.

    An axis has d / 8 pairs; pair j turns by coordinate * 10000^(-j / d).

    Args:
        shape: (t, h, w).
        head_dim: d, a multiple of 8.
        device: of the result.
    """
    if head_dim % (2 * AXES):
        raise InputError(f'heads of width {head_dim} do not divide into {AXES} axes of pairs; choose a multiple of '
                         f'{2 * AXES}.', 'heads')
    waves = 10000.0 ** (-torch.arange(head_dim // (2 * AXES), device=device, dtype=torch.float32) / head_dim)
    places = torch.meshgrid(*(torch.arange(n, device=device, dtype=torch.float32) for n in shape), indexing='ij')
    places = torch.stack([*places, torch.zeros_like(places[0])], -1).flatten(0, -2)
    angles = (places[:, :, None] * waves).flatten(1)
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Tensor, rotations: Tensor) -> Tensor:
    """Turn neighbouring pairs of channels: x [B,H,N,d], rotations [2,N,d/2] -> [B,H,N,d]."""
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rotations
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).to(x.dtype)


class HeadNorm(nn.Module):
    """The direction of each head's channels, times sqrt(d) and a learned gain: [B,H,N,d] -> the same."""

    def __init__(self, heads: int, head_dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(heads, head_dim))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.normalize(x, dim=-1) * (self.gamma[:, None] * x.shape[-1] ** 0.5)


class SpaceTimeAttention(nn.Module):
    """Attention between all tokens, queries and keys turned by their places; arguments as of `SpaceTimeBlock`."""

    def __init__(self, width: int, heads: int, bias: bool, head_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width, bias)
        self.to_out = nn.Linear(width, width, bias)
        self.q_rms_norm, self.k_rms_norm = (HeadNorm(heads, width // heads) if head_norm else nn.Identity()
                                            for _ in range(2))

    def forward(self, x: Tensor, rotations: Tensor) -> Tensor:
        """x [B,N,D], rotations as `compute_rotations` gives them -> [B,N,D]."""
        q, k, v = self.to_qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = rotate(self.q_rms_norm(q), rotations), rotate(self.k_rms_norm(k), rotations)
        return self.to_out(F.scaled_dot_product_attention(q, k.to(q.dtype), v.to(q.dtype)).transpose(1, 2).flatten(2))


class TanhMLP(nn.Module):
    """Linear, GELU (tanh), linear, under the published names."""

    def __init__(self, width: int, hidden: int, bias: bool) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, hidden, bias), nn.GELU(approximate='tanh'),
                                 nn.Linear(hidden, width, bias))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., D] -> [..., D]."""
        return self.mlp(x)


def build_norm(width: int, rms: bool) -> nn.Module:
    """Return an RMS norm, or a LayerNorm."""
    return nn.RMSNorm(width, eps=EPS) if rms else nn.LayerNorm(width, eps=EPS)


class SpaceTimeBlock(nn.Module):
    """Pre-norm attention and MLP.

    Args:
        width: D.
        heads: H.
        hidden: K.
        rms: RMS norms instead of LayerNorms.
        bias: whether linear layers have biases.
        head_norm: whether queries and keys are normed in each head.
    """

    def __init__(self, width: int, heads: int, hidden: int, rms: bool = False, bias: bool = True,
                 head_norm: bool = False) -> None:
        super().__init__()
        if width % heads:
            raise InputError(f'`width` {width} does not divide into {heads} heads; choose a divisor.', 'heads')
        self.norm1, self.norm2 = build_norm(width, rms), build_norm(width, rms)
        self.attn = SpaceTimeAttention(width, heads, bias, head_norm)
        self.mlp = TanhMLP(width, hidden, bias)

    def forward(self, x: Tensor, rotations: Tensor) -> Tensor:
        """x [B,N,D], rotations [2,N,d/2] -> [B,N,D]."""
        x = x + self.attn(self.norm1(x), rotations)
        return x + self.mlp(self.norm2(x))


class PositionTable(nn.Module):
    """Learned positions of a 16 x 16 grid, resized to that of an image; the same for all frames."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.position_embedding = nn.Embedding(SIDE * SIDE, width)
        nn.init.normal_(self.position_embedding.weight, std=0.02)

    def forward(self, rows: int, columns: int) -> Tensor:
        """Return [rows * columns, D], bilinear with antialias."""
        table = self.position_embedding.weight.T.unflatten(1, (SIDE, SIDE))[None]
        if (rows, columns) != (SIDE, SIDE):
            table = F.interpolate(table.float(), (rows, columns), mode='bilinear', align_corners=False,
                                  antialias=True).to(table.dtype)
        return table[0].flatten(1).T


def cut_patches(frames: Tensor, patch: Sequence[int]) -> Tensor:
    """Cut frames into patch vectors, ordered (time, row, column, colour).

    Args:
        frames: [T,3,H,W]; a patch divides each size.
        patch: (frames, rows, columns) of a patch.

    Returns:
        [t h w, values of a patch], tokens ordered (t, h, w).
    """
    x = frames.transpose(1, 0).unflatten(1, (-1, patch[0])).unflatten(3, (-1, patch[1])).unflatten(5, (-1, patch[2]))
    return x.permute(1, 3, 5, 2, 4, 6, 0).flatten(3).flatten(0, 2)


def join_patches(values: Tensor, shape: Sequence[int], patch: Sequence[int]) -> Tensor:
    """Undo `cut_patches`: [t h w, values of a patch] -> frames [T,3,H,W]; `shape` is (t, h, w)."""
    x = values.unflatten(0, tuple(shape)).unflatten(3, (*patch, 3)).permute(0, 3, 6, 1, 4, 2, 5)
    return x.flatten(5).flatten(3, 4).flatten(0, 1)
