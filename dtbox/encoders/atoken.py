"""AToken's encoder (arXiv 2509.14476): images and clips as tokens of patches of four frames.

An image is a clip whose other three frames are zeros (mid-grey): they add nothing, so that of the first layer those
columns alone are used that read the first frame. Parameters have the published names, but for the pool, which is
timm's.

Legend: B batch, N tokens, D width, T frames, t, h, w latent frames, rows and columns.
"""
from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dtbox.encoders.base import Encoder, check_grid
from dtbox.errors import InputError
from dtbox.layers.sizes import read_pair
from dtbox.layers.space_time import EPS, PositionTable, SpaceTimeBlock, build_norm, compute_rotations, cut_patches
from dtbox.registry import ENCODERS
from dtbox.values import Depth, Positive
from dtbox.weights.siglip_names import compute_ratio


@ENCODERS.register_module()
class ATokenEncoder(Encoder):
    """AToken's encoder (arXiv 2509.14476); the published one has the default sizes.

    Args:
        image_size: pixels, an int or (height, width), multiples of the patch.
        patch: (frames, rows, columns) of a patch.
        width: D.
        depth: blocks.
        heads: attention heads, of blocks and pool; their width is a multiple of 8.
        hidden: inner width of the MLPs.
        rms, bias, head_norm: see `SpaceTimeBlock`.
        slice_length: latent frames of a slice of a clip; slices do not see each other, and time starts at 0 in each.
        recompute: drop the activations of blocks and compute them again in the backward pass.
    """
    example = dict(image_size=(32, 16), patch=(2, 8, 8), width=32, depth=2, heads=2, hidden=48)

    def __init__(self, image_size: int | Sequence[int], patch: Sequence[int] = (4, 16, 16), width: Positive = 1152,
                 depth: Depth = 27, heads: Positive = 16, hidden: Positive = 4304, rms: bool = False,
                 bias: bool = True, head_norm: bool = False, slice_length: Positive = 4,
                 recompute: bool = False) -> None:
        super().__init__()
        from timm.layers import AttentionPoolLatent
        self.image_size, self.patch = read_pair(image_size, 'image_size'), tuple(patch)
        if len(self.patch) != 3 or min(self.patch) < 1:
            raise InputError(f'`patch` is {patch!r}; expected (frames, rows, columns).', 'patch')
        self._grid = self.image_size[0] // self.patch[1], self.image_size[1] // self.patch[2]
        check_grid(self.image_size, self._grid)
        if any(pixels % cell for pixels, cell in zip(self.image_size, self.patch[1:])):
            raise InputError(f'images of {self.image_size} pixels are not whole patches of {self.patch[1:]}. Choose '
                             'multiples.', 'image_size')
        self.depth, self.has_norm = depth, True
        self._width = self.pooled_dim = width
        self.slice_length, self.recompute = slice_length, recompute
        self.pos_embedder = PositionTable(width)
        self.input_layer = nn.Linear(3 * self.patch[0] * self.patch[1] * self.patch[2], width, bias)
        self.blocks = nn.ModuleList(SpaceTimeBlock(width, heads, hidden, rms, bias, head_norm) for _ in range(depth))
        self.post_layernorm = build_norm(width, rms)
        self.attn_pool = AttentionPoolLatent(
            width, num_heads=heads, mlp_ratio=compute_ratio(hidden, width), act_layer=partial(nn.GELU, 'tanh'),
            norm_layer=partial(nn.LayerNorm, eps=EPS))
        self.register_buffer('rotations', compute_rotations((1, *self._grid), width // heads), persistent=False)

    def width(self, layer: int) -> int:
        """Return the channels D, the same at every layer."""
        return self._width

    def grid(self, layer: int) -> tuple[int, int]:
        """Return the token grid (rows, columns), the same at every layer."""
        return self._grid

    def embed(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] in [-1,1] -> tokens [B,N,D]."""
        rows, columns = self.patch[1:]
        patches = images.unflatten(3, (-1, columns)).unflatten(2, (-1, rows)).permute(0, 2, 4, 3, 5, 1)
        patches = patches.flatten(3).flatten(1, 2)
        weight = self.input_layer.weight[:, :patches.shape[-1]]
        return F.linear(patches, weight, self.input_layer.bias) + self.pos_embedder(*self._grid)

    def step(self, tokens: Tensor, layer: int) -> Tensor:
        """Run block `layer` (1-based)."""
        block = self.blocks[layer - 1]
        if self.recompute and torch.is_grad_enabled() and self.training:
            return checkpoint(block, tokens, self.rotations, use_reentrant=False)
        return block(tokens, self.rotations)

    def normalize(self, tokens: Tensor) -> Tensor:
        """Apply the final norm: [B,N,D] -> the same shape."""
        return self.post_layernorm(tokens)

    def pool(self, tokens: Tensor) -> Tensor:
        """Final norm and attention pool: tokens [B,N,D] after the last block -> [B,D]."""
        return self.attn_pool(self.normalize(tokens))

    def run_clip(self, frames: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """Run a clip of any size.

        Args:
            frames: [T,3,H,W] in [-1,1]; T below a patch is filled up with zeros, other frames beyond the last whole
                patch are dropped; so are pixels, on both sides alike.

        Returns:
            tokens [1,N,D] after the last block, and (t, h, w).
        """
        frames = crop_clip(frames, self.patch)
        shape = tuple(n // cell for n, cell in zip((frames.shape[0], *frames.shape[2:]), self.patch))
        tokens = self.input_layer(cut_patches(frames, self.patch)).unflatten(0, (shape[0], -1))
        tokens, parts = tokens + self.pos_embedder(*shape[1:]), []
        for part in tokens.split(self.slice_length):
            rotations = compute_rotations((len(part), *shape[1:]), 2 * self.rotations.shape[-1], frames.device)
            x = part.flatten(0, 1)[None]
            for block in self.blocks:
                x = block(x, rotations)
            parts.append(x)
        return torch.cat(parts, 1), shape


def crop_clip(frames: Tensor, patch: Sequence[int]) -> Tensor:
    """Fill up or cut frames [T,3,H,W] to whole patches; `InputError` for other shapes and frames below a patch."""
    if frames.ndim != 4 or frames.shape[1] != 3 or not len(frames) or not frames.is_floating_point():
        raise InputError(f'a clip is {frames.dtype} {list(frames.shape)}; expected floats [T, 3, H, W] in [-1, 1].')
    check_grid(frames.shape[2:], [n // cell for n, cell in zip(frames.shape[2:], patch[1:])])
    if len(frames) < patch[0]:
        frames = torch.cat([frames, frames.new_zeros(patch[0] - len(frames), *frames.shape[1:])])
    whole = [n // cell * cell for n, cell in zip((len(frames), *frames.shape[2:]), patch)]
    top, left = ((n - kept) // 2 for n, kept in zip(frames.shape[2:], whole[1:]))
    return frames[:whole[0], :, top:top + whole[1], left:left + whole[2]]
