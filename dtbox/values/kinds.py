"""The words of annotations beside Python's own: ranges of numbers, and dicts with fixed keys."""
from __future__ import annotations

from typing import Annotated, Any, NamedTuple


class Within(NamedTuple):
    """The numbers from `low` to `high`; `above` leaves `low` itself out. Infinity is never within."""
    low: float
    high: float = float('inf')
    above: bool = False

    def holds(self, value: Any) -> bool:
        """Return whether a number is within."""
        return self.low <= value <= self.high and value != float('inf') and not (self.above and value == self.low)

    def __str__(self):
        if self.high == float('inf'):
            return f'{"above" if self.above else "of at least"} {self.low:g}'
        return f'{"above" if self.above else "from"} {self.low:g} {"and up " * self.above}to {self.high:.10g}'


Positive = Annotated[int, Within(1)]
Count = Annotated[int, Within(0)]
Depth = Annotated[int, Within(1, 1024)]
"""Blocks, layers or codes one after the other: what a loop builds one by one."""
Factor = Annotated[float, Within(0)]
PositiveNumber = Annotated[float, Within(0, above=True)]
Fraction = Annotated[float, Within(0, 1)]
Seed = Annotated[int, Within(0, 2 ** 32 - 1)]
"""What NumPy's random state takes."""


class Table:
    """Base of dataclasses that describe a dict: its keys, those that it needs (without a default), their values."""
