"""Strips of held-out pictures as a run leaves them, and contact sheets that put those of several runs together.

Legend: n images, H and W pixels; images are uint8 arrays [n, H, W, 3].
"""
import json

import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin

from dtbox.drawing.sheets import EDGE, INK, PALE, font, zoom_of
from dtbox.errors import InputError
from dtbox.files import replacing

STRIP = 'dtbox strip'
"""Name of the text in a strip's PNG that says what its columns are."""

TILE, GAP, MARGIN, LABELS = 96, 4, 14, 240


def write_strip(inputs, reconstructions, path, names):
    """Write pictures as they are, for programs that put them together anew: inputs in the top row, reconstructions in the bottom row, no margins.

    Args:
        inputs, reconstructions: uint8 [n, H, W, 3].
        path: PNG to write or replace.
        names: n lists of text that tell the pictures apart (such as set and key), kept in the file.
    """
    rows = [np.concatenate(list(row), axis=1) for row in (inputs, reconstructions)]
    info = PngImagePlugin.PngInfo()
    info.add_itxt(STRIP, json.dumps([list(name) for name in names]))
    with replacing(path) as temporary:
        Image.fromarray(np.concatenate(rows)).save(temporary, format='PNG', pnginfo=info, optimize=True)


def read_strip(path):
    """Return (inputs, reconstructions, names) of a file of `write_strip`; names are tuples.

    Raises:
        InputError: no such file, or no strip.
    """
    try:
        with Image.open(path) as image:
            names = [tuple(name) for name in json.loads(image.text[STRIP])]
            pixels = np.asarray(image.convert('RGB'))
        rows = [np.stack(np.split(row, len(names), axis=1)) for row in np.split(pixels, 2)]
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as e:
        raise InputError(f'{path} is no strip of pictures with their reconstructions ({type(e).__name__}: {e}).') from e
    return (*rows, names)


def draw_contact_sheet(rows, path, title, tile=TILE):
    """Draw rows of pictures, each with a label on its left.

    Args:
        rows: list of (label, images), the same number of images of one size in each.
        path: PNG to write or replace.
        title: line at the top.
        tile: pixels that an enlarged picture has at most; larger pictures are shown as they are.
    """
    count, height, width = rows[0][1].shape[:3]
    zoom = zoom_of(height, width, tile)
    step = (width * zoom + GAP, height * zoom + GAP)
    lines = [_wrapped(label) for label, _ in rows]
    room = min(LABELS, 12 + int(max(font(15).getlength(line) for label in lines for line in label)))
    size = max(2 * MARGIN + room + count * step[0] - GAP, int(font(18).getlength(title)) + 2 * MARGIN)
    sheet = Image.new('RGB', (size, MARGIN + 34 + len(rows) * step[1] + MARGIN - GAP), 'white')
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), title, INK, font(18))
    for r, ((_, images), label) in enumerate(zip(rows, lines)):
        top = MARGIN + 34 + r * step[1]
        pen.multiline_text((MARGIN, top + (step[1] - GAP) // 2), '\n'.join(label), PALE if r == 0 else INK, font(15), anchor='lm', spacing=1)
        for c, image in enumerate(images):
            left = MARGIN + room + c * step[0]
            sheet.paste(Image.fromarray(np.ascontiguousarray(image)).resize((width * zoom, height * zoom), Image.Resampling.NEAREST), (left, top))
            pen.rectangle((left - 1, top - 1, left + width * zoom, top + height * zoom), outline=EDGE)
    with replacing(path) as temporary:
        sheet.save(temporary, optimize=True)


def _wrapped(label, lines=3):
    """Break a label into at most `lines` lines of the width of the label column; what is left over becomes an ellipsis."""
    found = ['']
    for word in label.replace('_', '_\u200b').replace('-', '-\u200b').replace(' ', ' \u200b').split('\u200b'):
        if font(15).getlength(found[-1] + word.rstrip()) > LABELS - 12 and found[-1]:
            found.append('')
        found[-1] += word
    found = [line.strip() for line in found]
    while any(font(15).getlength(line) > LABELS - 12 for line in found):
        found = [line if font(15).getlength(line) <= LABELS - 12 else line[:-2].rstrip('…') + '…' for line in found]
    return found if len(found) <= lines else [*found[:lines - 1], found[lines - 1] + ' …']
