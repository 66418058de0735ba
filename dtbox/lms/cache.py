"""The cache of keys and values of all blocks: one block of memory, and no growth past it."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError


class KeyValueCache:
    """Keys and values of the places that a language model has seen.

    Memory for all places is taken when the first ones come, in their type and on their device; a block writes into it
    and reads what is filled. The blocks of `transformers` call `update` as they call that of its own caches.

    Args:
        batch: rows B.
        capacity: places that it has room for.

    Attributes:
        length: places that every row has; padding counts.

    Raises:
        InputError: no row, or no room.
    """

    def __init__(self, batch: int, capacity: int) -> None:
        if batch < 1 or capacity < 1:
            raise InputError(f'a cache of {format_count(batch, "row")} with room for '
                             f'{format_count(capacity, "place")} was asked for; expected at least one of each.')
        self.batch, self.capacity = batch, capacity
        self.length = 0
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self._end = 0

    @contextlib.contextmanager
    def adding(self, count: int) -> Iterator[None]:
        """Within the block, `update` adds `count` places; they count when it ends well.

        Raises:
            InputError: there is no room for them.
        """
        if self.length + count > self.capacity:
            raise InputError(f'{count} more places do not fit into the cache: it holds {self.length} of '
                             f'{self.capacity}. Make it with a larger length, or generate less.')
        self._end = self.length + count
        yield
        self.length = self._end

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Add the new places of one block.

        Args:
            keys, values: [B,heads,T,head width].
            layer: number of the block.

        Returns:
            keys and values of all places so far [B,heads,S,head width].
        """
        return (self._write(self._keys, keys, layer), self._write(self._values, values, layer))

    def _write(self, table: dict[int, Tensor], new: Tensor, layer: int) -> Tensor:
        if layer not in table:
            table[layer] = new.new_empty(self.batch, new.shape[1], self.capacity, new.shape[3])
        table[layer][:, :, self.length:self._end] = new
        return table[layer][:, :, :self._end]

    def get_seq_length(self, *_: Any) -> int:
        """Return the number of places, under the name that `transformers` asks for."""
        return self.length

    def expand(self, n: int) -> None:
        """Repeat every row n times; copies of a row lie side by side."""
        self.select(torch.arange(self.batch).repeat_interleave(n))

    def select(self, rows: Tensor) -> None:
        """Keep rows, in any order and any number of times: `rows` int64 [B'] are numbers of rows."""
        if rows.ndim != 1 or not len(rows) or int(rows.min()) < 0 or int(rows.max()) >= self.batch:
            raise InputError(f'the rows {rows.tolist()} of a cache were asked for; it has the rows 0 to '
                             f'{self.batch - 1}.')
        for table in (self._keys, self._values):
            for layer, values in table.items():
                table[layer] = values.index_select(0, rows.to(values.device))
        self.batch = len(rows)
