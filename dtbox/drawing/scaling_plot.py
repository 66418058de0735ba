"""Images a second and memory over what makes a tokenizer larger, with the limit of the machine beside them."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dtbox.drawing.style import COLOURS, GRAY, apply_rules, make_canvas, save

JOBS = ('encode', 'decode')
DASHED = (0, (4, 2))


def draw_scaling(rows: Sequence[Mapping[str, Any]], axes: Mapping[str, str], path: str, title: str) -> None:
    """Draw a column for each axis: images a second above, memory below.

    Args:
        rows: dicts with `axis`, `value`, `encode` and `decode` (images a second), `encode_limit` and `decode_limit`
            (what the matrix rate allows), `megabytes` (None where that is unknown).
        axes: axis -> label, in the order of the columns.
        path: PNG to write or replace.
        title: line at the top.
    """
    shown = {axis: label for axis, label in axes.items() if any(row['axis'] == axis for row in rows)}
    with apply_rules():
        figure, panels = make_canvas(2, len(shown), (2.4 if len(shown) > 1 else 4.0, 2.2))
        for column, (axis, label) in enumerate(shown.items()):
            points = sorted((row for row in rows if row['axis'] == axis), key=lambda row: row['value'])
            _draw_rates(panels[0, column], points)
            _draw_memory(panels[1, column], points)
            for ax in panels[:, column]:
                _place_ticks(ax, [row['value'] for row in points])
            panels[1, column].set_xlabel(label)
        panels[0, 0].set_ylabel('images a second')
        panels[1, 0].set_ylabel('memory [MB]')
        handles, names = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc='outside lower center', ncol=min(4, max(2, len(shown))),
                      frameon=False)
        figure.suptitle(title, fontsize=9.5)
        save(figure, path)


def _draw_rates(ax: Any, points: list) -> None:
    x = [row['value'] for row in points]
    for colour, job in zip(COLOURS, JOBS):
        ax.plot(x, [row[job] for row in points], color=colour, marker='o', markersize=4, label=job)
        ax.plot(x, [row[f'{job}_limit'] for row in points], color=colour, linestyle=DASHED, linewidth=0.9,
                label=f'{job}, at the matrix rate')
    from matplotlib.ticker import FuncFormatter, LogLocator
    ax.set_yscale('log')
    ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    for name in ('major', 'minor'):
        getattr(ax.yaxis, f'set_{name}_formatter')(FuncFormatter(lambda value, _: f'{value:,g}'))


def _draw_memory(ax: Any, points: list) -> None:
    known = [(row['value'], row['megabytes']) for row in points if row['megabytes'] is not None]
    if known:
        ax.plot(*zip(*known), color=GRAY, marker='s', markersize=4)
        ax.set_ylim(0, 1.12 * max(y for _, y in known))


def _place_ticks(ax: Any, values: list) -> None:
    if len(values) > 1 and values[-1] / values[0] >= 8:
        ax.set_xscale('log')
    ax.set_xticks(values, [f'{value:,}' for value in values], rotation=45 if max(values) >= 1000 else 0)
    ax.set_xticks([], minor=True)
