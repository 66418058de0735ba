"""Rows of images with groups and captions: neighbours, regions with words, reconstructions side by side."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np
from PIL import Image, ImageDraw

from dtbox.drawing.sample_sheet import fit_text
from dtbox.drawing.sheets import EDGE, GAP, INK, MARGIN, PALE, load_font
from dtbox.files import replacing


@dataclass(frozen=True)
class Tile:
    """An image.

    Attributes:
        pixels: uint8 [h, w, 3].
        caption: line below it.
        cells: rows of a grid of words that are written into it, or ().
    """
    pixels: Any
    caption: str = ''
    cells: Sequence = ()


def draw_rows(columns: Sequence[tuple[str, int]], rows: Sequence, path: str, title: str, note: str = '',
              tile: int = 112) -> None:
    """Draw rows of tiles below the names of their groups.

    Args:
        columns: list of (name, number of tiles): groups from left to right.
        rows: list of rows, each a list with a list of Tile for every group.
        path: PNG to write or replace.
        title: line at the top.
        note: smaller line below it.
        tile: side of an image in pixels; larger ones are made smaller.
    """
    gap = 4 * GAP
    lefts, left = [], MARGIN
    for name, count in columns:
        lefts.append(left)
        left += max(count * (tile + GAP) - GAP, int(load_font(15).getlength(name))) + gap
    block, top = tile + 22, MARGIN + 34 + 24 * bool(note) + 26
    width = max(left - gap + MARGIN, int(load_font(20).getlength(title)) + 2 * MARGIN,
                int(load_font(14).getlength(note)) + 2
                * MARGIN)
    sheet = Image.new('RGB', (width, top + block * len(rows) + GAP), 'white')
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN - 6), title, INK, load_font(20))
    if note:
        pen.text((MARGIN, MARGIN + 24), note, PALE, load_font(14))
    for (name, _), x in zip(columns, lefts):
        pen.text((x, top - 22), name, INK, load_font(15))
    for r, row in enumerate(rows):
        for x, tiles in zip(lefts, row):
            for i, one in enumerate(tiles):
                _draw(sheet, pen, one, (x + i * (tile + GAP), top + r * block), tile)
    with replacing(path) as temporary:
        sheet.save(temporary)


def _draw(sheet, pen, one, corner, tile):
    left, top = corner
    image = Image.fromarray(np.ascontiguousarray(one.pixels))
    scale = tile / max(image.size)
    size = tuple(max(1, round(s * scale)) for s in image.size)
    sheet.paste(image.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BICUBIC), corner)
    pen.rectangle((left - 1, top - 1, left + size[0], top + size[1]), outline=EDGE)
    for i, cells in enumerate(one.cells):
        for j, text in enumerate(cells):
            x, y = left + j * size[0] / len(cells), top + i * size[1] / len(one.cells)
            pen.rectangle((x, y, x + size[0] / len(cells), y + size[1] / len(one.cells)), outline=(255, 255, 255))
            label = fit_text(text, size[0] / len(cells) - 4, 12)
            box = pen.textbbox((x + 3, y + 2), label, load_font(12))
            pen.rectangle((box[0] - 2, box[1] - 1, box[2] + 2, box[3] + 1), fill=(255, 255, 255))
            pen.text((x + 3, y + 2), label, INK, load_font(12))
    if one.caption:
        pen.text((left, top + tile + 3), fit_text(one.caption, tile, 12), PALE, load_font(12))
