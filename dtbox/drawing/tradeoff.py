"""Variants in the plane of two metrics, with the Pareto front and labels that do not cover each other."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

import numpy as np

from dtbox.drawing.labels import compute_distances, find_clear_boxes, place
from dtbox.drawing.style import GRAY, apply_rules, format_metric_name, make_canvas, save_figure
from dtbox.drawing.variant_style import Look, compute_limits

KEYED = 14
"""Labels up to which they are written in the larger type."""


@dataclass(frozen=True)
class Point:
    """A variant in a plane of two metrics.

    Attributes:
        label: name of the variant.
        look: its Look.
        seeds: (x, y) of each seed.
        mean: (x, y).
        half: half the widths of the intervals of x and y; None where there is none.
        front: whether no other variant beats it.
    """
    label: str
    look: Look
    seeds: Sequence[Tuple[float, float]]
    mean: Tuple[float, float]
    half: Tuple[Optional[float], Optional[float]] = (None, None)
    front: bool = False


def draw_tradeoff(points: Sequence[Point], paths: Sequence[str], names: Sequence[str],
                  lower: Sequence[bool]) -> list[str]:
    """Draw variants in the plane of two metrics, with the Pareto front.

    Args:
        points: list of Point; labels do not cover each other.
        paths: files to write or replace (PNG, PDF, SVG by suffix).
        names: of the two metrics.
        lower: for each of the two, whether less is better.

    Returns:
        labels of the points for which there was no room.
    """
    with apply_rules():
        figure, axes = make_canvas(1, 1, (4.9, 3.4))
        ax = axes[0][0]
        _spread(ax, points, 6.5 if len(points) <= 40 else 4.5)
        _front(ax, [p for p in points if p.front], lower)
        _limits(ax, points)
        ax.set_xlabel(format_metric_name(names[0], lower[0], 60))
        ax.set_ylabel(format_metric_name(names[1], lower[1], 42))
        homeless = _label(figure, ax, points)
        save_figure(figure, paths)
    return homeless


def _spread(ax, points, size):
    """Seeds, intervals and means of all points, in as few artists as there are markers."""
    seeds = [(xy, p.look.colour) for p in points if len(p.seeds) > 1 for xy in p.seeds]
    if seeds:
        ax.scatter(*zip(*(xy for xy, _ in seeds)), s=7, c=[colour for _, colour in seeds], alpha=0.45, linewidths=0,
                   zorder=2)
    for k, lines in ((0, ax.hlines), (1, ax.vlines)):
        bars = [(p.mean[1 - k], p.mean[k] - p.half[k], p.mean[k] + p.half[k], p.look.colour) for p in points
                if p.half[k] is not None]
        if bars:
            at, low, high, colours = zip(*bars)
            # two in a tuple would be a colour and its alpha
            lines(at, low, high, colors=list(colours), alpha=0.4, linewidth=0.9, zorder=2)
    for marker in dict.fromkeys(p.look.marker for p in points):
        mine = [p for p in points if p.look.marker == marker]
        ax.scatter(*zip(*(p.mean for p in mine)), marker=marker, s=size ** 2, c=[p.look.colour for p in mine],
                   edgecolors=['#000000' if p.front else 'white' for p in mine], linewidths=0.8, zorder=4)


def _front(ax, front, lower):
    """The edge of what the front dominates: a step line through its points."""
    front = sorted((p.mean for p in front), key=lambda m: (-m[0] if lower[0] else m[0], m[1]))
    if len(front) > 1:
        ax.step(*zip(*front), where='pre', color=GRAY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1.5,
                label='Pareto front')


def _limits(ax, points):
    for k, change in ((0, ax.set_xlim), (1, ax.set_ylim)):
        change(compute_limits([v[k] for p in points for v in (*p.seeds, p.mean)],
                              [p.mean[k] + s * p.half[k] for p in points if p.half[k] is not None for s in (-1, 1)]))


def _ink(colour):
    """A darker colour, in which text can be read."""
    return '#' + ''.join(f'{int(int(colour[i:i + 2], 16) * 0.55):02x}' for i in (1, 3, 5))


def _label(figure, ax, points):
    """Write the labels beside their points, with a thin line where one had to go further away."""
    from matplotlib.collections import LineCollection
    from matplotlib.patheffects import withStroke
    figure.draw_without_rendering()  # the layout is known from here on
    figure.set_layout_engine('none')
    renderer, pixel = figure.canvas.get_renderer(), figure.dpi / 72
    points = sorted(points, key=lambda p: not p.front)
    at = ax.transData.transform([p.mean for p in points])
    size = 7 if len(points) <= KEYED else 6
    halo = [withStroke(linewidth=1.8, foreground='white', alpha=0.85)] if any(h is not None for p in points
                                                                              for h in p.half) else None
    texts = [ax.annotate(p.label, p.mean, xytext=(0, 0), textcoords='offset points', va='bottom', ha='left',
                         fontsize=size, color=_ink(p.look.colour), zorder=5, path_effects=halo) for p in points]
    sizes = [(box.width + 2, box.height + 1) for box in (t.get_window_extent(renderer) for t in texts)]
    edge = ax.get_window_extent(renderer)
    marks = [(x - 5 * pixel, y - 5 * pixel, x + 5 * pixel, y + 5 * pixel) for x, y in at]
    boxes = place(at, sizes, (edge.x0 + 2, edge.y0 + 2, edge.x1 - 2, edge.y1 - 2), marks)
    homeless = []
    leaders = []
    colours = []
    for p, xy, text, box in zip(points, at, texts, boxes):
        if box is None:
            homeless.append(p.label)
            text.remove()
            continue
        text.xyann = ((box[0] + 1 - xy[0]) / pixel, (box[1] + 1 - xy[1]) / pixel)
        boxed = np.asarray([box])
        if compute_distances(xy[None], boxed)[0, 0] > 12 * pixel or not find_clear_boxes(xy, boxed, at)[0]:
            end = ax.transData.inverted().transform((min(max(xy[0], box[0]), box[2]), min(max(xy[1], box[1]), box[3])))
            leaders.append((p.mean, end))
            colours.append(p.look.colour)
    ax.add_collection(LineCollection(leaders, colors=colours, linewidths=0.7, zorder=3.5), autolim=False)
    return homeless
