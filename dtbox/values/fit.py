"""Whether a value fits an annotation, and where it does not."""
from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import numbers
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import numpy as np

from dtbox.errors import closest
from dtbox.values.hints import read_hints
from dtbox.values.kinds import RULES, Table
from dtbox.values.words import MAPPINGS, SEQUENCES, UNIONS, describe_hint


class Misfit(NamedTuple):
    """Where a value does not fit: keys below the value that was checked, what stands there, what is expected, or the
    sentence that says what is wrong."""
    path: tuple[str, ...]
    value: Any
    expected: str
    sentence: str = ''


def find_misfit(value: Any, hint: Any) -> Misfit | None:
    """Return where a value does not fit an annotation, or None where it fits."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in UNIONS:
        return _find_in_union(value, hint, args)
    if origin is Annotated:
        if (misfit := find_misfit(value, args[0])) is not None:
            return misfit if misfit.path or misfit.sentence else misfit._replace(expected=describe_hint(hint))
        fits = all(rule.holds(value) for rule in args[1:] if isinstance(rule, RULES))
        return None if fits else Misfit((), value, describe_hint(hint))
    if origin is None and inspect.isclass(hint) and issubclass(hint, Table):
        return _find_in_table(value, hint)
    kind = origin or hint
    if not _is_of_kind(value, kind, args):
        return Misfit((), value, describe_hint(hint))
    if kind in MAPPINGS and args:
        keys = ((str(key), key, args[0]) for key in value)
        return _find_first(keys, ((str(key), part, args[1]) for key, part in value.items()))
    if kind is tuple and args and args[-1] is not ...:
        return _find_first((str(i), part, one) for i, (part, one) in enumerate(zip(value, args)))
    if kind in SEQUENCES and args:
        return _find_first((str(i), part, args[0]) for i, part in enumerate(value))
    return None


def _is_of_kind(value: Any, kind: Any, args: tuple) -> bool:
    if kind is None or kind is type(None):
        return value is None
    if kind is bool:
        return isinstance(value, (bool, np.bool_))
    if kind is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and value == value
    if kind is Literal:
        return any(type(value) is type(one) and value == one for one in args)
    if kind in MAPPINGS:
        return isinstance(value, collections.abc.Mapping)
    if kind in SEQUENCES:
        fixed = kind is tuple and args and args[-1] is not ...
        whole = isinstance(value, (collections.abc.Sequence, set, frozenset)) and not isinstance(value, (str, bytes))
        return whole and (not fixed or len(value) == len(args))
    if kind is collections.abc.Callable:
        return callable(value)
    try:
        return not inspect.isclass(kind) or isinstance(value, kind)
    except TypeError:  # a protocol that cannot be asked
        return True


def _find_first(*groups: Any) -> Misfit | None:
    for group in groups:
        for key, part, hint in group:
            if (misfit := find_misfit(part, hint)) is not None:
                return misfit._replace(path=(key, *misfit.path))
    return None


def _find_in_union(value: Any, hint: Any, options: tuple) -> Misfit | None:
    misfits = [find_misfit(value, one) for one in options]
    if any(misfit is None for misfit in misfits):
        return None
    inner = max((misfit for misfit in misfits if misfit is not None), key=lambda m: (len(m.path), bool(m.sentence)))
    return inner if inner.path or inner.sentence else Misfit((), value, describe_hint(hint))


def _find_in_table(value: Any, table: type[Table]) -> Misfit | None:
    if not isinstance(value, collections.abc.Mapping):
        return Misfit((), value, describe_hint(table))
    hints = read_hints(table)
    for key in value:
        if key not in hints:
            return Misfit((), value, '', f'there is no key `{key}`.{closest(key, hints)} There are: '
                                         f'{", ".join(hints)}.')
    for field in dataclasses.fields(table):  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING and field.name not in value:
            return Misfit((), value, '', f'`{field.name}` is missing. There are: {", ".join(value) or "no keys"}.')
    return _find_first((key, part, hints[key]) for key, part in value.items())
