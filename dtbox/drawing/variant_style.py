"""How the variants of an experiment look: colour, marker and line, the same in every plot."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dtbox.drawing.style import COLOURS

MARKERS = 'os^DvPX'
LINES = ('-', (0, (5, 2)), (0, (1.5, 1.5)), '-.')
TOLD_APART = len(COLOURS) * len(LINES)
"""Variants up to which each has a look of its own."""


@dataclass(frozen=True)
class Look:
    """Colour, marker and line of a variant."""
    colour: str
    marker: str
    line: object


def choose_looks(count: int) -> list[Look]:
    """Return `count` looks: seven colours by four lines while that suffices, else colours of a scale in the order of
    the variants."""
    if count <= TOLD_APART:
        n = len(COLOURS)
        return [Look(COLOURS[i % n], MARKERS[(i + i // n) % len(MARKERS)], LINES[i // n]) for i in range(count)]
    from matplotlib import colormaps
    from matplotlib.colors import to_hex
    scale = colormaps['viridis']
    return [Look(to_hex(scale(0.95 * i / (count - 1))), MARKERS[i % len(MARKERS)], '-') for i in range(count)]


def compute_limits(values: Sequence[float], bars: Sequence[float]) -> tuple[float, float]:
    """Return the limits of an axis that shows every value, and as much of the intervals as does not push the values
    together.

    Args:
        values: numbers.
        bars: ends of intervals; those of two seeds can be wider than all else.
    """
    low, high = min(values), max(values)
    spread = high - low or abs(high) * 0.02 or 1.0
    low, high = max(low - 0.5 * spread, min([low, *bars])), min(high + 0.5 * spread, max([high, *bars]))
    margin = 0.07 * (high - low or spread)
    return low - margin, high + margin
