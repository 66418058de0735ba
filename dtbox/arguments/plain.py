"""Readers of arguments that are no tensors, and the decorator that uses them."""
from __future__ import annotations

import functools
import inspect
import math
import numbers
import operator
import os
import reprlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from dtbox.errors import ArgumentError, InputError, at, closest

Reader = Callable[[Any], Any]
"""Takes what came; returns it in its usual form, or raises an `InputError`."""
_Function = TypeVar('_Function', bound=Callable[..., Any])

NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
"""Kinds of parameters that a caller may name."""
LONGEST_PATH = 4096
"""Bytes of a path, as Linux has it."""
LONGEST_NAME = 200
PLAIN = (type(None), bool, int, float, str, bytes, list, tuple, dict, set)
"""Types whose values are recognised as they are written."""


def read_arguments(**readers: Reader) -> Callable[[_Function], _Function]:
    """Return a decorator that passes arguments through readers.

    Args:
        readers: parameter -> its reader; defaults are not read, `*name` comes as a tuple.

    Raises:
        ArgumentError: within a call, an argument that the function does not have.
    """
    def decorate(function: _Function) -> _Function:
        signature = inspect.signature(function)
        assert readers.keys() <= signature.parameters.keys(), (function, readers)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            check_names(signature, len(args), kwargs)
            bound = signature.bind(*args, **kwargs)
            for name, read in readers.items():
                if name in bound.arguments:
                    with at(name):
                        bound.arguments[name] = read(bound.arguments[name])
            return function(*bound.args, **bound.kwargs)
        return call  # type: ignore[return-value]
    return decorate


def check_names(signature: inspect.Signature, count: int, given: Collection[str]) -> None:
    """Check the keywords of a call. A function that takes any (`**settings`) checks them itself, but for one that is
    close to an argument which the call lacks.

    Args:
        signature: of the function.
        count: positional arguments of the call.
        given: its keywords.

    Raises:
        ArgumentError: the first keyword that the function does not have, with the closest one.
    """
    parameters = signature.parameters.values()
    known = [p.name for p in parameters if p.kind in NAMED]
    open_to_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    lacks = [name for name in known[count:] if name not in given and
             signature.parameters[name].default is inspect.Parameter.empty]
    for name in given:
        if name not in known and (not open_to_any or closest(name, lacks)):
            own = [name for name in known if name != 'self']
            raise ArgumentError(f'there is no such argument.{closest(name, lacks if open_to_any else own)} There are: '
                                f'{", ".join(own) or "none"}.', name)


def describe(value: Any) -> str:
    """Return what came in a few words: kind, size and place of a tensor or array, value and type of the rest."""
    if isinstance(value, Tensor):
        if torch.nn.parameter.is_lazy(value):
            return 'a parameter without values'
        shape = '' if value.is_nested else f' {list(value.shape)}'
        kind = 'nested ' if value.is_nested else 'quantized ' if value.is_quantized else ''
        layout = '' if value.layout in (torch.strided, torch.jagged) else f'{str(value.layout)[6:]} '
        place = '' if value.device.type == 'cpu' else f' on the device {value.device}'
        words = f'{kind}{layout}{str(value.dtype)[6:]} tensor{shape}{place}'
        return f'an {words}' if words.startswith('int') else f'a {words}'
    if isinstance(value, np.ndarray):
        return f'an array {str(value.dtype)[:60]} {list(value.shape)}'
    kind = '' if type(value) in PLAIN else f' ({type(value).__name__})'
    return f'{" ".join(reprlib.repr(value).split())[:200]}{kind}'


def refuse(value: Any, expected: str) -> InputError:
    """Return the error of an argument that is not what was expected."""
    return InputError(f'got {describe(value)}; expected {expected}.')


def allow_none(read: Reader) -> Reader:
    """Return a reader that lets None through."""
    return lambda value: None if value is None else read(value)


def read_kind(*kinds: type, what: str = '') -> Reader:
    """Return a reader of objects of some classes; `what` says what these are where their names do not."""
    def read(value: Any) -> Any:
        if not isinstance(value, kinds):
            raise refuse(value, what or ' or '.join(f'a {kind.__name__}' for kind in kinds))
        return value
    return read


