"""How often each code of a codebook is used: codes sorted by frequency, on a log scale, a panel for each vocabulary and
depth.

Legend: K codebook size.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from dtbox.drawing.style import COLOURS, GRAY, apply_rules, make_canvas, save

BINS = 400
"""Steps of a curve; larger codebooks are averaged over neighbouring ranks."""

COLUMNS = 4


@dataclass(frozen=True)
class Codebook:
    """A panel.

    Attributes:
        vocabulary: its name.
        depth: counted from 0, or None where a token has one code.
        counts: how often each code that was seen was seen.
        size: number of codes K.
        usage: fraction of the codes that were seen, in [0, 1].
        perplexity: exp of the histogram's entropy.
        dead: number of codes never seen.
    """
    vocabulary: str
    depth: Optional[int]
    counts: Any
    size: int
    usage: float
    perplexity: float
    dead: int


def rank_codes(histogram: np.ndarray, bins: int = BINS) -> tuple[np.ndarray, np.ndarray]:
    """Sort the used part of a histogram for drawing.

    Args:
        histogram: [K] counts, at least one above 0.
        bins: steps at most.

    Returns:
        (edges [M + 1], ranks from 0 to the number of codes in use; shares [M], mean fraction of all tokens that a code
        between two edges has).
    """
    counts = np.asarray(histogram, dtype=np.float64)
    counts = np.sort(counts[counts > 0])[::-1]
    edges = np.unique(np.linspace(0, len(counts), min(bins, len(counts)) + 1).round().astype(np.int64))
    return edges, np.add.reduceat(counts, edges[:-1]) / np.diff(edges) / counts.sum()


def arrange_panels(codebooks: Sequence[Codebook]) -> list[list[Codebook]]:
    """Return rows of panels, at most `COLUMNS` each: a vocabulary starts a row, unless none has more than one panel."""
    groups = {}
    for codebook in codebooks:
        groups.setdefault(codebook.vocabulary, []).append(codebook)
    lists = list(groups.values()) if max(map(len, groups.values())) > 1 else [list(codebooks)]
    return [group[i:i + COLUMNS] for group in lists for i in range(0, len(group), COLUMNS)]


def draw_codebooks(codebooks: Sequence[Codebook], path: str, title: str) -> None:
    """Draw a panel for each codebook.

    Args:
        codebooks: list of `Codebook`, those of a vocabulary one after the other.
        path: PNG to write or replace.
        title: line at the top.
    """
    table = arrange_panels(codebooks)
    columns = max(map(len, table))
    curves = [rank_codes(c.counts) for c in codebooks]
    limits = min(min(s.min() for _, s in curves), *(1 / c.size for c in codebooks)) / 3, max(s.max()
                                                                                             for _, s in curves) * 20
    with apply_rules():
        figure, axes = make_canvas(len(table), columns, (3.0 if columns > 1 else 4.6, 2.35))
        for ax in axes.flat:
            ax.set_visible(False)
        for row, line in enumerate(table):
            for column, codebook in enumerate(line):
                _panel(axes[row][column], codebook, limits, COLOURS[_number(codebook, codebooks) % len(COLOURS)])
                axes[row][column].tick_params(labelleft=column == 0)
            axes[row][0].set_ylabel('fraction of the tokens')
        for column in range(columns):
            lowest = max(r for r, line in enumerate(table) if column < len(line))
            axes[lowest][column].set_xlabel('codes, most frequent first')
        figure.suptitle(f'{title}\ndashed: all codes used alike; hatched: codes never used', fontsize=10)
        save(figure, path)


def _number(codebook, codebooks):
    return list(dict.fromkeys(c.vocabulary for c in codebooks)).index(codebook.vocabulary)


def _panel(ax, codebook, limits, colour):
    size = codebook.size
    edges, shares = rank_codes(codebook.counts)
    ax.set_visible(True)
    ax.set_yscale('log')
    ax.set(xlim=(0, size), ylim=limits)
    ax.stairs(shares, edges, baseline=limits[0], fill=True, color=colour, alpha=0.30, linewidth=0)
    ax.stairs(shares, edges, baseline=None, color=colour, linewidth=1.3)
    ax.axhline(1 / size, color=GRAY, linewidth=0.9, linestyle=(0, (4, 3)))
    if codebook.dead:
        ax.axvspan(size - codebook.dead, size, facecolor='#F2F2F2', edgecolor='#BDBDBD', hatch='////', linewidth=0,
                   zorder=0.5)
    ax.set_xticks([0, size // 2, size], ['0', f'{size // 2:,}', f'{size:,}'])
    for label, side in zip(ax.get_xticklabels(), ('left', 'center', 'right')):
        label.set_horizontalalignment(side)
    ax.set_title(codebook.vocabulary if codebook.depth is None else f'{codebook.vocabulary}, depth {codebook.depth}')
    ax.text(0.97, 0.95, f'{codebook.usage:.1%} used, {codebook.dead:,} dead\nperplexity '
                        f'{codebook.perplexity:,.1f}', transform=ax.transAxes,
            ha='right', va='top', fontsize=8, bbox=dict(facecolor='white', edgecolor='none', alpha=0.85, pad=1.5))
