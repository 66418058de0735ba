"""The contract of token layouts: where the N tokens of an image lie.

Codes are [B, N, Q] and features [B, N, C] in every layout, with N = `layout.tokens`. The layout says what the N are.

Legend: B batch, N tokens, C channels, h and w rows and columns of tokens, t frames.
"""
from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Mapping

import torch
from torch import Tensor

from dtbox.arguments import allow_none, describe, read_arguments, read_count, read_device
from dtbox.errors import InputError, closest

MOST = 2 ** 31
"""More rows, columns or tokens than any layout has."""


def check_count(value: Any, name: str) -> int:
    """Return `value`; `InputError` unless it is a positive whole number."""
    if type(value) is not int or not 1 <= value < MOST:
        raise InputError(f'`{name}` is {describe(value)}; expected a positive whole number of tokens.', name)
    return value


def is_dense(values: Any) -> bool:
    """Whether something is a tensor whose shape and dimensions every operation understands."""
    return isinstance(values, Tensor) and values.layout == torch.strided and not values.is_nested


@dataclass(frozen=True)
class TokenLayout:
    """Base class of token layouts. Two layouts are equal when they are of one class and of the same sizes.

    A subclass names its `axes` and gives `shapes`; everything else follows from the two.

    Attributes:
        axes: names of the coordinates of a token, slowest first.
        kinds: name, as `to_dict` writes it under `type` -> class of every layout.
    """
    axes: ClassVar[tuple[str, ...]] = ()
    kinds: ClassVar[dict[str, type[TokenLayout]]] = {}
    _instead: ClassVar[str] = ''

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        TokenLayout.kinds[cls.__name__] = cls

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of each slice, in order: one for a grid or a sequence, one for each scale or frame."""
        raise NotImplementedError

    @property
    def tokens(self) -> int:
        """Number of tokens N."""
        return sum(map(math.prod, self.shapes))

    @property
    def slices(self) -> tuple[slice, ...]:
        """Which of the N tokens belong to each slice (scale, frame), in order."""
        stops = [sum(map(math.prod, self.shapes[:i + 1])) for i in range(len(self.shapes))]
        return tuple(slice(start, stop) for start, stop in zip([0, *stops], stops))

    def split(self, values: Tensor) -> tuple[Tensor, ...]:
        """Cut values [B, N, ...] into those of each slice (scale, frame): tensors [B, n, ...]."""
        self.check_tokens(values)
        return tuple(values[:, part] for part in self.slices)

    def check_tokens(self, values: Tensor) -> None:
        """Raise `InputError` unless `values` are [B, N, ...]."""
        if not is_dense(values) or values.ndim < 2 or values.shape[1] != self.tokens:
            raise InputError(f'values are {describe(values)}; expected [B, {self.tokens}, ...] for the {self}.')

    @read_arguments(index=read_count(-2 ** 63))
    def position(self, index: int) -> tuple[int, ...]:
        """Return the coordinates of token `index` (0 to N - 1), one for each of `axes`."""
        if not 0 <= index < self.tokens:
            raise InputError(f'there is no token {index} in the {self}; tokens are 0 to {self.tokens - 1}.')
        number = next(i for i, part in enumerate(self.slices) if index < part.stop)
        rest, place = index - self.slices[number].start, []
        for size in reversed(self.shapes[number]):
            rest, last = divmod(rest, size)
            place.insert(0, last)
        return tuple(place) if len(place) == len(self.axes) else (number, *place)

    @read_arguments(position=lambda places: tuple(map(read_count(-2 ** 63), places)))
    def index(self, *position: int) -> int:
        """Return the number of the token at these coordinates, one for each of `axes`; the inverse of `position`."""
        sliced = bool(position) and len(self.axes) > len(self.shapes[0])
        number, place = (position[0], position[1:]) if sliced else (0, position)
        shape = self.shapes[number] if 0 <= number < len(self.shapes) else ()
        if len(position) != len(self.axes) or not shape or not all(0 <= at < size for at, size in zip(place, shape)):
            axes = ', '.join(self.axes)
            raise InputError(f'there is no token at {position} in the {self}; expected ({axes}) inside it.')
        index = 0
        for at, size in zip(place, shape):
            index = index * size + at
        return self.slices[number].start + index

    @read_arguments(device=allow_none(read_device))
    def positions(self, device: torch.device | str | None = None) -> Tensor:
        """Return the coordinates of all tokens [N, len(axes)] int64, in order."""
        rows = []
        for number, shape in enumerate(self.shapes):
            place = torch.stack(torch.meshgrid(*(torch.arange(n) for n in shape), indexing='ij'), -1).flatten(0, -2)
            first = [torch.full((len(place), 1), number)] if len(self.axes) > len(shape) else []
            rows.append(torch.cat([*first, place], 1))
        return torch.cat(rows).to(device)

    @property
    def map_shape(self) -> tuple[int, ...]:
        """Shape of one map of all tokens: (h, w) of a grid, (t, h, w) of a video.

        Raises:
            InputError: a sequence, which has no rows and columns; scales, which have several grids.
        """
        raise InputError(f'the {self} cannot be laid out as one map; only a grid and a video can. {self._instead}')

    def unflatten(self, features: Tensor) -> Tensor:
        """Lay features out as a map: [B, N, C] -> [B, C, h, w] of a grid, [B, C, t, h, w] of a video."""
        shape = self.map_shape
        self.check_tokens(features)
        if features.ndim != 3:
            raise InputError(f'features are {describe(features)}; expected [B, {self.tokens}, C].')
        return features.transpose(1, 2).unflatten(2, shape)

    def flatten(self, maps: Tensor) -> Tensor:
        """Put a map in the order of the tokens, as before `unflatten`: [B, C, h, w] or [B, C, t, h, w] -> [B, N, C]."""
        if not is_dense(maps) or maps.ndim < 2 or tuple(maps.shape[2:]) != self.map_shape:
            raise InputError(f'maps are {describe(maps)}; expected [B, C, {", ".join(map(str, self.map_shape))}].')
        return maps.flatten(2).transpose(1, 2)

    def to_dict(self) -> dict[str, Any]:
        """Return the layout as a plain dict, as JSON and configs write it: its `type` and its sizes."""
        sizes = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {k: [list(pair) for pair in v] if isinstance(v, tuple) else v for k, v in sizes.items()}
        return {'type': type(self).__name__, **plain}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> TokenLayout:
        """Return the layout that `to_dict` described.

        Raises:
            InputError: another type, missing or unknown sizes, sizes that are not whole numbers.
        """
        if not isinstance(values, Mapping) or 'type' not in values:
            raise InputError(f'a token layout is {describe(values)}; expected a dict with `type`, one of '
                             f'{", ".join(TokenLayout.kinds)}.')
        name, sizes = values['type'], {k: v for k, v in values.items() if k != 'type'}
        if not isinstance(name, str) or name not in TokenLayout.kinds:
            hint = closest(name, TokenLayout.kinds) if isinstance(name, str) else ''
            raise InputError(f'there is no token layout {describe(name)}.{hint} '
                             f'Expected one of {", ".join(TokenLayout.kinds)}.', 'type')
        known = [field.name for field in fields(TokenLayout.kinds[name])]
        if set(sizes) != set(known):
            raise InputError(f'a {name} has the sizes {", ".join(known)}; got {", ".join(map(str, sizes)) or "none"}.')
        return TokenLayout.kinds[name](**sizes)
