"""Scores, time and memory over the size of images."""
from __future__ import annotations

from collections.abc import Sequence

from dtbox.drawing.style import COLOURS, canvas, rules, save

PANELS = (('psnr', 'PSNR [dB]', False), ('ssim', 'SSIM', False), ('seconds', 'seconds per image', True),
          ('peak_mb', 'peak memory [MB]', False))


def draw_resolution(rows: Sequence[dict], path: str, title: str) -> None:
    """Draw a panel for each score, a line for each way.

    Args:
        rows: list of dicts with `size`, `way` and scores.
        path: PNG to write or replace.
        title: line at the top.
    """
    panels = [p for p in PANELS if any(row.get(p[0]) is not None for row in rows)]
    with rules():
        figure, axes = canvas(1, len(panels), (2.9, 2.6))
        for ax, (name, label, log) in zip(axes[0], panels):
            for i, way in enumerate(dict.fromkeys(row['way'] for row in rows)):
                points = [(row['size'], row[name]) for row in rows if row['way'] == way and row.get(name) is not None]
                ax.plot(*zip(*points), color=COLOURS[i], marker='os'[i % 2], markersize=4, label=way)
            ax.set_xlabel('side of the images [pixels]')
            ax.set_title(label)
            ax.set_xticks(sorted({row['size'] for row in rows}))
            ax.tick_params(axis='x', rotation=45)
            if log:
                ax.set_yscale('log')
        axes[0, 0].legend(loc='best', frameon=True, framealpha=0.85, edgecolor='none')
        figure.suptitle(title, fontsize=10)
        save(figure, path)
