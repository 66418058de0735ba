"""Places for labels of points, so that no label covers another or a point.

Legend: all in pixels, y upwards; a box is (left, bottom, right, top); B boxes, P points.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RADII = np.array([9, 14, 20, 28, 38, 50, 66, 86, 110, 140, 180, 230, 300, 400.])
NEAR = 38
"""Radius up to which a label may move to be clearly that of its point; a line does it further out."""
CLEARLY = 2.0
"""How many times nearer to its own point than to any other a label is where nobody can mistake it."""
ANGLES = np.radians((35, -35, 145, -145, 0, 180, 65, -65, 115, -115, 90, -90))
"""Slanting first: bars of intervals lie straight through a point."""


def place(points: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], bounds: Sequence[float],
          obstacles: Sequence = ()) -> list:
    """Choose a box for each label: the nearest free one that is clearly nearer to its own point than to others, else
    the nearest free one.

    Args:
        points: (x, y) that a label belongs to, most important first.
        sizes: (width, height) of each label.
        bounds: box that labels stay in.
        obstacles: boxes that labels avoid (points, mostly).

    Returns:
        list of boxes, None where there is no free place in bounds.
    """
    taken = np.reshape(np.asarray(obstacles, dtype=np.float64), (-1, 4))
    boxes_of_labels = []
    points = np.asarray(points, dtype=np.float64)
    for point, size in zip(points, sizes):
        box = _choose(point, size, bounds, taken, points)
        boxes_of_labels.append(None if box is None else tuple(box.tolist()))
        if box is not None:
            taken = np.vstack([taken, box])
    return boxes_of_labels


def _choose(point, size, bounds, taken, points):
    first = None
    for radius, boxes in zip(RADII, _around(point, size)):
        if first is not None and radius > NEAR:
            break
        boxes = boxes[(boxes[:, :2] >= bounds[:2]).all(axis=1) & (boxes[:, 2:] <= bounds[2:]).all(axis=1)]
        free = boxes[~find_overlaps(boxes, taken).any(axis=1)]
        clear = free[find_clear_boxes(point, free, points)] if len(free) else free
        if len(clear):
            return clear[0]
        first = free[0] if first is None and len(free) else first
    return first


def find_clear_boxes(point: int, boxes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Say which of `boxes` [B, 4] are clearly nearer to their own point than to any other of `points`."""
    others = points[(points != point).any(axis=1)]
    return (compute_distances(others, boxes) > CLEARLY * compute_distances(np.asarray([point]), boxes)).all(axis=1)


def find_overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Say which of `boxes` [B, 4] have area in common with which of `others` [P, 4]; returns [B, P]."""
    return ((boxes[:, None, :2] < others[None, :, 2:]) & (others[None, :, :2] < boxes[:, None, 2:])).all(axis=2)


def compute_distances(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return how far `points` [P, 2] are from `boxes` [B, 4], 0 inside, as [B, P]."""
    beside = np.maximum(boxes[:, None, :2] - points[None], points[None] - boxes[:, None, 2:])
    return np.hypot(*np.moveaxis(np.maximum(beside, 0), 2, 0))


def _around(point, size):
    """For each radius, the boxes whose nearest corner, or middle of an edge, lies in that distance of a point in the
    direction of each angle."""
    directions = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
    shift = np.where(directions > 0.3, 0, np.where(directions < -0.3, 1, 0.5)) * size
    corners = point + RADII[:, None, None] * directions - shift
    return np.concatenate([corners, corners + size], axis=2)
