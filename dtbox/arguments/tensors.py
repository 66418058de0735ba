"""Readers of tensors, codes, texts and devices."""
from __future__ import annotations

import numbers
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dtbox.arguments.plain import LONGEST_NAME, describe, iterate, read_mapping, refuse
from dtbox.errors import InputError, at

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
DEEPEST = 16
"""Lists in lists that are read as a tensor."""
WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64)


def read_tensor(value: Any, dtypes: Collection[torch.dtype] = (), expected: str = 'a tensor of numbers') -> Tensor:
    """Return numbers as a tensor that every operation takes: dense, with values, without names.

    Args:
        value: a tensor, an array, a number, or lists of these.
        dtypes: that it may have; all where there are none.
        expected: for the error.
    """
    tensor = value if isinstance(value, Tensor) else _make_tensor(value, expected)
    if not has_values(tensor):
        raise InputError(f'got {describe(tensor)}, which has no values; expected {expected}.')
    if tensor.layout != torch.strided or tensor.is_nested or tensor.is_quantized:
        raise InputError(f'got {describe(tensor)}; expected {expected}, dense: see its methods to_dense, '
                         'to_padded_tensor and dequantize.')
    if dtypes and tensor.dtype not in dtypes:
        raise refuse(tensor, expected)
    return tensor.rename(None) if any(getattr(tensor, 'names', ())) else tensor  # names are gone in newer torch


def has_values(tensor: Tensor) -> bool:
    """Whether a tensor has values: not a lazy, meta or fake one, and none whose memory was let go."""
    if torch.nn.parameter.is_lazy(tensor) or tensor.is_meta:
        return False
    try:
        return tensor.layout != torch.strided or tensor.is_nested or not tensor.numel() or tensor.data_ptr() != 0
    except RuntimeError:  # it has no memory of its own
        return False


def _make_tensor(value: Any, expected: str) -> Tensor:
    kinds = (list, tuple, range, numbers.Number, np.ndarray, np.generic)
    if not isinstance(value, kinds) and not hasattr(value, '__array__') or isinstance(value, np.ma.MaskedArray):
        raise refuse(value, expected)
    try:
        if isinstance(value, (list, tuple)) and value and all(isinstance(item, Tensor) for item in value):
            return torch.stack([read_tensor(item) for item in value])
        value = _make_plain(value)  # torch iterates over tensors in lists, and crashes at nested ones
        if not isinstance(value, (list, tuple, numbers.Number)):
            array = np.asarray(value)  # without negative strides, in this machine's order of bytes
            value = np.ascontiguousarray(array, array.dtype.newbyteorder('=')).reshape(array.shape)
        return torch.as_tensor(value, device='cpu')  # whatever torch.set_default_device says
    except Exception as e:  # TypeError, ValueError, RuntimeError, RecursionError, whatever `__array__` raises
        raise refuse(value, expected) from e


def _make_plain(value: Any, depth: int = 0) -> Any:
    """Return lists with the numbers of the tensors that they hold; `InputError` where they nest too deeply."""
    if isinstance(value, Tensor):
        return read_tensor(value).tolist()
    if not isinstance(value, (list, tuple)) or not any(isinstance(item, (list, tuple, Tensor)) for item in value):
        return value
    if depth > DEEPEST:
        raise InputError('the list nests too deeply.')
    return [_make_plain(item, depth + 1) for item in value]


def read_whole(value: Any) -> Tensor:
    """Return whole numbers as an int64 tensor."""
    return read_tensor(value, WHOLE, 'a tensor of whole numbers (int64)').long()


def read_floats(value: Any) -> Tensor:
    """Return floats as a tensor."""
    return read_tensor(value, FLOATS, f'a tensor of floats ({", ".join(str(dtype)[6:] for dtype in FLOATS)})')


def read_codes(value: Any) -> dict[str, Tensor]:
    """Return codes, by stream, as a dict of int64 tensors."""
    codes = read_mapping(value, 'a dict vocabulary -> int64 [B,N,Q] as `encode` returns')
    for name in codes:
        with at(name[:LONGEST_NAME]):
            codes[name] = read_whole(codes[name])
    return codes


def read_streams(value: Any) -> dict[str, Tensor]:
    """Return codes (whole numbers) and latents (floats), by stream, as a dict of int64 and of float tensors."""
    values = read_mapping(value, 'a dict vocabulary -> int64 [B,N,Q], or latents [B,N,C], as `encode` returns')
    for name in values:
        with at(name[:LONGEST_NAME]):
            tensor = read_tensor(values[name], (*WHOLE, *FLOATS), 'a tensor of whole numbers (int64), or of floats')
            values[name] = tensor if tensor.is_floating_point() else tensor.long()
    return values


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


def read_texts(value: Any) -> list[str] | Tensor:
    """Return one text, or several, as a list of strings; token ids as a tensor of whole numbers."""
    if isinstance(value, Tensor):
        return read_whole(value)
    expected = 'a string, a list of strings, or a tensor of token ids [T, L]'
    if isinstance(value, (Mapping, set, frozenset)):  # without order, or with more than texts
        raise refuse(value, expected)
    return [value] if isinstance(value, str) else list(iterate(value, expected))
