"""Masks of COCO's annotations on the pixels of a file, which need not be those that were annotated: copies of another
size, and images that EXIF turns."""
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from dtbox.counts import format_count
from dtbox.datasets.base import BrokenSample

FAR = 16
"""Sides of its image that a polygon may lie beyond it: pycocotools takes memory for each pixel on the way, or crashes.
"""
MOST = 1 << 28
"""Pixels of a mask."""


def is_crowd(note: dict) -> bool:
    """Whether an annotation is of a crowd; some write the number as text."""
    return note.get('iscrowd') not in (None, 0, '0', False, '')


def read_area(note: dict) -> float:
    """Return the area of an annotation in pixels, 0.0 where it has none that is a number."""
    area = note.get('area')
    return float(area) if isinstance(area, (int, float)) and math.isfinite(area) and area > 0 else 0.0


def read_size(image: dict) -> tuple:
    """Return (width, height) of an entry of `images`, (None, None) where it names none."""
    size = image.get('width'), image.get('height')
    good = all(isinstance(side, (int, float)) and math.isfinite(side) and side > 0 for side in size)
    return size if good else (None, None)


class Placement(NamedTuple):
    """How annotations lie on an image file.

    Attributes:
        upright: whether the pixels that were annotated are those that EXIF turns; otherwise they are the stored ones.
        why: why that cannot be told, '' where it can.
    """
    upright: bool
    why: str


def place_annotations(annotated: tuple, stored: tuple[int, int], turn: int) -> Placement:
    """Tell from sizes which pixels of a file were annotated.

    Args:
        annotated: (width, height) that the annotations name, None where they do not.
        stored: (width, height) of the stored pixels.
        turn: how EXIF turns them, from 1, not at all, to 8; from 5 on width and height change places.
    """
    turned = stored[::-1] if turn > 4 else stored
    if not all(annotated):
        annotated = turned
    as_stored, as_turned = _fits(stored, annotated), _fits(turned, annotated)
    if not as_stored and not as_turned:
        return Placement(True, f'it has {turned[0]} x {turned[1]} pixels, and its annotations are those of an image of '
                               f'{annotated[0]} x {annotated[1]}: other proportions, so another image or a part of it')
    if turn != 1 and as_stored and as_turned:
        return Placement(True, f'EXIF turns it (orientation {turn}) and its size stays the same, so that nobody can '
                               'tell which way its annotations lie; write it upright, without EXIF')
    return Placement(as_turned, '')


def _fits(size, annotated):
    """Whether an image is one of the size that was annotated, made smaller or larger as a whole (to a pixel)."""
    return abs(size[0] * annotated[1] - size[1] * annotated[0]) <= max(annotated)


def describe_left_out(annotated: list[list[dict]], most: int | None) -> list[str]:
    """Return sentences on the annotations of each image that are not used: crowds, and those beyond the `most` largest
    ones."""
    singles = [sum(not is_crowd(note) for note in some) for some in annotated]
    crowds = sum(map(len, annotated)) - sum(singles)
    beyond = sum(max(count - most, 0) for count in singles) if most else 0
    notes = [(crowds, 'of crowds'), (beyond, f'beyond the {most} largest of their image (`most`)')]
    return [f'{format_count(number, "mask", "is")} left out: {why}' for number, why in notes if number]


def decode_mask(note: dict, size: tuple[int, int], annotated: tuple[int, int]) -> np.ndarray:
    """Return the mask of an annotation (polygons, or run lengths) as bool [height, width].

    Polygons are scaled as numbers, run lengths by nearest neighbour.

    Args:
        note: an annotation of COCO.
        size: (width, height) of the file's pixels.
        annotated: (width, height) of the image that was annotated.

    Raises:
        BrokenSample: run lengths of another size than `annotated`, points far outside of the image, too many pixels.
    """
    from pycocotools import mask as masks
    shape = note['segmentation']
    if annotated[0] * annotated[1] > MOST:
        raise BrokenSample(str(note.get('id')), f'its image is said to have {annotated[0]} x {annotated[1]} pixels')
    if isinstance(shape, list):
        if any(not abs(value) <= FAR * max(annotated) for polygon in shape for value in polygon):
            raise BrokenSample(str(note.get('id')), 'its points lie far outside of the image')
        if size != annotated:
            scale = size[0] / annotated[0], size[1] / annotated[1]
            shape = [[value * scale[i % 2] for i, value in enumerate(polygon)] for polygon in shape]
        return masks.decode(masks.merge(masks.frPyObjects(shape, size[1], size[0]))).astype(bool)
    if list(shape['size']) != [annotated[1], annotated[0]]:
        raise BrokenSample(str(note.get('id')), f'its size is {shape["size"]}, that of the image '
                                                f'{[annotated[1], annotated[0]]}')
    runs = masks.frPyObjects(shape, *shape['size']) if isinstance(shape['counts'], list) else shape
    mask = masks.decode(runs)
    if size != annotated:
        mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    return mask.astype(bool)
