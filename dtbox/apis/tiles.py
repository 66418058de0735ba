"""Images of any size through a tokenizer of one size: overlapping tiles, blended where they overlap.

Legend: B batch, H and W pixels of the images.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dtbox.arguments import describe, iterate, read_arguments, read_count, read_floats, read_number, refuse
from dtbox.errors import InputError


def place_tiles(length: int, tile: int, overlap: int) -> list[int]:
    """Return where tiles begin along an axis: evenly spread from 0 to `length - tile`.

    Args:
        length: of the axis, in pixels.
        tile: length of a tile.
        overlap: pixels by which neighbours overlap at least, less than `tile`.
    """
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def _read_model(value: Any) -> Callable[[Tensor], Tensor]:
    if not callable(value):
        raise refuse(value, 'a callable [b,3,h,w] -> [b,3,h,w]')
    return value


def _read_size(value: Any) -> tuple[int, int]:
    size = tuple(map(read_count(), iterate(value, '(height, width)')))
    if len(size) != 2:
        raise refuse(value, '(height, width)')
    return size


@read_arguments(images=read_floats, model=_read_model, size=_read_size, overlap=read_number(0, 1), batch=read_count())
def reconstruct_tiled(images: Tensor, model: Callable[[Tensor], Tensor], size: Sequence[int], overlap: float = 0.25,
                      batch: int = 16) -> Tensor:
    """Reconstruct images of any size.

    Args:
        images: [B,3,H,W] in [-1,1], H and W at least the model's.
        model: callable [b,3,h,w] -> reconstructions [b,3,h,w].
        size: (height, width) of the model's images.
        overlap: least fraction of a tile, in [0, 1), by which neighbours overlap; they are blended linearly there.
        batch: tiles at a time.

    Returns:
        [B,3,H,W].
    """
    if overlap == 1:
        raise InputError('got 1; expected a fraction in [0, 1).', 'overlap')
    if images.ndim != 4 or not images.numel():
        raise InputError(f'the images are {describe(images)}; expected [B, 3, H, W] with B >= 1.', 'images')
    height, width = images.shape[-2:]
    if height < size[0] or width < size[1]:
        raise InputError(f'the images have {height} x {width} pixels, fewer than a tile of {size[0]} x {size[1]}. '
                         'Enlarge them.')
    rows, columns = (place_tiles(n, s, int(overlap * s)) for n, s in zip((height, width), size))
    places = [(t, left) for t in rows for left in columns]
    total, weights = torch.zeros_like(images), images.new_zeros(1, 1, height, width)
    tiles = [images[:, :, t:t + size[0], left:left + size[1]] for t, left in places]
    done = [part for group in torch.cat(tiles).split(batch) for part in model(group).split(1)]
    for k, (t, left) in enumerate(places):
        window = (weigh_tile(size[0], rows, t)[:, None] * weigh_tile(size[1], columns, left)[None]).to(images)
        area = (..., slice(t, t + size[0]), slice(left, left + size[1]))
        total[area] += torch.cat(done[k * len(images):(k + 1) * len(images)]) * window
        weights[area] += window
    return total / weights


def weigh_tile(length: int, places: Sequence[int], at: int) -> Tensor:
    """Return the weights [length] of a tile along an axis: 1, and a linear ramp where a neighbour overlaps."""
    ramp = torch.ones(length)
    i = places.index(at)
    for other, side in ((places[i - 1] if i else None, 'low'),
                        (places[i + 1] if i + 1 < len(places) else None, 'high')):
        if other is None:
            continue
        shared = length - abs(at - other)
        if shared > 0:
            slope = (torch.arange(shared) + 0.5) / shared
            if side == 'low':
                ramp[:shared] = torch.minimum(ramp[:shared], slope)
            else:
                ramp[length - shared:] = torch.minimum(ramp[length - shared:], slope.flip(0))
    return ramp
