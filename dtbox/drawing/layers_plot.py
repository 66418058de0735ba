"""What each layer of an encoder holds: reconstruction and retrieval over depth, with the layers that are proposed."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dtbox.drawing.style import COLOURS, GRAY, apply_rules, make_canvas, save


def draw_layers(panels: Sequence[dict], path: str, title: str, marks: dict[str, int]) -> None:
    """Draw a panel for each score.

    Args:
        panels: list of dicts with `title`, `label` (of the y axis), `curves` (name -> list of (layer, value, half the
            interval or 0)), `bound` (curve, value): the tolerance below the best of that curve, or None.
        path: PNG to write or replace.
        title: lines at the top.
        marks: dict name -> layer: vertical lines. Layer 0, the embedding, is drawn hollow.
    """
    columns = min(3, len(panels))
    with apply_rules():
        figure, axes = make_canvas(-(-len(panels) // columns), columns, (3.7, 2.9))
        for ax in list(axes.flat)[len(panels):]:
            ax.set_visible(False)
        for ax, panel in zip(axes.flat, panels):
            _panel(ax, panel, marks)
        figure.suptitle(title, fontsize=10)
        save(figure, path)


def _panel(ax, panel, marks):
    for i, (name, points) in enumerate(panel['curves'].items()):
        layers, values, halves = np.array(points, dtype=np.float64).T
        ax.errorbar(layers, values, halves if halves.any() else None, color=COLOURS[i], marker='os^D'[i % 4],
                    markersize=4, capsize=2.5, elinewidth=0.9, label=name)
        embedding = layers == 0  # no candidate
        ax.plot(layers[embedding], values[embedding], linestyle='none', color=COLOURS[i], marker='os^D'[i % 4],
                markersize=4, markerfacecolor='white', zorder=4)
    if panel.get('bound'):
        name, value = panel['bound']
        ax.axhline(value, color=GRAY, linewidth=0.9, linestyle=(0, (4, 3)))
        first, last = (next(iter(panel['curves'].values()))[i][1] for i in (0, -1))
        at, side = (0.99, 'right') if first > last else (0.01, 'left')  # where the curve is below the line
        ax.annotate(name, (at, value), xycoords=('axes fraction', 'data'), xytext=(0, 2), textcoords='offset points',
                    fontsize=7, color=GRAY, ha=side, va='bottom',
                    bbox=dict(facecolor='white', edgecolor='none', alpha=0.8, pad=0.6))
    every = sorted({int(layer) for points in panel['curves'].values() for layer, *_ in points})
    step = -(-len(every) // 14)
    ax.set_xticks(every[::step], ['emb.' if layer == 0 else str(layer) for layer in every[::step]])
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.16 * (high - low))  # room for the names of the marks
    shared = len(set(marks.values())) < len(marks)
    for i, (name, layer) in enumerate(marks.items()):
        ax.axvline(layer, color='#000000', linewidth=0.9, linestyle=(0, (1.5, 1.5)), zorder=0.8)
        right = layer > (every[0] + every[-1]) / 2
        ax.annotate(f'{name} {layer}', (layer, 0.985 - 0.075 * i * shared), xycoords=('data', 'axes fraction'),
                    xytext=(-3 if right else 3, 0), textcoords='offset points', fontsize=7.5, ha='right' if right
                    else 'left', va='top')
    ax.set_xlabel('layer')
    ax.set_ylabel(panel['label'])
    ax.set_title(panel['title'])
    if len(panel['curves']) > 1:
        ax.legend(loc='best', frameon=True, framealpha=0.85, edgecolor='none')
