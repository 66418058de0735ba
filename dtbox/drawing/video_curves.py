"""A score over the frames of clips."""
from __future__ import annotations

import numpy as np

from dtbox.drawing.style import COLOURS, apply_rules, make_canvas, save

MOST = 7
"""Clips that are drawn in colours of their own; the others are gray."""


def draw_over_time(curves: dict[str, list[tuple[int, float]]], path: str, title: str, label: str = 'PSNR [dB]') -> None:
    """Draw a line for each clip.

    Args:
        curves: clip -> list of (frame, value).
        path: PNG to write or replace.
        title: line at the top.
        label: of the y axis.
    """
    with apply_rules():
        figure, axes = make_canvas(1, 1, (7.2, 3.2))
        ax = axes[0, 0]
        for i, (clip, points) in enumerate(curves.items()):
            frames, values = np.array(points, dtype=np.float64).T
            own = i < MOST
            ax.plot(frames, values, color=COLOURS[i % len(COLOURS)] if own else '#C0C0C0', linewidth=1.3 if own
                    else 0.7, zorder=3 if own else 2,
                    label=f'{clip} (mean {values.mean():.2f})' if own else None, marker='.' if len(points) < 40
                    else None)
        ax.set_xlabel('frame')
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_ylabel(label)
        ax.set_title(title)
        if len(curves) > MOST:
            ax.plot([], [], color='#C0C0C0', label=f'{len(curves) - MOST} more clips')
        ax.legend(loc='best', frameon=True, framealpha=0.85, edgecolor='none')
        save(figure, path)