def read_flag(value: Any) -> bool:
    """Return a truth value as a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise refuse(value, 'True or False')
    return bool(value)


def read_count(least: int = 1, most: int = 2 ** 63 - 1) -> Callable[[Any], int]:
    """Return a reader of whole numbers from `least` to `most`."""
    def read(value: Any) -> int:
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not whole or not least <= value <= most:
            raise refuse(value, f'a whole number from {least}' + (f' to {most}' if most < 2 ** 62 else ''))
        return operator.index(value)
    return read


def read_number(low: float = -math.inf, high: float = math.inf, above: bool = False) -> Callable[[Any], float]:
    """Return a reader of finite numbers from `low` (or only `above` it) to `high`."""
    def read(value: Any) -> float:
        real = isinstance(value, (numbers.Real, np.integer, np.floating)) and not isinstance(value, (bool, np.bool_))
        if not real or not (low < value if above else low <= value) or not value <= high or not _is_finite(value):
            limits = [f'{"above" if above else "from"} {low:g}'] * math.isfinite(low)
            limits += [f'up to {high:g}'] * math.isfinite(high)
            raise refuse(value, ' '.join(['a finite number', *limits]))
        return float(value)
    return read


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond the floats
        return False


def read_choice(*options: str) -> Callable[[Any], str]:
    """Return a reader of one of some words."""
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in options:
            hint = closest(value, options) if isinstance(value, str) else ''
            raise InputError(f'got {describe(value)}.{hint} Expected one of {", ".join(options)}.')
        return value
    return read


def read_path(value: Any) -> str:
    """Return a path as a string."""
    path = value
    try:
        path = os.fspath(value) if isinstance(value, os.PathLike) else value
        if isinstance(path, str) and 0 < len(os.fsencode(path)) <= LONGEST_PATH and '\0' not in path:
            return str(path)
    except Exception:  # half a surrogate pair; a path of somebody else's class
        pass
    raise refuse(value, 'a path, as a string or a pathlib.Path')


def read_paths(value: Any) -> list[str]:
    """Return one path, or several, as a list of strings."""
    if isinstance(value, (str, os.PathLike)):
        return [read_path(value)]
    return [read_path(path) for path in iterate(value, 'a path or a list of paths')]


def read_options(value: Any) -> dict[str, Any]:
    """Return a mapping whose keys are names as a dict."""
    return read_mapping(value, 'a dict of names')


def read_mapping(value: Any, expected: str) -> dict[str, Any]:
    """Return a mapping as a dict; `InputError` for anything else, and for keys that are no strings."""
    try:
        items = dict(value.items())
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in items):
            return items
    except Exception:  # no mapping, or one of somebody else
        pass
    raise refuse(value, expected)


def iterate(value: Any, expected: str) -> Iterator[Any]:
    """Return an iterator over what is not a text, bytes or a tensor; `InputError` for what cannot be iterated over."""
    try:
        if not isinstance(value, (str, bytes, bytearray, memoryview, Tensor)):
            return iter(value)
    except Exception:  # TypeError; a 0-d array; an object of somebody else
        pass
    raise refuse(value, expected)


def read_name(value: Any) -> str:
    """Return a name, a string of at most `LONGEST_NAME` characters."""
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        raise refuse(value, 'a name')
    return str(value)


def read_names(value: Any) -> list[str]:
    """Return one name, or several, as a list of strings."""
    if isinstance(value, Mapping):  # of which the values would be ignored
        raise refuse(value, 'a name, or a list of names')
    names = [value] if isinstance(value, str) else iterate(value, 'a name, or a list of names')
    return [read_name(name) for name in names]


def read_strings(value: Any) -> list[str]:
    """Return a list of strings."""
    strings = list(iterate(value, 'a list of strings'))
    for item in strings:
        if not isinstance(item, str):
            raise refuse(item, 'a list of strings')
    return strings
