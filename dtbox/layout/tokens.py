"""The layouts: a grid, a sequence, grids of several scales, and the grids of video frames.

Legend: B batch, N tokens, C channels, h and w rows and columns of tokens, t frames.
"""
from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from dtbox.arguments import describe
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.layout.base import TokenLayout, check_count


@dataclass(frozen=True)
class Grid(TokenLayout):
    """Rows and columns, row by row: token n lies at row n // columns and column n % columns."""
    rows: int
    columns: int
    axes: ClassVar[tuple[str, ...]] = ('row', 'column')

    def __post_init__(self) -> None:
        check_count(self.rows, 'rows')
        check_count(self.columns, 'columns')

    def __str__(self) -> str:
        return f'{self.rows} x {self.columns} token grid'

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """(rows, columns), once."""
        return ((self.rows, self.columns),)

    @property
    def map_shape(self) -> tuple[int, int]:
        """(h, w)."""
        return self.rows, self.columns


@dataclass(frozen=True)
class Sequence(TokenLayout):
    """Tokens in a row, without a place in the image: the latent tokens of TiTok (arXiv 2406.07550)."""
    length: int
    axes: ClassVar[tuple[str, ...]] = ('index',)
    _instead: ClassVar[str] = 'Its tokens have no rows and columns; a decoder places them.'

    def __post_init__(self) -> None:
        check_count(self.length, 'length')

    def __str__(self) -> str:
        return f'sequence of {format_count(self.length, "token")}'

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """(length,), once."""
        return ((self.length,),)


@dataclass(frozen=True)
class Scales(TokenLayout):
    """Grids of several sizes, one after another: the multi-scale codes of VAR (arXiv 2404.02905).

    Args:
        sizes: of the grids in order, each an int n for n x n, or (rows, columns).
    """
    sizes: tuple[tuple[int, int], ...]
    axes: ClassVar[tuple[str, ...]] = ('scale', 'row', 'column')
    _instead: ClassVar[str] = '`split` gives the tokens of each scale, and `grids` their layouts.'

    def __post_init__(self) -> None:
        if not isinstance(self.sizes, (list, tuple)) or not self.sizes:
            raise InputError(f'`sizes` is {describe(self.sizes)}; expected the size of each scale, such as '
                             '[1, 2, 4].', 'sizes')
        pairs = [(size, size) if type(size) is int else size for size in self.sizes]
        for pair in pairs:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                raise InputError(f'`sizes` holds {describe(pair)}; expected a number or (rows, columns) each.', 'sizes')
            for value in pair:
                check_count(value, 'sizes')
        object.__setattr__(self, 'sizes', tuple(tuple(pair) for pair in pairs))

    def __str__(self) -> str:
        sizes = ', '.join(f'{rows} x {columns}' for rows, columns in self.sizes)
        return f'pyramid of {format_count(self.tokens, "token")} ({sizes})'

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """(rows, columns) of each scale."""
        return self.sizes

    @property
    def grids(self) -> tuple[Grid, ...]:
        """Layout of each scale."""
        return tuple(Grid(*size) for size in self.sizes)


@dataclass(frozen=True)
class Video(TokenLayout):
    """Frames, each a grid, frame after frame and row by row."""
    frames: int
    rows: int
    columns: int
    axes: ClassVar[tuple[str, ...]] = ('frame', 'row', 'column')

    def __post_init__(self) -> None:
        for field in fields(self):
            check_count(getattr(self, field.name), field.name)

    def __str__(self) -> str:
        return (f'video of {format_count(self.tokens, "token")} ({format_count(self.frames, "frame")} of '
                f'{self.rows} x {self.columns})')

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """(rows, columns) of each frame."""
        return ((self.rows, self.columns),) * self.frames

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(t, h, w)."""
        return self.frames, self.rows, self.columns


def need_grid(layout: TokenLayout, who: str) -> Grid:
    """Return the layout where it is a grid; else `InputError` that says who needs one."""
    if not isinstance(layout, Grid):
        raise InputError(f'{who} needs tokens on a grid of rows and columns; these are a {layout}.')
    return layout
