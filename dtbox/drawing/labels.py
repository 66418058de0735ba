"""Places for labels of points, so that no label covers another or a point.

Legend: all in pixels, y upwards; a box is (left, bottom, right, top).
"""
import math

RADII = (9, 14, 20, 28, 38, 50, 66, 86, 110, 140, 180, 230, 300, 400)
ANGLES = [math.radians(a) for a in (0, 180, 30, -30, 150, -150, 60, -60, 120, -120, 90, -90)]


def place(points, sizes, bounds, obstacles=()):
    """Choose a box for each label, the nearest free one to its point.

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
        boxes = (_beside(point, size, radius, angle) for radius in RADII for angle in ANGLES)
        box = next((b for b in boxes if _within(b, bounds) and not any(overlap(b, o) for o in (*taken, *obstacles))), None)
        found.append(box)
        if box is not None:
            taken.append(box)
    return found


def overlap(a, b):
    """Whether two boxes have area in common."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def distance(point, box):
    """How far a point is from a box, 0 inside."""
    return math.hypot(max(box[0] - point[0], 0, point[0] - box[2]), max(box[1] - point[1], 0, point[1] - box[3]))


def _beside(point, size, radius, angle):
    """The box whose edge nearest to the point lies `radius` away in the direction `angle`."""
    x, y = point[0] + radius * math.cos(angle), point[1] + radius * math.sin(angle)
    left = x - size[0] * (1 - math.cos(angle)) / 2
    bottom = y - size[1] * (1 - math.sin(angle)) / 2
    return left, bottom, left + size[0], bottom + size[1]


def _within(box, bounds):
    return box[0] >= bounds[0] and box[1] >= bounds[1] and box[2] <= bounds[2] and box[3] <= bounds[3]
