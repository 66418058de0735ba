"""Places for labels of points, so that no label covers another or a point.

Legend: all in pixels, y upwards; a box is (left, bottom, right, top).
"""
import math

RADII = (9, 14, 20, 28, 38, 50, 66, 86, 110, 140, 180, 230, 300, 400)
NEAR = 38
"""Radius up to which a label may move to be clearly that of its point; a line does it further out."""
ANGLES = [math.radians(a) for a in (35, -35, 145, -145, 0, 180, 65, -65, 115, -115, 90, -90)]
"""Slanting first: bars of intervals lie straight through a point."""


def place(points, sizes, bounds, obstacles=()):
    """Choose a box for each label: the nearest free one that is nearer to its own point than to others, else the nearest free one.

    Args:
        points: (x, y) that a label belongs to, most important first.
        sizes: (width, height) of each label.
        bounds: box that labels stay in.
        obstacles: boxes that labels avoid (points, mostly).

    Returns:
        list of boxes, None where there is no free place in bounds.
    """
    taken, found = [], []
    for point, size in zip(points, sizes):
        box = _choose(point, size, bounds, [*taken, *obstacles], points)
        found.append(box)
        if box is not None:
            taken.append(box)
    return found


def _choose(point, size, bounds, obstacles, points):
    first = None
    for radius in RADII:
        if first is not None and radius > NEAR:
            break
        for angle in ANGLES:
            box = _beside(point, size, radius, angle)
            if _within(box, bounds) and not any(overlap(box, other) for other in obstacles):
                if belongs(point, box, points):
                    return box
                first = first or box
    return first


def belongs(point, box, points):
    """Whether a box is clearly nearer to its own point than to any other of `points`."""
    own = distance(point, box)
    return all(distance(other, box) > 1.3 * own for other in points if other != point)


def overlap(a, b):
    """Whether two boxes have area in common."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def distance(point, box):
    """How far a point is from a box, 0 inside."""
    return math.hypot(max(box[0] - point[0], 0, point[0] - box[2]), max(box[1] - point[1], 0, point[1] - box[3]))


def _beside(point, size, radius, angle):
    """The box whose nearest corner, or middle of an edge, lies `radius` away in the direction `angle`."""
    x, y = math.cos(angle), math.sin(angle)
    left = point[0] + radius * x - size[0] * (0 if x > 0.3 else 1 if x < -0.3 else 0.5)
    bottom = point[1] + radius * y - size[1] * (0 if y > 0.3 else 1 if y < -0.3 else 0.5)
    return left, bottom, left + size[0], bottom + size[1]


def _within(box, bounds):
    return box[0] >= bounds[0] and box[1] >= bounds[1] and box[2] <= bounds[2] and box[3] <= bounds[3]
