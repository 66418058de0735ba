"""Metrics along an axis of an experiment."""
import math
import textwrap
from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

from dtbox.drawing.looks import visible
from dtbox.drawing.style import COLOURS, GRAY, canvas, rules, save_figure


@dataclass(frozen=True)
class AxisPanel:
    """One metric along an axis.

    Attributes:
        title: name of the metric, and which way is better.
        lines: (name, list of (place on the axis, seeds' values, mean, half or None)).
        led: whether the first line is the mean of the others, drawn black.
    """
    title: str
    lines: Sequence[Tuple[str, Sequence[Tuple[int, Sequence[float], float, Optional[float]]]]]
    led: bool = False


def draw_axis(panels, paths, axis, labels, title=''):
    """Draw metrics along an axis: labels that are all numbers make an x axis with lines, others a list of rows with dots.

    Args:
        panels: list of AxisPanel.
        paths: files to write or replace.
        axis: its name.
        labels: its labels; a place is a position in this list.
        title: line at the top.
    """
    numbers = numbers_of(labels)
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    most = max(len(panel.lines) for panel in panels)
    legend = 1 < most <= len(COLOURS)
    with rules():
        size = (3.4, 2.5) if numbers else (3.4 if columns > 1 else 5.0, 0.75 + 0.24 * max(3, len(labels)))
        figure, axes = canvas(rows, columns, size)
        for ax in list(axes.flat)[len(panels):]:
            ax.set_visible(False)
        for number, (ax, panel) in enumerate(zip(axes.flat, panels)):
            (_along if numbers else _listed)(ax, panel, numbers or labels, number % columns == 0)
            ax.set_title(textwrap.fill(panel.title, 40))
            if numbers and number + columns >= len(panels):
                ax.set_xlabel(axis)
        if legend:
            handles, names = axes.flat[0].get_legend_handles_labels()
            figure.legend(handles, names, loc='outside lower center', ncol=4, frameon=False)
        figure.suptitle(title, fontsize=10)
        save_figure(figure, paths)


def numbers_of(labels):
    """Return the labels as numbers, or None where one is no finite number or there are fewer than two."""
    try:
        values = [float(label) for label in labels]
    except ValueError:
        return None
    return values if len(values) > 1 and len(set(values)) == len(values) and all(map(math.isfinite, values)) else None


def _line_look(i, many, led):
    if i == 0 and led:
        return '#000000', 2.2, 1.0
    return (GRAY, 0.7, 0.5) if many else (COLOURS[i - led], 1.3, 1.0)


def _along(ax, panel, numbers, first):
    many = len(panel.lines) > len(COLOURS)
    if min(numbers) > 0 and max(numbers) / min(numbers) >= 20:
        ax.set_xscale('log')
    for i, (name, places) in enumerate(panel.lines):
        places = sorted(places, key=lambda p: numbers[p[0]])
        colour, width, alpha = _line_look(i, many, panel.led)
        x = [numbers[p[0]] for p in places]
        ax.plot(x, [p[2] for p in places], color=colour, linewidth=width, alpha=alpha, marker='o', markersize=3.5, label=name, zorder=3 - (i > 0))
        if not many:
            _bars(ax, [(numbers[p[0]], p[2], p[3]) for p in places if p[3] is not None], colour, False)
            ax.scatter([numbers[p[0]] for p in places for _ in p[1]], [v for p in places for v in p[1]], s=7, color=colour, alpha=0.45, linewidths=0)
    _cut(panel, ax.set_ylim)


def _listed(ax, panel, labels, first):
    many = len(panel.lines) > len(COLOURS)
    shift = 0 if len(panel.lines) == 1 or many else 0.6 / len(panel.lines)
    for i, (name, places) in enumerate(panel.lines):
        colour, _, alpha = _line_look(i, many, panel.led)
        y = [p[0] + shift * (i - (len(panel.lines) - 1) / 2) for p in places]
        ax.plot([p[2] for p in places], y, linestyle='none', marker='o', markersize=3 if many and i else 5, color=colour, alpha=alpha,
                markeredgecolor='white', markeredgewidth=0.6, label=name, zorder=4 - (i > 0))
        if not many or i == 0:
            _bars(ax, [(p[2], at, p[3]) for p, at in zip(places, y) if p[3] is not None], colour, True)
            ax.scatter([v for p in places for v in p[1]], [at for p, at in zip(places, y) for _ in p[1]], s=7, color=colour, alpha=0.45, linewidths=0)
    ax.set_yticks(range(len(labels)), labels if first else [''] * len(labels))
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.locator_params(axis='x', nbins=5)
    _cut(panel, ax.set_xlim)


def _bars(ax, bars, colour, sideways):
    if bars:
        x, y, half = zip(*bars)
        ax.errorbar(x, y, **{'xerr' if sideways else 'yerr': half}, color=colour, alpha=0.5, linewidth=1.0, linestyle='none', zorder=2)


def _cut(panel, change):
    change(visible([v for _, places in panel.lines for p in places for v in (*p[1], p[2])],
                   [p[2] + s * p[3] for _, places in panel.lines for p in places if p[3] is not None for s in (-1, 1)]))
