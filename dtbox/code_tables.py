"""The frozen rows of a tokenizer's codebooks, as a language model reads them.

Legend: M images, N places of an image, Q codes per place (depths), K codebook size, e width of a row.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.arguments import describe, iterate, read_arguments, read_count, read_floats, read_options
from dtbox.errors import InputError, at, closest
from dtbox.layout import CodeLayout, StreamLayout
from dtbox.layout import Sequence as Places

EMPTY = -1
"""What stands in the place of a code where there is none; its row is zero."""


class CodeTables(nn.Module):
    """Rows of every stream and depth. They belong to the tokenizer: buffers that no state dict holds.

    Args:
        tables: stream -> tables [K, e] of its depths, all of one width. A table that several depths share (the same
            tensor) is stored once. The rows of a product quantizer are to be its chunks, padded with zeros to e, so
            that the sum over the depths is the quantizer's vector there as well.
        places: N of an image.

    Attributes:
        names: names of the streams.
        sizes: stream -> K of each depth.
        widths: stream -> e.
        places: N.
    """

    def __init__(self, tables: Mapping[str, Sequence[Tensor]], places: int) -> None:
        super().__init__()
        self.names, self.places = list(tables), places
        self.sizes: dict[str, list[int]] = {}
        self.widths: dict[str, int] = {}
        for number, (name, rows) in enumerate(tables.items()):
            with at(name):
                check_tables(rows)
            self.sizes[name], self.widths[name] = [len(table) for table in rows], rows[0].shape[1]
            distinct = {id(table): table for table in rows}
            zero = rows[0].new_zeros(1, self.widths[name])
            starts, start = {}, 0
            for key, table in distinct.items():
                starts[key] = start + 1  # the row before the first one is the zero row of EMPTY
                start += 1 + len(table)
            joined = torch.cat([part.detach().float() for table in distinct.values() for part in (zero, table)])
            # a stream's name may hold a dot, a buffer's may not
            self.register_buffer(f'rows{number}', joined, persistent=False)
            offsets = torch.tensor([starts[id(table)] for table in rows], device=joined.device)
            self.register_buffer(f'offsets{number}', offsets, persistent=False)
            deviation = torch.cat([table.detach().float() for table in rows]).std(correction=0)
            if not deviation.is_meta and not 0 < float(deviation) < float('inf'):
                raise InputError(f'the rows have the standard deviation {float(deviation):g}; expected rows that are '
                                 'finite and differ. Train the tokenizer first, or load its weights.', name)
            self.register_buffer(f'scale{number}', deviation.reciprocal(), persistent=False)

    @classmethod
    @read_arguments(tables=read_options, places=read_count())
    def from_tables(cls, tables: Mapping[str, Sequence[Tensor]], places: int) -> CodeTables:
        """Return the tables of some streams; arguments as of the class, of any kind that can be read as such."""
        if not tables:
            raise InputError('there are no streams; expected the tables of at least one.', 'tables')
        read = {}
        for name, rows in tables.items():
            with at(f'tables.{name}'):
                read[name] = [read_floats(table) for table in iterate(rows, 'a list of tables [K, e]')]
        return cls(read, places)

    def _number(self, name: str) -> int:
        if name not in self.names:
            raise InputError(f'there is no stream `{name}`.{closest(name, self.names)} There are: '
                             f'{", ".join(self.names)}.')
        return self.names.index(name)

    def rows(self, name: str, codes: Tensor) -> Tensor:
        """Codes [..., Q] of a stream -> the quantizer's rows [..., Q, e]; zeros where a code is `EMPTY`.

        Their sum over Q is what a residual quantizer decodes the codes to.
        """
        number = self._number(name)
        return F.embedding(codes + self._buffers[f'offsets{number}'], self._buffers[f'rows{number}'])

    def depth_rows(self, name: str, depth: int, codes: Tensor) -> Tensor:
        """Codes [...] of one depth of a stream -> rows [..., e]."""
        number = self._number(name)
        return F.embedding(codes + self._buffers[f'offsets{number}'][depth], self._buffers[f'rows{number}'])

    def scaling(self, name: str) -> Tensor:
        """1 / standard deviation of all values of a stream's tables, as a scalar tensor."""
        return self._buffers[f'scale{self._number(name)}']

    def scale(self, name: str) -> float:
        """1 / standard deviation of all values of a stream's tables."""
        return float(self.scaling(name))

    @property
    def layout(self) -> CodeLayout:
        """The code layout of the streams, their places in a row: flat ids, orders, checks of codes."""
        return CodeLayout(tuple(StreamLayout(name, Places(self.places), tuple(sizes))
                                for name, sizes in self.sizes.items()))

    def pick(self, streams: Sequence[str] | None) -> list[str]:
        """Return the names of some streams (None for all) in the order of the tables; `InputError` for others."""
        for name in streams or ():
            with at('streams'):
                self._number(name)
        if streams is not None and not streams:
            raise InputError('`streams` is empty; expected the names of some streams, or None for all.', 'streams')
        return [name for name in self.names if streams is None or name in streams]


def check_tables(rows: Sequence[Tensor]) -> None:
    """Raise `InputError` unless these are one or more float tables [K, e] of one width."""
    fits = len(rows) > 0 and all(isinstance(table, Tensor) and table.is_floating_point() and table.ndim == 2
                                 and table.numel() > 0 for table in rows)
    if not fits or len({table.shape[1] for table in rows}) > 1:
        raise InputError(f'the tables are {", ".join(map(describe, rows)) or "none"}; expected one float table [K, e] '
                         'for each depth, all of one width e.')
