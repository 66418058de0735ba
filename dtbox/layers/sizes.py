"""Sizes that a config gives as one number or as two."""
from __future__ import annotations

from typing import Any

from dtbox.errors import InputError


def read_pair(value: Any, name: str, unit: str = 'pixels') -> tuple[int, int]:
    """Return a size as (height, width), or (rows, columns).

    Args:
        value: a positive whole number for both, or a list or tuple of two.
        name: of the argument, for the message.
        unit: what is counted, for the message.

    Raises:
        InputError: anything else.
    """
    pair = (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, (list, tuple)) else ()
    if len(pair) != 2 or not all(type(v) is int and v > 0 for v in pair):
        raise InputError(f'`{name}` is {value!r}; expected a positive number of {unit}, or two of them, '
                         '(vertical, horizontal).')
    return pair
