"""Patches of images on a token grid: colour, edges, and which ones show a code.

Legend: B batch, M images, N tokens of a grid (rows, columns), H and W pixels.
"""
from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from dtbox.datasets.base import hash_fraction

LEVELS = 4
"""Levels of each channel of a quantised mean colour: 64 colours."""
EDGE_BINS = 8
"""Bins of the edge energy, alike in size."""
WORDS = 256
"""Most words that are counted."""
LEAST = 3
"""Images that a word must be in to be counted."""
STOP = frozenset('a an and are as at be by for from in into is it its of on or over that the this to with '
                 'without'.split())
"""Words that say nothing of an image."""


def compute_cell_size(image_size: tuple[int, int], grid: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) in pixels of a token's patch; pixels beyond the last whole patch are not seen, as in a
    patch embedding."""
    return image_size[0] // grid[0], image_size[1] // grid[1]


def compute_statistics(images: torch.Tensor, grid: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Measure patches.

    Args:
        images: [B,3,H,W] in [-1, 1].
        grid: (rows, columns).

    Returns:
        colours [B,N] uint8: the mean RGB in `LEVELS` levels a channel, r * 16 + g * 4 + b; edges [B,N] float32: mean
        length of the gradient of the luma (ITU-R BT.601, central differences, per pixel, values in [0, 1]).
    """
    height, width = compute_cell_size(images.shape[-2:], grid)
    unit = ((images.float() + 1) / 2).clamp(0, 1)[..., :height * grid[0], :width * grid[1]]
    means = F.avg_pool2d(unit, (height, width)).flatten(2)
    levels = (means * LEVELS).long().clamp(max=LEVELS - 1)
    luma = (unit * unit.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1)
    down, right = torch.gradient(luma, dim=(-2, -1))
    edges = F.avg_pool2d((down.square() + right.square()).sqrt()[:, None], (height, width)).flatten(1)
    return (levels[:, 0] * LEVELS ** 2 + levels[:, 1] * LEVELS + levels[:, 2]).to(torch.uint8).cpu(), edges.cpu()


def bin_edges(edges: np.ndarray) -> np.ndarray:
    """Put edge energies [M,N] into `EDGE_BINS` bins of about equal size (fewer where many are equal): [M,N] int64."""
    borders = np.unique(np.quantile(edges, np.arange(1, EDGE_BINS) / EDGE_BINS))
    return np.asarray(np.searchsorted(borders, edges, side='left'))


def split_words(text: str) -> list[str]:
    """Return the words of a caption in lower case, once each, in order, without `STOP`."""
    found = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.lower())
    return [word for word in dict.fromkeys(found) if word not in STOP]


def number_words(texts: Sequence[str]) -> tuple[list[str], list[list[int]]]:
    """Number the words of captions.

    Args:
        texts: M captions, '' where there is none.

    Returns:
        (the words that are counted: at most `WORDS`, each in at least `LEAST` images, the most frequent first; for
        each image the list of the numbers of its words).
    """
    found = [split_words(text) for text in texts]
    counts = {}
    for own in found:
        for word in own:
            counts[word] = counts.get(word, 0) + 1
    known = sorted((word for word, count in counts.items() if count >= LEAST),
                   key=lambda word: (-counts[word], word))[:WORDS]
    number = {word: i for i, word in enumerate(known)}
    return known, [[number[word] for word in own if word in number] for own in found]


def choose_examples(codes: np.ndarray, code: int, grid: tuple[int, int], keys: Sequence[str],
                    most: int) -> list[tuple[int, int]]:
    """Choose patches that show a code: one of each image, images that use it most first.

    In an image the token is taken around which the code is used most (3 x 3 tokens); images that use it alike come
    in an order that depends on their keys alone, not on their place in the data.

    Args:
        codes: [M,N] int64.
        code: the code.
        grid: (rows, columns).
        keys: names of the images.
        most: patches at most.

    Returns:
        list of (image, token).
    """
    used = codes == code
    counts = used.sum(1)
    order = sorted(np.flatnonzero(counts).tolist(),
                   key=lambda i: (-counts[i], hash_fraction('atlas', str(keys[i]))))[:most]
    found = []
    for i in order:
        plane = np.pad(used[i].reshape(grid).astype(np.int64), 1)
        around = sum(plane[r:r + grid[0], c:c + grid[1]] for r in range(3) for c in range(3)) * used[i].reshape(grid)
        found.append((i, int(around.argmax())))
    return found


def crop(image: np.ndarray, token: int, grid: tuple[int, int], context: int = 1) -> np.ndarray:
    """Cut a patch and its surroundings out of an image.

    Args:
        image: uint8 array [H,W,3].
        token: its number, row by row.
        grid: (rows, columns).
        context: tokens around it on each side.

    Returns:
        uint8 [h,w,4], h = (2 * context + 1) patches: RGB, and 0 for pixels beyond the image, 255 within.
    """
    height, width = compute_cell_size(image.shape[:2], grid)
    row, column = divmod(token, grid[1])
    top, left = (row - context) * height, (column - context) * width
    sides = (2 * context + 1) * height, (2 * context + 1) * width
    out = np.zeros((*sides, 4), dtype=np.uint8)
    a, b = max(0, -top), max(0, -left)
    part = image[max(0, top):max(0, top + sides[0]), max(0, left):max(0, left + sides[1])]
    out[a:a + part.shape[0], b:b + part.shape[1], :3] = part
    out[a:a + part.shape[0], b:b + part.shape[1], 3] = 255
    return out


def choose_evenly(count: int, most: int) -> list[int]:
    """Return at most `most` of the positions 0 .. count - 1, evenly spaced."""
    share = min(count, most)
    return [math.floor(i * count / share) for i in range(share)]
