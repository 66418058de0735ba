"""Strips of held-out images as a run leaves them, and contact sheets that put those of several runs together.

Legend: n images, H and W pixels; images are uint8 arrays [n, H, W, 3].
"""
from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin

from dtbox.drawing.sheets import EDGE, INK, PALE, choose_zoom, load_font
from dtbox.errors import InputError
from dtbox.files import parse_json, replacing

STRIP = 'dtbox strip'
"""Name of the text in a strip's PNG that says what its columns are."""

GAP, MARGIN = 4, 14
MOST = 24_000_000
"""Pixels of the images on a contact sheet, or so; larger images are made smaller, since a file of more takes long to
write and to open."""


def write_strip(inputs: np.ndarray, reconstructions: np.ndarray, path: str, names: Sequence) -> None:
    """Write images as they are, for programs that put them together again: inputs in the top row, reconstructions in
    the bottom row, no margins.

    Args:
        inputs, reconstructions: uint8 [n, H, W, 3].
        path: PNG to write or replace.
        names: n lists of text that tell the images apart (such as set and key), kept in the file.
    """
    rows = [np.concatenate(list(row), axis=1) for row in (inputs, reconstructions)]
    info = PngImagePlugin.PngInfo()
    info.add_itxt(STRIP, json.dumps([list(name) for name in names]))
    with replacing(path) as temporary:
        Image.fromarray(np.concatenate(rows)).save(temporary, format='PNG', pnginfo=info, optimize=True)


def read_strip(path: str) -> tuple[np.ndarray, np.ndarray, list[tuple]]:
    """Return (inputs, reconstructions, names) of a file of `write_strip`; names are tuples.

    Raises:
        InputError: no such file, or no strip.
    """
    try:
        with Image.open(path) as image:
            names = [tuple(name) for name in parse_json(image.text[STRIP])]
            pixels = np.asarray(image.convert('RGB'))
        rows = [np.stack(np.split(row, len(names), axis=1)) for row in np.split(pixels, 2)]
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as e:
        raise InputError(f'{path} is not a strip of images with their reconstructions ({type(e).__name__}: '
                         f'{e}).') from e
    return (*rows, names)


def draw_contact_sheet(rows: Sequence[tuple[str, np.ndarray]], path: str, title: str, tile: int = 96) -> int:
    """Draw rows of images, each with a label on its left.

    Args:
        rows: list of (label, images), the same number of images of one size in each.
        path: PNG to write or replace.
        title: line at the top.
        tile: pixels that an enlarged image has at most; larger images are shown as they are, unless all of them have
            more than `MOST` pixels.

    Returns:
        how many times the sides of the images were made smaller: 1 where they were not.
    """
    count, height, width = rows[0][1].shape[:3]
    shrink = math.ceil((len(rows) * count * height * width / MOST) ** 0.5)
    height, width = -(-height // shrink), -(-width // shrink)
    zoom = choose_zoom(height, width, tile)
    step = (width * zoom + GAP, height * zoom + GAP)
    face, large = load_font(max(12, min(step) // 5)), load_font(max(16, min(step) // 4))
    lines = [_wrapped(label, face, 2.5 * step[0], max(1, int(step[1] / (1.25 * face.size)))) for label, _ in rows]
    room = 12 + int(max(face.getlength(line) for label in lines for line in label))
    top = 2 * MARGIN + int(large.size)
    size = max(2 * MARGIN + room + count * step[0] - GAP, int(large.getlength(title)) + 2 * MARGIN)
    sheet = Image.new('RGB', (size, top + len(rows) * step[1] + MARGIN - GAP), 'white')
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), title, INK, large)
    for r, ((_, images), label) in enumerate(zip(rows, lines)):
        pen.multiline_text((MARGIN, top + (step[1] - GAP) // 2), '\n'.join(label), PALE if r == 0 else INK, face,
                           anchor='lm', spacing=1)
        for c, image in enumerate(images):
            left = MARGIN + room + c * step[0]
            image = Image.fromarray(np.ascontiguousarray(image)).reduce(shrink)
            sheet.paste(image.resize((width * zoom, height * zoom), Image.Resampling.NEAREST), (left, top))
            pen.rectangle((left - 1, top - 1, left + width * zoom, top + height * zoom), outline=EDGE)
        top += step[1]
    with replacing(path) as temporary:
        sheet.save(temporary)
    return shrink


def _wrapped(label, face, width, most):
    """Break a label into at most `most` lines of `width` pixels; an ellipsis stands for what is left over."""
    pieces = re.split(r'(?<=[ _-])', label)
    lines = ['']
    for piece in pieces:
        if lines[-1] and face.getlength(lines[-1] + piece.rstrip()) > width:
            lines.append('')
        lines[-1] += piece
    lines = [line.strip() for line in lines]
    cut = len(lines) > most
    lines = lines[:most]
    for i, line in enumerate(lines):
        while len(line) > 1 and face.getlength(line) > width:
            line = line.rstrip('…')[:-1] + '…'
        lines[i] = line
    return [*lines[:-1], lines[-1] + ' …'] if cut else lines
