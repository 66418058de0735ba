"""How the codes of an image follow one another in a sequence.

Within a stream, codes always go token by token, depth fastest. `CodeOrder` says how streams alternate; `delay_codes` is
the pattern of MusicGen (arXiv 2306.05284), where each depth of a token stands one step after the depth before it.

Legend: B batch, N tokens, Q codes per token, L codes of an image, S = N + Q - 1 steps.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dtbox.arguments import describe, read_arguments, read_choice, read_count, read_names, read_whole
from dtbox.counts import format_count
from dtbox.errors import InputError, at
from dtbox.layout.base import TokenLayout

ALTERNATIONS = ('stream', 'slice', 'token')


@dataclass(frozen=True)
class CodeOrder:
    """The order of codes of several streams.

    Attributes:
        by: 'stream': one stream after the other. 'slice': scale after scale, or frame after frame, and in each one
            stream after the other. 'token': token after token, and at each the codes of one stream after the other.
        streams: names of the streams, first to last; None takes the order of the layout.
    """
    by: str = 'stream'
    streams: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        with at('by'):
            read_choice(*ALTERNATIONS)(self.by)
        if self.streams is not None:
            with at('streams'):
                object.__setattr__(self, 'streams', tuple(read_names(self.streams)))

    def arrange(self, names: list[str]) -> list[str]:
        """Return the names in this order; `InputError` where the order does not name one of them."""
        if self.streams is None:
            return list(names)
        missing = [name for name in names if name not in self.streams]
        if missing:
            raise InputError(f'the order of the streams {", ".join(self.streams)} does not name {", ".join(missing)}. '
                             'Name every stream that has codes.', 'streams')
        return [name for name in self.streams if name in names]

    def to_dict(self) -> dict[str, Any]:
        """Return the order as a plain dict, as JSON writes it."""
        return dict(by=self.by, streams=None if self.streams is None else list(self.streams))

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> CodeOrder:
        """Return the order that `to_dict` described; `InputError` for other keys."""
        if not isinstance(values, Mapping) or set(values) - {'by', 'streams'}:
            raise InputError(f'an order of codes is {describe(values)}; expected a dict with the keys `by` and '
                             '`streams`.')
        return CodeOrder(**values)


def join_ids(ids: Mapping[str, Tensor], layouts: Mapping[str, TokenLayout], order: CodeOrder) -> Tensor:
    """Put the ids of several streams one after another.

    Args:
        ids: stream -> [B, N, Q].
        layouts: stream -> where its N tokens lie.
        order: of the streams.

    Returns:
        [B, L].
    """
    names = order.arrange(list(ids))
    if order.by == 'token':
        check_alike({name: layouts[name].tokens for name in names}, order)
        return torch.cat([ids[name] for name in names], 2).flatten(1)
    return torch.cat([ids[name][:, part].flatten(1) for name, part in list_blocks(layouts, names, order)], 1)


def split_ids(ids: Tensor, layouts: Mapping[str, TokenLayout], depths: Mapping[str, int],
              order: CodeOrder) -> dict[str, Tensor]:
    """Take apart what `join_ids` put together.

    Args:
        ids: [B, L].
        layouts: stream -> where its N tokens lie.
        depths: stream -> codes per token Q.
        order: of the streams.

    Returns:
        dict stream -> [B, N, Q], in the order of `layouts`.
    """
    names, found = order.arrange(list(layouts)), {}
    if order.by == 'token':
        check_alike({name: layouts[name].tokens for name in names}, order)
        parts = ids.unflatten(1, (-1, sum(depths[name] for name in names))).split([depths[name] for name in names], 2)
        found = dict(zip(names, parts))
    else:
        blocks = list_blocks(layouts, names, order)
        lengths = [(part.stop - part.start) * depths[name] for name, part in blocks]
        for (name, _), part in zip(blocks, ids.split(lengths, 1)):
            found.setdefault(name, []).append(part.unflatten(1, (-1, depths[name])))
        found = {name: torch.cat(parts, 1) for name, parts in found.items()}
    return {name: found[name] for name in layouts}


def list_blocks(layouts: Mapping[str, TokenLayout], names: list[str], order: CodeOrder) -> list[tuple[str, slice]]:
    """Return (stream, which of its tokens) of each block of codes that belong together, first to last."""
    if order.by == 'stream':
        return [(name, slice(0, layouts[name].tokens)) for name in names]
    check_alike({name: len(layouts[name].slices) for name in names}, order)
    return [(name, part) for row in zip(*([(name, part) for part in layouts[name].slices] for name in names))
            for name, part in row]


def check_alike(counts: Mapping[str, int], order: CodeOrder) -> None:
    """Raise `InputError` unless all streams have the same number of what the order alternates by."""
    if len(set(counts.values())) > 1:
        told = ', '.join(f'{name} {count}' for name, count in counts.items())
        raise InputError(f'streams alternate by {order.by}, but they have different numbers of {order.by}s: {told}. '
                         'Order the codes by stream.')


@read_arguments(codes=read_whole, fill=read_count(-2 ** 63))
def delay_codes(codes: Tensor, fill: int) -> Tensor:
    """Delay each depth by one step after the depth before it: code d (from 0) of token n stands at step n + d.

    Args:
        codes: [B, N, Q] int64.
        fill: what stands where no code does; a number that is not a code, such as the codebook size.

    Returns:
        [B, N + Q - 1, Q].
    """
    if codes.ndim != 3:
        raise InputError(f'codes have the shape {list(codes.shape)}; expected [B, N, Q].')
    batch, tokens, depth = codes.shape
    steps = codes.new_full((batch, tokens + depth - 1, depth), fill)
    for d in range(depth):
        steps[:, d:d + tokens, d] = codes[..., d]
    return steps


@read_arguments(steps=read_whole)
def undo_delay(steps: Tensor) -> Tensor:
    """Take the codes out of delayed steps, the inverse of `delay_codes`: [B, N + Q - 1, Q] -> [B, N, Q]."""
    if steps.ndim != 3:
        raise InputError(f'steps have the shape {list(steps.shape)}; expected [B, N + Q - 1, Q].')
    count, depth = steps.shape[1:]
    if not 0 < depth <= count:
        raise InputError(f'steps are {list(steps.shape)}; {depth} delayed depths need at least '
                         f'{format_count(depth, "step")}.')
    return torch.stack([steps[:, d:count - depth + 1 + d, d] for d in range(depth)], 2)
