"""Folders of images against each other: Frechet distances of drawings and real images, by a metric's own rules."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dtbox.arguments import read_arguments, read_count
from dtbox.counts import format_count
from dtbox.errors import InputError, reason
from dtbox.evaluation.fid import FID, read_statistics
from dtbox.evaluation.frechet_distance import Moments
from dtbox.evaluation.functional import frechet_distance
from dtbox.evaluation.stamps import compute_digest

SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif', '.tiff', '.ppm', '.pgm')
"""Of the images that clean-fid reads."""
THREADS = 4
"""Files that are decoded at a time."""
DRAWINGS, REAL = 'drawings', 'real images'


def list_files(folder: str | os.PathLike) -> list[str]:
    """Return the images below a folder by their paths within it, with '/', sorted; hidden ones are left out.

    Raises:
        InputError: no such folder, or no image in it.
    """
    if not os.path.isdir(folder):
        raise InputError(f'the folder {os.fspath(folder)} does not exist. Give one that holds images.')
    found = []
    for place, folders, names in os.walk(os.fspath(folder), followlinks=True):
        folders[:] = [name for name in folders if not name.startswith('.')]
        found += [os.path.relpath(os.path.join(place, name), folder).replace(os.sep, '/') for name in names
                  if name.lower().endswith(SUFFIXES) and not name.startswith('.')]
    if not found:
        raise InputError(f'{os.fspath(folder)} holds no images. Images are known by {", ".join(SUFFIXES)}.')
    return sorted(found)


def hash_files(folder: str | os.PathLike, files: Sequence[str]) -> str:
    """Return a hash of the names and sizes of files of a folder, as data sets have one."""
    return compute_digest([[name, os.path.getsize(os.path.join(folder, name))] for name in files])


def read_levels(path: str | os.PathLike) -> np.ndarray:
    """Return an image as uint8 [H,W,3], converted as the FID libraries do it: Pillow's RGB, neither turned upright nor
    laid on a colour; `InputError` for a file that cannot be decoded."""
    try:
        with Image.open(path) as image:
            return np.array(image.convert('RGB'))
    except Exception as e:  # decoders raise anything
        raise InputError(f'the image {os.fspath(path)} cannot be read ({reason(e)}). Draw it again, or take it out of '
                         'the folder.') from e


def read_batches(folder: str | os.PathLike, files: Sequence[str], batch: int) -> Iterator[list[np.ndarray]]:
    """Yield the images of files in their order, `batch` at a time."""
    with ThreadPoolExecutor(THREADS) as pool:
        for first in range(0, len(files), batch):
            yield list(pool.map(read_levels, (os.path.join(folder, name) for name in files[first:first + batch])))


@read_arguments(batch=read_count())
def compare_folders(metric: Moments, drawn: str | os.PathLike, real: str | os.PathLike | None = None, batch: int = 32,
                    device: torch.device | str = 'cpu') -> tuple[float, str]:
    """Return the Frechet distance of two folders of images, and what is of note ('' where nothing is).

    The folders may hold different numbers of images; each counts with its own mean and unbiased covariance.

    Args:
        metric: FID or TowerFrechet, whose network and preparation are taken.
        drawn: folder of drawings.
        real: folder of real images; None where the metric has statistics of them.
        batch: images at a time.
        device: where the network runs.

    Raises:
        InputError: no real images, or both these and statistics; a network that is not given; an image that cannot be
            read; fewer than two images.
    """
    statistics = find_statistics(metric, real)
    features, sums = metric.open_features(device), Moments()
    sides = {DRAWINGS: drawn} if real is None else {REAL: real, DRAWINGS: drawn}
    counts = {side: _collect(sums, side, folder, features, batch) for side, folder in sides.items()}
    moments = [read_statistics(statistics)] if statistics else []
    moments += [sums.moments(side, count) for side, count in counts.items()]
    width = len(moments[-1][0])
    few = [f'fewer {side} ({count:,})' for side, count in counts.items() if count < width]
    note = ''
    if few:
        note = (f'{" and ".join(few)} than the {format_count(width, "feature")} of the network: the distance is '
                'biased')
    return frechet_distance(*moments[0], *moments[1]), note


def find_statistics(metric: Moments, real: str | os.PathLike | None) -> str | None:
    """Return the file of statistics that stand for the real images, None where a folder holds these; `InputError` where
    there is neither, or both."""
    reference = metric.reference if isinstance(metric, FID) else None
    own = isinstance(metric, FID) and metric.against == 'statistics'
    if own == (real is not None):
        raise InputError(f'{metric.label} compares with {"its own statistics" if own else "real images"}; '
                         + (f'leave the folder {real} out.' if own else 'give their folder, too.'), 'real')
    if own:
        read_statistics(reference)
    return reference


def _collect(sums: Moments, side: str, folder: str | os.PathLike, features: Callable[[Sequence[np.ndarray]], Tensor],
             batch: int) -> int:
    """Add the features of a folder's images to a stream; returns how many there are."""
    files = list_files(folder)
    if len(files) < 2:
        raise InputError(f'{os.fspath(folder)} holds one image; a Frechet distance needs at least two.')
    for images in read_batches(folder, files, batch):
        sums.collect(side, features(images), len(images))
    return len(files)
