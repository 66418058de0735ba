"""Sheets of samples: images side by side with texts below them, such as drawings with their prompt.

A sheet is no larger than its images and texts need: a column is as wide as its widest images, a row as high as its
highest sample, and texts are broken into lines, never cut.

Legend: h and w pixels.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import List, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dtbox.drawing.sheets import EDGE, GAP, INK, MARGIN, PALE, TILE, choose_zoom, load_font
from dtbox.drawing.text_lines import measure_line, wrap_text
from dtbox.files import replacing

WIDTH = 1264
"""Pixels that a sheet is wide at most, unless one sample needs more."""
NARROWEST = 128
"""Pixels that texts have at least, however small the images are."""
BETWEEN = 14
"""Pixels between samples."""
WRONG = (193, 67, 0)
TITLE, TEXT = 18, 14
"""Sizes of the type in pixels."""

Lines = List[Tuple[str, Tuple[int, int, int]]]
"""Lines of a text, each with its colour."""


@dataclass(frozen=True)
class Sample:
    """Images with texts below them.

    Attributes:
        images: uint8 arrays [h, w, 3], from left to right; they may differ in size. Texts alone where there are none.
        texts: the first is drawn dark, the others pale.
        wrong: numbers of the texts that are drawn in the colour of errors.
    """
    images: Sequence[np.ndarray]
    texts: Sequence[str] = ()
    wrong: Sequence[int] = ()


def draw_samples(samples: Sequence[Sample], path: str, title: str, tile: int = TILE) -> None:
    """Draw samples from left to right, as many in a row as `WIDTH` holds.

    Args:
        samples: one at least.
        path: PNG to write or replace.
        title: at the top.
        tile: pixels that an enlarged image has at most. Images are enlarged by whole numbers; larger images are shown
            as they are.
    """
    blocks = [_Block(sample, tile) for sample in samples]
    step = max(block.width for block in blocks) + BETWEEN
    most = max(1, (WIDTH - 2 * MARGIN + BETWEEN) // step)
    columns = -(-len(blocks) // -(-len(blocks) // most))
    rows = [blocks[i:i + columns] for i in range(0, len(blocks), columns)]
    widths = [max(row[c].width for row in rows if c < len(row)) for c in range(columns)]
    inner, font = max(sum(widths) + BETWEEN * (columns - 1), 2 * NARROWEST), load_font(TITLE)
    lines = wrap_text(title, inner, font)
    top = MARGIN + measure_line(font) * len(lines) + GAP
    heights = [max(block.height for block in row) for row in rows]
    size = 2 * MARGIN + inner, top + sum(heights) + BETWEEN * (len(rows) - 1) + MARGIN
    sheet = Image.new('RGB', size, 'white')
    pen = ImageDraw.Draw(sheet)
    _write(pen, [(line, INK) for line in lines], (MARGIN, MARGIN - GAP), font)
    for row, height in zip(rows, heights):
        left = MARGIN
        for block, width in zip(row, widths):
            block.draw(sheet, pen, (left, top))
            left += width + BETWEEN
        top += height + BETWEEN
    with replacing(path) as temporary:
        sheet.save(temporary)


class _Block:
    """A sample laid out: its enlarged images in lines of at most `WIDTH` pixels, below them its texts."""

    def __init__(self, sample: Sample, tile: int) -> None:
        shown = [_enlarge(image, tile) for image in sample.images]
        step = max((image.width for image in shown), default=NARROWEST) + GAP
        most = max(1, (WIDTH - 2 * MARGIN + GAP) // step)
        count = -(-len(shown) // -(-len(shown) // most)) if shown else 1
        self.rows = [shown[i:i + count] for i in range(0, len(shown), count)]
        self.step, self.font = step, load_font(TEXT)
        self.width = max([NARROWEST, *(GAP * (len(row) - 1) + sum(image.width for image in row) for row in self.rows)])
        inks = [WRONG if k in sample.wrong else PALE if k else INK for k in range(len(sample.texts))]
        self.lines: Lines = [(line, ink) for text, ink in zip(sample.texts, inks)
                             for line in wrap_text(text, self.width, self.font)]
        self.above = sum(max(image.height for image in row) + GAP for row in self.rows)
        self.height = self.above + measure_line(self.font) * len(self.lines)

    def draw(self, sheet: Image.Image, pen: ImageDraw.ImageDraw, corner: tuple[int, int]) -> None:
        """Draw it with its left upper corner at `corner`."""
        left, top = corner
        for row in self.rows:
            x = left
            for image in row:
                sheet.paste(image, (x, top))
                pen.rectangle((x - 1, top - 1, x + image.width, top + image.height), outline=EDGE)
                x += self.step if len(self.rows) > 1 else image.width + GAP
            top += max(image.height for image in row) + GAP
        _write(pen, self.lines, (left, corner[1] + self.above), self.font)


def _enlarge(pixels: np.ndarray, tile: int) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    zoom = choose_zoom(image.height, image.width, tile)
    return image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)


def _write(pen: ImageDraw.ImageDraw, lines: Lines, corner: tuple[int, int], font: ImageFont.FreeTypeFont) -> None:
    for i, (line, ink) in enumerate(lines):
        pen.text((corner[0], corner[1] + i * measure_line(font)), line, ink, font)


def fit_text(text: str, width: int, size: int) -> str:
    """Return a text, cut with dots where it is wider than `width` pixels."""
    if load_font(size).getlength(text) <= width:
        return text
    while text and load_font(size).getlength(text + '…') > width:
        text = text[:-1]
    return text + '…'
