"""The words of annotations beside Python's own: ranges of numbers, and dicts with fixed keys."""
from __future__ import annotations

from typing import Annotated, Any, NamedTuple


class Within(NamedTuple):
    """The finite numbers from `low` to `high`; `above` leaves `low` itself out, `below` leaves `high` out."""
    low: float
    high: float = float('inf')
    above: bool = False
    below: bool = False

    def holds(self, value: Any) -> bool:
        """Return whether a number is within."""
        at_end = self.above and value == self.low or self.below and value == self.high
        return self.low <= value <= self.high and value != float('inf') and not at_end

    def __str__(self):
        if self.high == float('inf'):
            return f'{"above" if self.above else "of at least"} {self.low:g}'
        low, high = (f'{self.low:g}, {self.high:.10g}').split(', ')
        return f'from {low} to {high}' + (' (both left out)' if self.above and self.below else
                                          f' ({low} left out)' if self.above else f' ({high} left out)' * self.below)


class Filled(NamedTuple):
    """The texts that hold something: an empty one is what is left of a shell variable that is not set."""

    def holds(self, value: Any) -> bool:
        """Return whether a text holds something."""
        return bool(value.strip())

    def __str__(self):
        return 'that is not empty'


RULES = (Within, Filled)
Text = Annotated[str, Filled()]
Positive = Annotated[int, Within(1)]
Count = Annotated[int, Within(0)]
Depth = Annotated[int, Within(1, 1024)]
"""Blocks, layers, codes or passes one after the other: what a loop goes through one by one."""
Factor = Annotated[float, Within(0)]
PositiveNumber = Annotated[float, Within(0, above=True)]
Fraction = Annotated[float, Within(0, 1)]
Average = Annotated[float, Within(0, 1, above=True, below=True)]
"""Weight of the past in a running average."""
Seed = Annotated[int, Within(0, 2 ** 32 - 1)]
"""What NumPy's random state takes."""


class Table:
    """Base of dataclasses that describe a dict: its keys, those that it needs (without a default), their values."""
