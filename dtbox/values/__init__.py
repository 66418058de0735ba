"""Values against annotations: whether what a config gives is what an argument or a setting takes.

    check_value(0, Positive, 'hooks.log.interval')    # hooks.log.interval: `interval` is 0; expected a whole number ...

An annotation is a plain one (`int | None`, `Sequence[str]`, `Literal['drop', 'carry']`, `Mapping[str, float]`), one
with a range (`Annotated[int, Within(1)]`), or a dataclass derived from `Table`: a dict with these keys. True is no
number, '2' is no 2, a whole number is a number, NaN is none; lists and tuples stand for each other, as JSON knows one
of them only. What an annotation cannot tell, such as a name that exists for type checkers alone, is left to the part.
"""
from __future__ import annotations

import re
from typing import Any, Callable, Mapping

from dtbox.errors import InputError
from dtbox.values.fit import Misfit, find_misfit
from dtbox.values.hints import read_hints
from dtbox.values.kinds import (
    Average,
    Count,
    Depth,
    Factor,
    Fraction,
    Positive,
    PositiveNumber,
    Seed,
    Table,
    Text,
    Within,
)
from dtbox.values.words import describe_hint, shorten

__all__ = ['Average', 'Count', 'Depth', 'Factor', 'Fraction', 'Misfit', 'Positive', 'PositiveNumber', 'Seed', 'Table',
           'Text', 'Within', 'check_value', 'check_values', 'describe_hint', 'find_misfit', 'read_hints', 'shorten']


def check_value(value: Any, hint: Any, where: str) -> None:
    """Raise `InputError` unless a value fits an annotation.

    Args:
        value: what came.
        hint: an annotation, see the head of this module.
        where: dotted key of the value.
    """
    misfit = find_misfit(value, hint)
    if misfit is not None:
        place = '.'.join((where, *misfit.path))
        name = re.search(r'[^.]*[^.\d][^.]*(\.\d+)*$', place)  # `betas.1`
        raise InputError(misfit.sentence or f'`{name[0] if name else place}` is {shorten(misfit.value)}; expected '
                         f'{misfit.expected}.', place)


def check_values(target: Callable, values: Mapping[str, Any]) -> None:
    """Raise `InputError` for arguments of a class or function that do not fit its annotations; names without annotation
    are left alone."""
    hints = read_hints(target)
    for name, value in values.items():
        if name in hints:
            check_value(value, hints[name], name)
