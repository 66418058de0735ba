"""Objects beside what became of them: the image with its mask outlined, both cut to the object."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from dtbox.drawing.sheets import EDGE, GAP, INK, MARGIN, PALE, load_font
from dtbox.files import replacing

TILE = 176
MARGIN_SHARE = 0.35
"""How much of an object's size is shown around it."""


def draw_worst(objects: Sequence[tuple], path: str, title: str, columns: int = 4) -> None:
    """Draw objects: input and reconstruction side by side, the mask outlined, the caption below.

    Args:
        objects: list of (image, reconstruction: uint8 [H, W, 3]; mask: bool [H, W]; caption).
        path: PNG to write or replace.
        title: line at the top.
        columns: pairs in a row.
    """
    columns = min(columns, len(objects))
    rows = -(-len(objects) // columns)
    pair = 2 * TILE + 2
    size = (2 * MARGIN + columns * (pair + 3 * GAP) - 3 * GAP, MARGIN + 40 + rows * (TILE + 34))
    sheet = Image.new('RGB', (max(size[0], int(load_font(20).getlength(title)) + 2 * MARGIN), size[1]), 'white')
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN - 6), title, INK, load_font(20))
    for i, (image, reconstruction, mask, caption) in enumerate(objects):
        left, top = MARGIN + i % columns * (pair + 3 * GAP), MARGIN + 34 + i // columns * (TILE + 34)
        box = _around(mask)
        for k, pixels in enumerate((image, reconstruction)):
            corner = (left + k * (TILE + 2), top)
            sheet.paste(Image.fromarray(_outlined(pixels, mask)).crop(box).resize((TILE, TILE),
                                                                                  Image.Resampling.NEAREST), corner)
            pen.rectangle((corner[0] - 1, top - 1, corner[0] + TILE, top + TILE), outline=EDGE)
        pen.text((left, top + TILE + 4), caption, PALE, load_font(14))
    with replacing(path) as temporary:
        sheet.save(temporary)


def _outlined(pixels, mask):
    """Return an image with the edge of a mask in red, outside of the object."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    shown = pixels.copy()
    shown[grown & ~mask] = (230, 30, 30)
    return shown


def _around(mask):
    """Return the square (left, top, right, bottom) around a mask, with some room, inside the image where that is large
    enough."""
    rows, columns = np.where(mask)
    height, width = mask.shape
    side = min(max(int((1 + 2 * MARGIN_SHARE) * max(np.ptp(rows), np.ptp(columns)) + 1), 16), height, width)
    top = int(np.clip((rows.min() + rows.max() + 1 - side) // 2, 0, height - side))
    left = int(np.clip((columns.min() + columns.max() + 1 - side) // 2, 0, width - side))
    return left, top, left + side, top + side
