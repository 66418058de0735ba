"""MoVQ's decoder (arXiv 2209.09002): VQGAN's CNN decoder whose norms are modulated by the quantized map.

Each norm is GroupNorm(x) * conv_y(q) + conv_b(q), q the quantized map resized (nearest) to the size of x. Kandinsky 2
and Emu3 decode so. Parameters under `post_quant_conv` and `decoder` have the names of MoVQGAN's published files.

Legend: B batch, N tokens, D feature width, q quantized map [B,D,h,w], C channels, h and w latent rows and columns,
H and W pixels.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.counts import format_count
from dtbox.decoders.base import Decoder, run
from dtbox.errors import InputError
from dtbox.layers.attention import sdpa
from dtbox.layers.conv import Upsample, conv3x3, group_norm
from dtbox.layout import Grid
from dtbox.registry import DECODERS
from dtbox.values import Depth, Positive


class SpatialNorm(nn.Module):
    """GroupNorm(x) * conv_y(q) + conv_b(q), q resized to the size of x by nearest neighbours.

    Args:
        channels: C, a multiple of 32.
        map_channels: D of q.
        add_conv: a 3x3 convolution of the resized q first.
    """

    def __init__(self, channels: int, map_channels: int, add_conv: bool = False) -> None:
        super().__init__()
        self.norm_layer = group_norm(channels)
        self.conv = conv3x3(map_channels, map_channels) if add_conv else None
        self.conv_y = nn.Conv2d(map_channels, channels, 1)
        self.conv_b = nn.Conv2d(map_channels, channels, 1)

    def forward(self, x: Tensor, q: Tensor) -> Tensor:
        """x [B,C,H,W], q [B,D,h,w] -> [B,C,H,W]."""
        q = F.interpolate(q, x.shape[2:], mode='nearest')
        if self.conv is not None:
            q = self.conv(q)
        return torch.addcmul(self.conv_b(q), self.norm_layer(x), self.conv_y(q))


class ModulatedResidual(nn.Module):
    """norm, silu, conv, norm, silu, conv, plus the input (through a 1x1 convolution where the channels change).

    Args:
        in_channels, out_channels: C, multiples of 32.
        map_channels, add_conv: see `SpatialNorm`.
    """

    def __init__(self, in_channels: int, out_channels: int, map_channels: int, add_conv: bool = False) -> None:
        super().__init__()
        self.norm1 = SpatialNorm(in_channels, map_channels, add_conv)
        self.conv1 = conv3x3(in_channels, out_channels)
        self.norm2 = SpatialNorm(out_channels, map_channels, add_conv)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor, q: Tensor) -> Tensor:
        """x [B,C,H,W], q [B,D,h,w] -> [B,C',H,W]."""
        h = self.conv1(F.silu(self.norm1(x, q)))
        h = self.conv2(F.silu(self.norm2(h, q)))
        return h + (x if self.nin_shortcut is None else self.nin_shortcut(x))


class ModulatedAttention(nn.Module):
    """Attention of one head over all H*W positions, scale 1/sqrt(C), plus the input.

    Args:
        channels: C, a multiple of 32.
        map_channels, add_conv: see `SpatialNorm`.
    """

    def __init__(self, channels: int, map_channels: int, add_conv: bool = False) -> None:
        super().__init__()
        self.norm = SpatialNorm(channels, map_channels, add_conv)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor, q: Tensor) -> Tensor:
        """x [B,C,H,W], q [B,D,h,w] -> [B,C,H,W]."""
        h = self.norm(x, q)
        query, key, value = (f(h).flatten(2).transpose(1, 2).unsqueeze(1) for f in (self.q, self.k, self.v))
        h = sdpa(query, key, value).squeeze(1).transpose(1, 2).reshape(x.shape)
        return x + self.proj_out(h)


