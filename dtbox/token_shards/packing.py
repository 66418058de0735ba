"""Codes of many images as the columns of a token shard, and back.

Legend: M images, N positions of an image, Q codes of a position (depths).
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.token_shards.format import GROUP_BITS, Stream, need_pyarrow

if TYPE_CHECKING:
    import pyarrow


def check_codes(codes: Any, stream: Stream, who: str) -> np.ndarray:
    """Return codes [N, Q] of an image in the type of the stream.

    Args:
        codes: array of integers.
        stream: that they belong to.
        who: the image, for messages.

    Raises:
        InputError: another shape or type, or codes outside [0, size), which the column could not hold.
    """
    codes = np.asarray(codes)
    if codes.shape != (stream.positions, stream.depth) or codes.dtype.kind not in 'iu':
        raise InputError(f'the codes `{stream.name}` of {who} are {codes.dtype} {list(codes.shape)}; expected integers '
                         f'[{stream.positions}, {stream.depth}].')
    for depth, size in enumerate(stream.limits):
        low, high = int(codes[:, depth].min()), int(codes[:, depth].max())
        if low < 0 or high >= size:
            raise InputError(f'the codes `{stream.name}` of {who} reach from {low} to {high} at depth {depth}; its '
                             f'codebook has the codes 0 to {size - 1}, and its column holds {stream.dtype}. '
                             'They may come from another tokenizer.')
    return codes.astype(stream.dtype)


def pack_codes(codes: Sequence[np.ndarray | None], stream: Stream) -> list[pyarrow.Array]:
    """Checked codes [N, Q] of M images, None for broken ones -> the columns of the stream."""
    pa = need_pyarrow()
    there = np.array([value is not None for value in codes], dtype=bool)
    length = stream.positions * stream.depth
    offsets = pa.array(np.concatenate([[0], np.cumsum(there * length)]).astype(np.int32))
    flat = np.concatenate([np.empty(0, stream.dtype), *(value.reshape(-1) for value in codes if value is not None)])
    mask = pa.array(~there)
    if len(stream.columns) == 1:
        parts = [flat]
    else:
        shifts = [GROUP_BITS * place for place in reversed(range(len(stream.columns)))]
        parts = [(flat >> np.uint64(shift) & np.uint64(2 ** GROUP_BITS - 1)).astype(np.uint16) for shift in shifts]
    kinds = [pa.list_(pa.field('element', pa.from_numpy_dtype(part.dtype), nullable=False)) for part in parts]
    return [pa.ListArray.from_arrays(offsets, pa.array(part), type=kind, mask=mask)
            for part, kind in zip(parts, kinds)]


def unpack_codes(columns: Sequence[pyarrow.Array], stream: Stream) -> np.ndarray:
    """The columns of the stream -> codes [M, N, Q] of the rows that have some.

    Raises:
        InputError: rows with another number of codes.
    """
    length = stream.positions * stream.depth
    parts = []
    for column in columns:
        column = column.drop_null() if column.null_count else column
        values = column.flatten()
        lengths = np.diff(column.offsets.to_numpy())
        if (lengths != length).any():
            wrong = lengths[lengths != length][0]
            raise InputError(f'a row of the stream `{stream.name}` has {format_count(int(wrong), "code")}; expected '
                             f'{stream.positions} x {stream.depth}')
        parts.append(values.to_numpy())
    codes = parts[0]
    if len(parts) > 1:
        codes = np.zeros(len(parts[0]), np.uint64)
        for part in parts:
            codes = codes << np.uint64(GROUP_BITS) | part.astype(np.uint64)
    return codes.reshape(-1, stream.positions, stream.depth)
