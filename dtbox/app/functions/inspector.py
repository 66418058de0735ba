"""The tab Token inspector: the codes of a patch, how often they are used, what is near to them, what they stand for.

Legend: M images, N tokens, Q codes per token, K codebook size.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from dtbox.app.functions.images import Shown, find_token
from dtbox.app.functions.partial import need_head
from dtbox.app.opened import Opened, find_grid
from dtbox.diagnostics import patches
from dtbox.diagnostics.information import find_telling_words
from dtbox.errors import InputError

CONTEXT = 2
"""Tokens around a patch on each side, as in the code atlas."""


@dataclass(frozen=True)
class CodeInfo:
    """A code of a patch.

    Attributes:
        stream, depth, code: which.
        share: fraction of the counted tokens that have it; None where nothing is counted.
        rank: its place among the codes in use, 1 for the most used; None where it is not used or nothing is counted.
        nearest: other codes with the distances of their rows, nearest first; () where no row stands for a code.
        words: words that are more frequent in captions of images that use it, with how many times more.
    """
    stream: str
    depth: int
    code: int
    share: float | None
    rank: int | None
    nearest: Sequence[tuple[int, float]]
    words: Sequence[tuple[str, float]]

    @property
    def row(self) -> list[str]:
        """The line of the table."""
        used = '' if self.share is None else 'never' if not self.share else f'{self.share:.2%}, {self.rank}.'
        return [self.stream, str(self.depth), str(self.code), used,
                ', '.join(f'{code} ({distance:.2f})' for code, distance in self.nearest),
                ', '.join(f'{word} x {times:.1f}' for word, times in self.words)]


def check_code(opened: Opened, stream: str, depth: int, code: int) -> None:
    """Raise `InputError` unless a stream has a code at a depth."""
    if stream not in opened.coded:
        raise InputError(f'{opened.name} has no stream {stream!r} with codes; it has '
                         f'{", ".join(opened.coded) or "none"}.')
    sizes = opened.tokenizer.model.streams[stream].sizes
    if not 0 <= depth < len(sizes):
        raise InputError(f'{stream} has no depth {depth}; its depths are 0 to {len(sizes) - 1}.')
    if not 0 <= code < sizes[depth]:
        raise InputError(f'{stream} has no code {code} at depth {depth}; its codes there are 0 to '
                         f'{sizes[depth] - 1:,}.')


def find_nearest_codes(opened: Opened, stream: str, depth: int, code: int, most: int = 3) -> list[tuple[int, float]]:
    """Return the codes whose rows are nearest to that of a code, with their Euclidean distances.

    Raises:
        InputError: a quantizer without a row for each code.
    """
    check_code(opened, stream, depth, code)
    rows = opened.rows(stream)[depth]
    distances = (rows - rows[code]).norm(dim=1)
    distances[code] = float('inf')
    values, codes = distances.topk(min(most, len(rows) - 1), largest=False)
    return [(int(found), float(value)) for found, value in zip(codes, values)]


def describe_code(opened: Opened, stream: str, depth: int, code: int) -> CodeInfo:
    """Return what is known of a code. Where images were counted before (`Opened.seen`) that is how often it is used,
    too: nothing is counted here, as that takes seconds."""
    check_code(opened, stream, depth, code)
    try:
        nearest = find_nearest_codes(opened, stream, depth, code)
    except InputError:
        nearest = []
    if not opened.has('seen'):
        return CodeInfo(stream, depth, code, None, None, nearest, ())
    try:
        seen = opened.seen
    except InputError:
        return CodeInfo(stream, depth, code, None, None, nearest, ())
    codes = seen.codes[stream][..., depth]
    used, counts = np.unique(codes, return_counts=True)
    own = int(counts[used == code].sum())
    words = [(seen.words[word], lift) for word, lift in find_telling_words(codes, seen.owned, code)] if own else []
    rank = int((counts > own).sum()) + 1 if own else None
    return CodeInfo(stream, depth, code, own / codes.size, rank, nearest, words)


def inspect_patch(opened: Opened, shown: Shown, place: tuple[float, float]) -> list[CodeInfo]:
    """Return the codes of a patch, stream after stream, depth after depth.

    Args:
        opened: run.
        shown: the image.
        place: (down, right) as fractions of the image.
    """
    found = []
    for name in opened.coded:
        token = find_token(opened.tokenizer.model.streams[name].layout.token_layout, place)
        found += [describe_code(opened, name, depth, int(code))
                  for depth, code in enumerate(shown.codes[name][0, token].tolist())]
    return found


def cut_examples(opened: Opened, stream: str, depth: int, code: int, most: int = 12) -> list[np.ndarray]:
    """Return patches of held-out images that have a code, with what is around them, uint8 [h,w,3] each: those of the
    images that use it most, as on the sheets of the code atlas; [] for a code that is never used.

    Raises:
        InputError: no such code; a run without images, or with tokens that have no place.
    """
    check_code(opened, stream, depth, code)
    seen, grid = opened.seen, find_grid(opened.tokenizer, stream)
    assert grid is not None  # else nothing could be counted
    shape = grid.rows, grid.columns
    chosen = patches.choose_examples(seen.codes[stream][..., depth], code, shape, seen.keys, 3 * most)
    crops: dict[bytes, np.ndarray] = {}
    for i, token in chosen:
        pixels = opened.dataset[seen.positions[i]]['image'].permute(1, 2, 0).numpy()
        cut = patches.crop(pixels, token, shape, CONTEXT)
        crops.setdefault(cut.tobytes(), np.where(cut[..., 3:] > 0, cut[..., :3], 255).astype(np.uint8))
        if len(crops) == most:
            break
    return list(crops.values())


@torch.no_grad()
def find_patch_words(opened: Opened, shown: Shown, place: tuple[float, float],
                     most: int = 5) -> list[tuple[str, float]]:
    """Return the words nearest to a patch: its quantized tokens, pooled by the head, less the mean over all patches of
    the image, which says nothing of the patch.

    Raises:
        InputError: a run without head, text tower or words; tokens without a place.
    """
    need_head(opened)
    words, vectors = opened.words
    model, grid = opened.tokenizer.model, find_grid(opened.tokenizer)
    if grid is None:
        raise InputError(f'the tokens of {opened.name} have no place in the image, so no words belong to a patch.')
    height, width = shown.tensor.shape[2:]
    token = find_token(grid, place)
    rows, columns = (np.linspace(0, side, count + 1).round().astype(int)
                     for side, count in ((height, grid.rows), (width, grid.columns)))
    masks = torch.zeros(grid.rows * grid.columns, height, width, dtype=torch.bool)
    for i in range(len(masks)):
        row, column = divmod(i, grid.columns)
        masks[i, rows[row]:rows[row + 1], columns[column]:columns[column + 1]] = True
    output = model(shown.tensor, None, False)
    pooled = F.normalize(model.pool_regions(output.last, [masks])[0].float(), dim=1).cpu()
    scores = (pooled[token] - pooled.mean(0)) @ vectors.cpu().T
    values, places = scores.topk(min(most, len(words)))
    return [(words[i], float(value)) for value, i in zip(values, places.tolist())]
