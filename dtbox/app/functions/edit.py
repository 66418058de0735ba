"""The tab Edit: codes are changed, painted, copied, swapped and shuffled, and the image is drawn again.

Every function takes codes and returns new ones: what was there before stays as it was, so that an edit can be undone.

Legend: N tokens, Q codes per token.
"""
from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dtbox.app.functions.images import Shown
from dtbox.app.functions.inspector import check_code
from dtbox.app.functions.partial import decode_part, embed_codes, list_words
from dtbox.app.opened import Opened
from dtbox.counts import format_count
from dtbox.drawing.sheets import to_uint8
from dtbox.errors import InputError
from dtbox.layout import Grid, Scales

KEPT = 50
"""Edits that can be undone."""
Codes = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Edit:
    """Codes that are being edited, and those before each edit; the oldest come first."""
    codes: Codes
    before: tuple[Codes, ...] = ()

    def change(self, codes: Codes) -> Edit:
        """Return the edit with new codes; the last `KEPT` can be undone."""
        return Edit(codes, (*self.before, self.codes)[-KEPT:])

    def undo(self) -> Edit:
        """Return the edit as it was before the last change; `InputError` where there was none."""
        if not self.before:
            raise InputError('there is nothing to undo: the codes are those of the image.')
        return Edit(self.before[-1], self.before[:-1])


def paint(opened: Opened, codes: Codes, stream: str, depth: int, code: int, tokens: Sequence[int]) -> Codes:
    """Return codes with one code at some tokens.

    Args:
        opened: run.
        codes: stream -> [1,N,Q].
        stream, depth: where.
        code: what.
        tokens: numbers of the tokens.

    Raises:
        InputError: a code, depth or token that the stream does not have.
    """
    check_code(opened, stream, depth, code)
    layout = opened.tokenizer.model.streams[stream].layout.token_layout
    wrong = [token for token in tokens if not 0 <= token < layout.tokens]
    if wrong:
        raise InputError(f'{stream} has no token {wrong[0]}; its tokens are 0 to {layout.tokens - 1}.')
    changed = codes[stream].clone()
    changed[0, list(tokens), depth] = code
    return {**codes, stream: changed}


def set_table(opened: Opened, codes: Codes, stream: str, rows: Sequence[Sequence[object]]) -> Codes:
    """Return codes with those of a stream as a table has them.

    Args:
        opened: run.
        codes: stream -> [1,N,Q].
        stream: which.
        rows: N rows of Q cells, as they were typed.

    Raises:
        InputError: cells that are no whole numbers, codes out of range, rows that were added or removed.
    """
    wanted = codes[stream]
    if len(rows) != wanted.shape[1] or any(len(row) != wanted.shape[2] for row in rows):
        raise InputError(f'the table of {stream} has {format_count(len(rows), "row")}; expected {wanted.shape[1]} of '
                         f'{format_count(wanted.shape[2], "code")}, a row a token. Undo what added or removed rows.')
    values = []
    for token, row in enumerate(rows):
        for depth, cell in enumerate(row):
            text = str(cell).strip()
            number = text.removesuffix('.0')
            if not number.isdecimal():
                raise InputError(f'token {token} of {stream} has {text[:20]!r} at depth {depth}; expected a whole '
                                 'number, a code.')
            check_code(opened, stream, depth, int(number))
            values.append(int(number))
    return {**codes, stream: torch.tensor(values, device=wanted.device).view_as(wanted)}


def list_region(grid: Grid | Scales, top: int, left: int, bottom: int, right: int) -> list[int]:
    """Return the tokens of a rectangle, its rows and columns from `top`, `left` to `bottom`, `right`, both included.

    Raises:
        InputError: a rectangle that does not lie in the grid; tokens on several scales.
    """
    if not isinstance(grid, Grid):
        raise InputError(f'a region needs tokens on a grid of rows and columns; these are a {grid}.')
    if not (0 <= top <= bottom < grid.rows and 0 <= left <= right < grid.columns):
        raise InputError(f'the region from ({top}, {left}) to ({bottom}, {right}) does not lie in the {grid}; rows are '
                         f'0 to {grid.rows - 1}, columns 0 to {grid.columns - 1}, the first corner above and left.')
    return [row * grid.columns + column for row in range(top, bottom + 1) for column in range(left, right + 1)]


def copy_region(codes: Codes, other: Codes, streams: Collection[str], tokens: Sequence[int]) -> Codes:
    """Return codes with those of another image at some tokens of some streams."""
    _need_streams(streams)
    changed = dict(codes)
    for name in streams:
        changed[name] = codes[name].clone()
        changed[name][:, list(tokens)] = other[name][:, list(tokens)]
    return changed


def swap_streams(codes: Codes, other: Codes, streams: Collection[str]) -> Codes:
    """Return codes with some streams of another image: such as the semantic codes of A with the pixel codes of B."""
    _need_streams(streams)
    return {name: other[name] if name in streams else value for name, value in codes.items()}


def shuffle(codes: Codes, streams: Collection[str], seed: int = 0) -> Codes:
    """Return codes with the tokens of some streams in a random order, the same for equal seeds."""
    _need_streams(streams)
    changed = dict(codes)
    for name in streams:
        order = torch.randperm(codes[name].shape[1], generator=torch.Generator().manual_seed(seed))
        changed[name] = codes[name][:, order.to(codes[name].device)]
    return changed


def _need_streams(streams: Collection[str]) -> None:
    if not streams:
        raise InputError('no stream is chosen. Tick one.')


def count_changes(codes: Codes, original: Codes) -> dict[str, int]:
    """Return stream -> number of codes that differ."""
    return {name: int((codes[name] != value).sum()) for name, value in original.items()}


def draw(opened: Opened, codes: Codes, cut: Mapping[str, int | None] | None = None) -> np.ndarray:
    """Return what the decoder draws of codes, uint8 [H,W,3]; `cut` as of `decode_part`."""
    return to_uint8(decode_part(opened, codes, cut))[0]


@dataclass(frozen=True)
class Reading:
    """What the head reads of edited codes.

    Attributes:
        cosines: of image ('A', 'B') -> cosine of its embedding with that of the edited codes.
        words: nearest to the edited codes, with their cosines; () where the run has no words.
    """
    cosines: Mapping[str, float]
    words: Sequence[tuple[str, float]] = ()


def read_codes(opened: Opened, codes: Codes, images: Mapping[str, Shown]) -> Reading:
    """Return what the head reads of codes.

    Args:
        opened: run.
        codes: edited, stream -> [1,N,Q].
        images: name -> image to compare with; the first is the one that the codes began with.

    Raises:
        InputError: a run without head.
    """
    first = next(iter(images.values()))
    own = embed_codes(opened, first.tensor, codes)
    cosines = {name: float(own @ embed_codes(opened, one.tensor, one.codes)) for name, one in images.items()}
    reading = Reading(cosines)
    try:
        return replace(reading, words=list_words(opened, own))
    except InputError:
        return reading