class _Stack(nn.Module):
    """What published files hold under `decoder.`: maps z [B,C,h,w] and q [B,D,h,w] to images [B,3,H,W]."""

    def __init__(self, in_channels: int, widths: Sequence[int], blocks: int, attention: Sequence[bool],
                 map_channels: int, add_conv: bool) -> None:
        super().__init__()
        extra = (map_channels, add_conv)
        last = widths[-1]
        self.conv_in = conv3x3(in_channels, last)
        self.mid = nn.ModuleDict(dict(block_1=ModulatedResidual(last, last, *extra),
                                      attn_1=ModulatedAttention(last, *extra),
                                      block_2=ModulatedResidual(last, last, *extra)))
        self.up = nn.ModuleList()
        for i, width in enumerate(widths):
            before = widths[min(i + 1, len(widths) - 1)]
            level = nn.ModuleDict(dict(
                block=nn.ModuleList(ModulatedResidual(width if j else before, width, *extra)
                                    for j in range(blocks + 1)),
                attn=nn.ModuleList(ModulatedAttention(width, *extra) for _ in range((blocks + 1) * attention[i]))))
            if i:
                level['upsample'] = Upsample(width)
            self.up.append(level)
        self.norm_out = SpatialNorm(widths[0], *extra)
        self.conv_out = conv3x3(widths[0], 3)

    def forward(self, z: Tensor, q: Tensor, recompute: bool) -> Tensor:
        """z [B,C,h,w], q [B,D,h,w] -> images [B,3,H,W]."""
        def apply(part: nn.Module, x: Tensor) -> Tensor: return run(lambda y: part(y, q), x, recompute)
        x = self.conv_in(z)
        for part in self.mid.values():
            x = apply(part, x)
        for level in reversed(self.up):
            for j, block in enumerate(level['block']):
                x = apply(block, x)
                if len(level['attn']):
                    x = apply(level['attn'][j], x)
            if 'upsample' in level:
                x = run(level['upsample'], x, recompute)
        return self.conv_out(F.silu(self.norm_out(x, q)))


@DECODERS.register_module()
class MoVQDecoder(Decoder):
    """MoVQ's decoder (arXiv 2209.09002); its defaults are those of MoVQGAN 270M, which Kandinsky 2 decodes with.

    Args:
        in_dim: feature width D of the quantized map.
        layout: where the tokens lie, a Grid.
        image_size: (H, W) in pixels, or one number; the latent size times 2^(levels - 1).
        channels: base width, a multiple of 32.
        multipliers: width of each level over `channels`, full resolution first.
        blocks: residual blocks per level, less one.
        latent_channels: C after the 1x1 convolution of the quantized map.
        attention_resolutions: rows of the levels whose blocks are followed by attention.
        add_conv: a 3x3 convolution of the map in every norm.
        latent_size: (h, w) that the token grid is resized to; None decodes on the token grid.
        recompute: drop activations and compute them again in the backward pass.
    """
    example = dict(in_dim=8, layout=Grid(4, 4), image_size=(16, 16), channels=32, multipliers=(1, 1, 2), blocks=1,
                   latent_channels=8, attention_resolutions=(4,))

    def __init__(self, in_dim: int, layout: Grid, image_size: int | Sequence[int], channels: Positive = 256,
                 multipliers: Sequence[Positive] = (1, 2, 2, 4), blocks: Depth = 2, latent_channels: Positive = 4,
                 attention_resolutions: Sequence[Positive] = (32,), add_conv: bool = False,
                 latent_size: int | Sequence[int] | None = None, recompute: bool = False) -> None:
        super().__init__(in_dim, layout, image_size, latent_size)
        if not multipliers or not all(type(m) is int and m > 0 for m in multipliers):
            raise InputError(f'`multipliers` is {multipliers!r}; expected a positive whole number for each level.')
        self.check_scale(len(multipliers) - 1, f'`multipliers` has {format_count(len(multipliers), "level")}')
        attention = [self.image_size[0] >> i in attention_resolutions for i in range(len(multipliers))]
        self.recompute = recompute
        self.post_quant_conv = nn.Conv2d(in_dim, latent_channels, 1)
        self.decoder = _Stack(latent_channels, [channels * m for m in multipliers], blocks, attention, in_dim, add_conv)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the final convolution."""
        return self.decoder.conv_out.weight

    def forward(self, features: Tensor) -> Tensor:
        """features [B,N,D] -> images [B,3,H,W], not clamped."""
        q = self.to_map(features)
        return self.decoder(self.post_quant_conv(q), q, self.recompute and self.training)
