"""Groups of images that show nearly the same: copies in another size, format or brightness, frames of one film.

Each image gets a difference hash (dHash): brightness on a grid of 8 x 9 cells, and for each cell whether it is brighter
than its right neighbour, 64 bits. Sharper, smaller or recompressed copies change a few bits. Images of at most `MOST`
different bits are in one group, and so are those that a chain of such pairs joins.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from dtbox.datasets.read import read_image
from dtbox.errors import InputError

SIDE = 8
MOST = 4
"""Most bits, of 64, in which two images of a pair differ."""


def hash_image(image: Image.Image) -> int:
    """Return the difference hash of an image, 64 bits."""
    cells = np.asarray(image.convert('L').resize((SIDE + 1, SIDE), Image.Resampling.BOX), dtype=np.int16)
    return int.from_bytes(np.packbits(cells[:, :-1] > cells[:, 1:]).tobytes(), 'big')


def group_near_duplicates(paths: Sequence[Path], workers: int = 4) -> list[int]:
    """Return the number of each image's group: that of the first image in it.

    Args:
        paths: of image files; one that cannot be read is a group of its own.
        workers: threads that read.
    """
    with ThreadPoolExecutor(workers) as pool:
        hashes = list(pool.map(_read_hash, paths))
    groups = list(range(len(paths)))
    for i, j in _list_pairs(hashes):
        first, second = sorted((_find(groups, i), _find(groups, j)))
        groups[second] = first
    return [_find(groups, i) for i in range(len(paths))]


def _read_hash(path):
    try:
        return hash_image(read_image(path))
    except InputError:
        return None


def _list_pairs(hashes):
    """Yield pairs of images whose hashes differ in at most MOST bits: of MOST + 1 bands of a hash, such two share
    one."""
    same = defaultdict(list)
    for i, value in enumerate(hashes):
        if value is not None:
            same[value].append(i)
    yield from ((images[0], other) for images in same.values() for other in images[1:])
    width = -(-SIDE * SIDE // (MOST + 1))
    for band in range(MOST + 1):
        buckets = defaultdict(list)
        for value, images in same.items():
            buckets[value >> band * width & (1 << width) - 1].append((value, images[0]))
        for bucket in buckets.values():
            values = np.array([value for value, _ in bucket], dtype=np.uint64)
            for i, (value, image) in enumerate(bucket[:-1]):
                different = np.unpackbits((values[i + 1:] ^ np.uint64(value)).view(np.uint8).reshape(-1, 8), axis=1)
                yield from ((image, bucket[i + 1 + j][1]) for j in np.flatnonzero(different.sum(1) <= MOST))


def _find(groups, i):
    """The first image of a group; the way to it is shortened."""
    while groups[i] != i:
        groups[i] = groups[groups[i]]
        i = groups[i]
    return i
