"""What parts return: shapes and types are checked where a part hands its result on, so that an error names the part.

Nothing here looks at values, which on a GPU would wait for them; the contract suites of `dtbox.testing` do.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dtbox.arguments import describe
from dtbox.errors import InputError


def check_floats(part: Any, what: str, value: Any, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
    """Return what a part gave; `InputError`, which names its class, unless that is a float tensor of a shape.

    Args:
        part: whose output it is.
        what: the output's name in a sentence.
        value: the output.
        shape: -1 stands for any size. While a graph is exported, the batch (first) is not looked at.
        dtype: that it must have; None takes any float type. Under autocast any will do, and on the meta device,
            where `describe` stands in for it.
    """
    first = 1 if torch.compiler.is_exporting() else 0
    fits = isinstance(value, Tensor) and value.is_floating_point() and value.ndim == len(shape) and all(
        n in (-1, have) for n, have in zip(shape[first:], value.shape[first:]))
    if fits and (dtype in (None, value.dtype) or value.is_meta or torch.is_autocast_enabled(value.device.type)):
        return value
    sizes = ', '.join('any' if n == -1 else str(int(n)) for n in shape)
    raise refuse_output(part, what, value, f'a {str(dtype or "float")[6 * bool(dtype):]} tensor [{sizes}]')


def check_code_tensor(part: Any, value: Any, batch: int, depths: int) -> Tensor:
    """Return codes that a quantizer gave; `InputError`, which names its class, unless they are int64 [B, N, Q]."""
    first = batch if torch.compiler.is_exporting() or not isinstance(value, Tensor) or not value.ndim else len(value)
    if not isinstance(value, Tensor) or value.dtype != torch.int64 or value.ndim != 3 or first != batch \
            or value.shape[-1] != depths:
        raise refuse_output(part, 'codes', value, f'an int64 tensor [{batch}, N, {depths}]')
    return value


def check_logits(part: Any, value: Any, batch: int) -> Tensor:
    """Return what a discriminator gave; `InputError`, which names its class, unless that is floats [B, ...]."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or not value.ndim or len(value) != batch:
        raise refuse_output(part, 'logits', value, f'a float tensor [{batch}, ...]')
    return value


def check_scalars(part: Any, values: Any) -> dict[str, Tensor]:
    """Return terms that a part gave; `InputError`, which names its class, unless they are name -> float scalar."""
    if not isinstance(values, Mapping):
        raise refuse_output(part, 'terms', values, 'a dict name -> scalar tensor')
    for name, value in values.items():
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
            raise refuse_output(part, f'the term `{name}`', value, 'a scalar float tensor')
    return dict(values)


def refuse_output(part: Any, what: str, value: Any, expected: str) -> InputError:
    """Return the error of a part that gave something else than expected."""
    return InputError(f'{type(part).__name__} gave {what} that {"are" if what.endswith("s") else "is"} '
                      f'{describe(value)}; expected {expected}. Run `dtbox plugins check` on it.')
