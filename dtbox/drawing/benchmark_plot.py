"""The benchmark of quantizers as a plot: how many times faster than each peer, and the fraction of the matrix-product
rate."""
from __future__ import annotations

from collections.abc import Sequence

from dtbox.drawing.style import COLOURS, apply_rules, make_canvas, save


def draw_benchmark(results: Sequence[dict], path: str, title: str) -> None:
    """Draw.

    Args:
        results: dicts with `case` (label), `training`, `ratio` (peer -> times faster, or None) and `share_of_matmul`
            (or None), top first.
        path: PNG to write or replace.
        title: line at the top.
    """
    parts = [(name, [r for r in results if r['training'] is training])
             for training, name in ((False, 'evaluation'), (True, 'training step'))]
    parts = [(name, rows) for name, rows in parts if rows]
    peers = list(dict.fromkeys(peer for r in results for peer in r['ratio']))
    with apply_rules():
        figure, axes = make_canvas(len(parts), 2, (5.2, 0.6 + 0.24 * max(len(rows) for _, rows in parts)))
        for (left, right), (name, rows) in zip(axes, parts):
            _ratios(left, rows, peers, name)
            _shares(right, rows, name)
        figure.suptitle(title, fontsize=10)
        save(figure, path)


def _ratios(ax, rows, peers, name):
    for i, peer in enumerate(peers):
        points = [(r['ratio'].get(peer), y) for y, r in enumerate(rows) if r['ratio'].get(peer)]
        if points:
            ax.scatter(*zip(*points), color=COLOURS[i], s=22, label=peer, marker='os^'[i % 3], zorder=3)
    ax.axvline(1, color='#000000', linewidth=0.8)
    ax.set_xscale('log')
    _rows(ax, rows)
    ax.set_title(f'{name}: times faster than')
    ax.set_xlabel('time of the peer / time of dtbox (right of 1: dtbox is faster)')
    ax.legend(loc='best', frameon=True, framealpha=0.85, edgecolor='none')


def _shares(ax, rows, name):
    shares = [100 * (r['share_of_matmul'] or 0) for r in rows]
    ax.barh(range(len(rows)), shares, color=COLOURS[0], height=0.6)
    for y, (row, share) in enumerate(zip(rows, shares)):
        ax.text(share + 1, y, f'{share:.0f} %' if row['share_of_matmul'] else 'no search', va='center', fontsize=7)
    _rows(ax, rows)
    ax.set_yticklabels([])
    ax.set_xlim(0, 110)
    ax.set_title(f'{name}: fraction of the matrix-product rate')
    ax.set_xlabel('%')


def _rows(ax, rows):
    ax.set_yticks(range(len(rows)), [r['case'] for r in rows], fontsize=7)
    ax.set_ylim(len(rows) - 0.4, -0.6)
