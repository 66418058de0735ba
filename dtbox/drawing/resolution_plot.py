"""Scores, time and memory over the size of images."""
from __future__ import annotations

from dtbox.drawing.style import COLOURS, apply_rules, make_canvas, save

LOGARITHMIC = ('seconds',)
"""Values that grow with the area: their axis is logarithmic."""


def draw_resolution(rows: list[dict], headings: dict[str, str], path: str, title: str) -> None:
    """Draw a panel for each score, a line for each way.

    Args:
        rows: dicts with `size`, `way` and scores.
        headings: score -> title of its panel.
        path: PNG to write or replace.
        title: line at the top.
    """
    panels = {name: heading for name, heading in headings.items() if any(row.get(name) is not None for row in rows)}
    with apply_rules():
        figure, axes = make_canvas(1, len(panels), (2.9, 2.6))
        for ax, (name, heading) in zip(axes[0], panels.items()):
            for i, way in enumerate(dict.fromkeys(row['way'] for row in rows)):
                points = [(row['size'], row[name]) for row in rows if row['way'] == way and row.get(name) is not None]
                ax.plot(*zip(*points), color=COLOURS[i], marker='os'[i % 2], markersize=4, label=way)
            ax.set_xlabel('side of the images [pixels]')
            ax.set_title(heading)
            ax.set_xticks(sorted({row['size'] for row in rows}))
            ax.tick_params(axis='x', rotation=45)
            if name in LOGARITHMIC:
                ax.set_yscale('log')
        axes[0, 0].legend(loc='best', frameon=True, framealpha=0.85, edgecolor='none')
        figure.suptitle(title, fontsize=10)
        save(figure, path)
