"""A sheet of samples with a line or two below each."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from dtbox.drawing.sheets import EDGE, GAP, INK, MARGIN, PALE, load_font
from dtbox.files import replacing


def draw_samples(samples: Sequence[tuple[np.ndarray, Sequence[str]]], path: str, title: str, tile: int,
                 columns: int = 8) -> None:
    """Draw samples of any size, as large as fits their tile.

    Args:
        samples: list of (uint8 [h, w, 3], h and w at most `tile`; lines of text).
        path: PNG to write or replace.
        title: line at the top.
        tile: side of a tile in pixels.
        columns: tiles in a row.
    """
    columns, lines = min(columns, len(samples)), max(len(texts) for _, texts in samples)
    rows = -(-len(samples) // columns)
    block = tile + 18 * lines + 10
    size = max(2 * MARGIN + columns * (tile + GAP) - GAP, int(load_font(20).getlength(title)) + 2
               * MARGIN), MARGIN + 36 + rows * block
    sheet = Image.new('RGB', size, 'white')
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN - 6), title, INK, load_font(20))
    for i, (pixels, texts) in enumerate(samples):
        left, top = MARGIN + i % columns * (tile + GAP), MARGIN + 34 + i // columns * block
        image = Image.fromarray(pixels)
        zoom = max(1, tile // max(image.size))
        image = image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)
        corner = left + (tile - image.width) // 2, top + (tile - image.height) // 2
        sheet.paste(image, corner)
        pen.rectangle((corner[0] - 1, corner[1] - 1, corner[0] + image.width, corner[1] + image.height), outline=EDGE)
        for k, text in enumerate(texts):
            pen.text((left, top + tile + 3 + 18 * k), fit_text(text, tile, 13), PALE if k else INK, load_font(13))
    with replacing(path) as temporary:
        sheet.save(temporary)


def fit_text(text: str, width: int, size: int) -> str:
    """Return a text, cut with dots where it is wider than `width` pixels."""
    if load_font(size).getlength(text) <= width:
        return text
    while text and load_font(size).getlength(text + '…') > width:
        text = text[:-1]
    return text + '…'
