"""Curves of several runs over their iterations, in small panels."""
from __future__ import annotations

import math
from collections.abc import Sequence

from dtbox.drawing.style import apply_rules, make_canvas, save_figure, set_title_and_scale
from dtbox.drawing.variant_style import TOLD_APART


def draw_runs(panels: dict[str, list], paths: Sequence[str]) -> None:
    """Draw curves of variants over the iterations, small panels side by side.

    Args:
        panels: dict title -> list of (label, Look, iterations, values).
        paths: files to write or replace.
    """
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    labels = list(dict.fromkeys(label for curves in panels.values() for label, *_ in curves))
    across = min(len(labels), 4 if columns > 1 and max(map(len, labels)) <= 24 else 2 if columns > 1 else 1)
    keyed = len(labels) <= TOLD_APART
    with apply_rules():
        width = 3.4 if columns > 1 else 5.0
        figure, axes = make_canvas(lines, columns, (width, 2.2
                                                    + (0.17 * math.ceil(len(labels) / across) / lines if keyed else 0)))
        for ax in list(axes.flat)[len(panels):]:
            ax.set_visible(False)
        handles = {}
        for number, (ax, (name, curves)) in enumerate(zip(axes.flat, panels.items())):
            for label, look, x, y in curves:
                line, = ax.plot(x, y, color=look.colour, linestyle=look.line, linewidth=1.2 if len(labels) <= 14
                                else 0.8, marker='o' if len(x) < 3 else None, markersize=3)
                handles.setdefault(label, line)
            set_title_and_scale(ax, name, [v for *_, y in curves for v in y])
            if number + columns >= len(panels):
                ax.set_xlabel('iteration')
        if keyed:
            figure.legend([handles[label] for label in labels], labels, loc='outside lower center', ncol=across,
                          frameon=False, fontsize=7)
        save_figure(figure, paths)
