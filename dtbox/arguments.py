"""What a caller hands in: each argument of a public function is read by a small reader, which returns it in its usual
form or raises an `InputError`; `read_arguments` adds the name of the argument.

    @read_arguments(codes=read_codes, clamp=read_flag)
    def decode(self, codes, clamp=True): ...
"""
from __future__ import annotations

import contextlib
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

from dtbox.errors import InputError, closest

Reader = Callable[[Any], Any]
"""Takes what came; returns it in its usual form, or raises an `InputError`."""
_Function = TypeVar('_Function', bound=Callable[..., Any])

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
LONGEST_PATH = 4096
"""Bytes of a path, as Linux has it."""
LONGEST_NAME = 200
PLAIN = (type(None), bool, int, float, str, bytes, list, tuple, dict, set)
"""Types whose values are recognised as they are written."""
WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64)


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Within the block, an `InputError` names the argument `name`."""
    try:
        yield
    except InputError as e:
        raise e.within(name) from e.__cause__


def read_arguments(**readers: Reader) -> Callable[[_Function], _Function]:
    """Return a decorator that passes arguments through readers.

    Args:
        readers: parameter -> its reader; defaults are not read, `*name` comes as a tuple.
    """
    def decorate(function: _Function) -> _Function:
        signature = inspect.signature(function)
        assert readers.keys() <= signature.parameters.keys(), (function, readers)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            for name, read in readers.items():
                if name in bound.arguments:
                    with naming(name):
                        bound.arguments[name] = read(bound.arguments[name])
            return function(*bound.args, **bound.kwargs)
        return call  # type: ignore[return-value]
    return decorate


def describe(value: Any) -> str:
    """Return what came in a few words: the kind, size and place of a tensor or array, the type and value of the rest."""
    if isinstance(value, Tensor):
        if torch.nn.parameter.is_lazy(value):
            return 'a parameter without values'
        shape = '' if value.is_nested else f' {list(value.shape)}'
        kind = ' nested' if value.is_nested else ' quantized' if value.is_quantized else ''
        layout = '' if value.layout in (torch.strided, torch.jagged) else f' {str(value.layout)[6:]}'
        place = '' if value.device.type == 'cpu' else f' on the device {value.device}'
        return f'a{kind}{layout} {str(value.dtype)[6:]} tensor{shape}{place}'
    if isinstance(value, np.ndarray):
        return f'an array {str(value.dtype)[:60]} {list(value.shape)}'
    kind = '' if type(value) in PLAIN else f' ({type(value).__name__})'
    return f'{" ".join(reprlib.repr(value).split())[:200]}{kind}'


def refuse(value: Any, expected: str) -> InputError:
    """Return the error of an argument that is not what was expected."""
    return InputError(f'got {describe(value)}; expected {expected}.')


def optional(read: Reader) -> Reader:
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
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    try:
        if isinstance(path, str) and 0 < len(os.fsencode(path)) <= LONGEST_PATH and '\0' not in path:
            return str(path)
    except UnicodeEncodeError:  # half a surrogate pair
        pass
    raise refuse(value, 'a path, as a string or a pathlib.Path')


def read_paths(value: Any) -> list[str]:
    """Return one path, or several, as a list of strings."""
    if isinstance(value, (str, os.PathLike)):
        return [read_path(value)]
    return [read_path(path) for path in iterate(value, 'a path or a list of paths')]


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
    return [read_name(name) for name in ([value] if isinstance(value, str) else iterate(value, 'a name, or a list of names'))]


def read_texts(value: Any) -> list[str] | Tensor:
    """Return one text, or several, as a list of strings; token ids as a tensor of whole numbers."""
    if isinstance(value, Tensor):
        return read_whole(value)
    expected = 'a string, a list of strings, or a tensor of token ids [T, L]'
    if isinstance(value, (Mapping, set, frozenset)):  # without order, or with more than texts
        raise refuse(value, expected)
    return [value] if isinstance(value, str) else list(iterate(value, expected))


def read_tensor(value: Any, dtypes: Collection[torch.dtype] = (), expected: str = 'a tensor of numbers') -> Tensor:
    """Return numbers as a tensor that every operation takes: dense, with values, without names.

    Args:
        value: a tensor, an array, a number, or lists of these.
        dtypes: that it may have; all where there are none.
        expected: for the error.
    """
    tensor = value if isinstance(value, Tensor) else _make_tensor(value, expected)
    if torch.nn.parameter.is_lazy(tensor) or tensor.is_meta:
        raise InputError(f'got {describe(tensor)}, which has no values; expected {expected}.')
    if tensor.layout != torch.strided or tensor.is_nested or tensor.is_quantized:
        raise InputError(f'got {describe(tensor)}; expected {expected}, dense: see its methods to_dense, '
                         'to_padded_tensor and dequantize.')
    if dtypes and tensor.dtype not in dtypes:
        raise refuse(tensor, expected)
    return tensor.rename(None) if any(getattr(tensor, 'names', ())) else tensor  # names are gone in newer torch


def _make_tensor(value: Any, expected: str) -> Tensor:
    kinds = (list, tuple, range, numbers.Number, np.ndarray, np.generic)
    if not isinstance(value, kinds) and not hasattr(value, '__array__') or isinstance(value, np.ma.MaskedArray):
        raise refuse(value, expected)
    try:
        if not isinstance(value, (list, tuple, numbers.Number)):
            array = np.asarray(value)  # without negative strides, in this machine's order of bytes
            value = np.ascontiguousarray(array, array.dtype.newbyteorder('=')).reshape(array.shape)
        return torch.as_tensor(value)
    except Exception as e:  # TypeError, ValueError, RuntimeError, RecursionError, whatever `__array__` raises
        raise refuse(value, expected) from e


def read_whole(value: Any) -> Tensor:
    """Return whole numbers as an int64 tensor."""
    return read_tensor(value, WHOLE, 'a tensor of whole numbers (int64)').long()


def read_floats(value: Any) -> Tensor:
    """Return floats as a tensor."""
    return read_tensor(value, FLOATS, f'a tensor of floats ({", ".join(str(dtype)[6:] for dtype in FLOATS)})')


def read_codes(value: Any) -> dict[str, Tensor]:
    """Return codes, by stream, as a dict of int64 tensors."""
    if not isinstance(value, Mapping):
        raise InputError(f'codes are {describe(value)}; expected a dict vocabulary -> int64 [B,N,Q] as `encode` '
                         'returns.')
    codes = {}
    for name, numbers_of in value.items():
        if not isinstance(name, str):
            raise refuse(name, 'names of vocabularies as keys')
        with naming(name):
            codes[name] = read_whole(numbers_of)
    return codes


def read_device(value: Any) -> torch.device:
    """Return a torch device that is there and has values."""
    expected = 'a device of this machine, such as \'cpu\' or \'cuda\''
    if not isinstance(value, (str, torch.device)):
        raise refuse(value, expected)
    try:
        device = torch.device(value)
        torch.empty(0, device=device)
    except Exception as e:  # whatever a backend raises that is not there
        raise InputError(f'got {describe(value)}, which cannot be used ({type(e).__name__}: '
                         f'{(str(e).splitlines() or [""])[0][:80]}); expected {expected}.') from e
    if device.type == 'meta':
        raise InputError(f'got {describe(value)}, a device without values; expected {expected}.')
    return device
