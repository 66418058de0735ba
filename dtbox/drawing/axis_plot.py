"""Metrics along an axis of an experiment."""
from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

from dtbox.drawing.style import COLOURS, GRAY, apply_rules, format_metric_name, make_canvas, save_figure
from dtbox.drawing.variant_style import compute_limits

WIDTH = 3.4
"""Inches of a panel, its ticks' labels included where they are numbers."""
LETTER = 0.067
"""Inches of a letter of a tick's label, or so."""
MEAN = 'their mean'


@dataclass(frozen=True)
class AxisPanel:
    """One metric along an axis.

    Attributes:
        title: name of the metric.
        lower: whether less is better, or None where neither is.
        lines: (name, list of (place on the axis, seeds' values, mean, half or None)); a name looks the same in all
            panels.
        mean: (place, value) of the mean over lines, drawn black; empty where there is none.
    """
    title: str
    lower: Optional[bool]
    lines: Sequence[Tuple[str, Sequence[Tuple[int, Sequence[float], float, Optional[float]]]]]
    mean: Sequence[Tuple[int, float]] = ()


def draw_axis(panels: Sequence[AxisPanel], paths: Sequence[str], axis: str, labels: Sequence[str]) -> None:
    """Draw metrics along an axis: labels that are all numbers make an x axis with lines, others a list of rows with
    dots.

    Args:
        panels: list of AxisPanel.
        paths: files to write or replace.
        axis: its name.
        labels: its labels; a place is a position in this list.
    """
    numbers = parse_numbers(labels)
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    colours, many = choose_colours(panels)
    with apply_rules():
        figure, axes = make_canvas(math.ceil(len(panels) / columns), columns,
                                   _size(labels, numbers, columns, 1 if many else len(colours)))
        for ax in list(axes.flat)[len(panels):]:
            ax.set_visible(False)
        handles = {}
        for number, (ax, panel) in enumerate(zip(axes.flat, panels)):
            if numbers:
                _along(ax, panel, numbers, labels, colours, many)
            else:
                _listed(ax, panel, labels if number % columns == 0 else [''] * len(labels), colours, many)
            ax.set_title(format_metric_name(panel.title, panel.lower, 38))
            if numbers and number + columns >= len(panels):
                ax.set_xlabel(axis)
            handles.update((name, handle) for handle, name in zip(*ax.get_legend_handles_labels()))
        if len(handles) > 1:
            order = [name for name in (MEAN, *colours) if name in handles]
            longest = max(map(len, order))
            figure.legend([handles[n] for n in order], order, loc='outside lower center',
                          ncol=max(1, min(7, int(44 * columns / (longest + 6)))), frameon=False)
        save_figure(figure, paths)


def parse_numbers(labels: Sequence[str]) -> list[float] | None:
    """Return the labels as numbers, or None where one is not a finite number or there are fewer than two."""
    try:
        values = [float(label) for label in labels]
    except ValueError:
        return None
    return values if len(values) > 1 and len(set(values)) == len(values) and all(map(math.isfinite, values)) else None


def choose_colours(panels: Sequence[AxisPanel]) -> tuple[dict[str, str], bool]:
    """Return (name of a line -> colour, the same in all panels; whether there are too many to tell apart, so that all
    are gray)."""
    names = list(dict.fromkeys(name for panel in panels for name, _ in panel.lines))
    known = [c for c in COLOURS if c != '#000000' or not any(panel.mean for panel in panels)]
    many = len(names) > len(known)
    return {name: GRAY if many else known[i] for i, name in enumerate(names)}, many


def _size(labels, numbers, columns, lines):
    if numbers:
        return WIDTH if columns > 1 else 5.0, 2.5
    wrapped = [_broken(label).split('\n') for label in labels]
    beside = LETTER * max(len(line) for label in wrapped for line in label)
    row = max(0.24, 0.12 + 0.07 * lines, 0.05 + 0.14 * max(map(len, wrapped)))
    return (WIDTH if columns > 1 else 4.4) + beside / columns, 0.75 + row * max(3, len(labels))


def _broken(label):
    return textwrap.fill(label, 34) or ' '


def _along(ax, panel, numbers, labels, colours, many):
    if min(numbers) > 0 and max(numbers) / min(numbers) >= 20:
        ax.set_xscale('log')
    for name, places in panel.lines:
        places = sorted(places, key=lambda p: numbers[p[0]])
        x = [numbers[p[0]] for p in places]
        ax.plot(x, [p[2] for p in places], color=colours[name], linewidth=0.7 if many else 1.3, alpha=0.5 if many
                else 1, marker='o', markersize=3.5, label=None if many else name, zorder=2)
        if not many:
            _bars(ax, [(numbers[p[0]], p[2], p[3]) for p in places if p[3] is not None], colours[name], False)
            ax.scatter([numbers[p[0]] for p in places for _ in p[1]], [v for p in places for v in p[1]], s=7,
                       color=colours[name], alpha=0.45, linewidths=0)
    if panel.mean:
        x, y = zip(*sorted((numbers[at], value) for at, value in panel.mean))
        ax.plot(x, y, color='#000000', linewidth=2.2, marker='o', markersize=3.5, label=MEAN, zorder=3)
    _cut(panel, ax.set_ylim)
    _tick(ax, numbers, labels)


def _tick(ax, numbers, labels):
    """Put the ticks where the labels are, if that leaves room for their text."""
    scale = math.log if ax.get_xscale() == 'log' else float
    at = sorted(map(scale, numbers))
    room = min(b - a for a, b in zip(at, at[1:])) / (at[-1] - at[0]) * (WIDTH - 0.8)
    if room >= LETTER * (max(map(len, labels)) + 1):
        ax.set_xticks(numbers, labels)
        ax.set_xticks([], minor=True)


def _listed(ax, panel, labels, colours, many):
    order = list(colours)
    step = 0 if many else 0.7 / max(1, len(order))
    for name, places in panel.lines:
        y = [p[0] + step * (order.index(name) - (len(order) - 1) / 2) if step else p[0] for p in places]
        ax.plot([p[2] for p in places], y, linestyle='none', marker='o', markersize=3 if many else 5,
                color=colours[name], alpha=0.5 if many else 1, markeredgecolor='white', markeredgewidth=0.6, label=None
                if many else name, zorder=3)
        if not many:
            _bars(ax, [(p[2], at, p[3]) for p, at in zip(places, y) if p[3] is not None], colours[name], True)
            ax.scatter([v for p in places for v in p[1]], [at for p, at in zip(places, y) for _ in p[1]], s=7,
                       color=colours[name], alpha=0.45, linewidths=0)
    if panel.mean:
        ax.plot([value for _, value in panel.mean], [at for at, _ in panel.mean], linestyle='none', marker='|',
                markersize=14, markeredgewidth=1.8, color='#000000', label=MEAN, zorder=2)
    ax.set_yticks(range(len(labels)), [_broken(label) for label in labels])
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.locator_params(axis='x', nbins=5)
    _cut(panel, ax.set_xlim)


def _bars(ax, bars, colour, sideways):
    if bars:
        x, y, half = zip(*bars)
        ax.errorbar(x, y, **{'xerr' if sideways else 'yerr': half}, color=colour, alpha=0.5, linewidth=1.0,
                    linestyle='none', zorder=2)


def _cut(panel, change):
    change(compute_limits([v for _, places in panel.lines for p in places for v in (*p[1], p[2])],
                          [p[2] + s * p[3] for _, places in panel.lines for p in places if p[3] is not None
                           for s in (-1, 1)]))
