"""Sheets of the code atlas: a row of patches for each code; and the mutual information of the vocabularies as bars.

Legend: h and w pixels of a patch with its surroundings.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dtbox.drawing.style import COLOURS, apply_rules, make_canvas, save
from dtbox.files import replacing

TILE = 120
"""Pixels that an enlarged patch with its surroundings has at most; larger ones are reduced to it."""
LABELS = 190
GAP = 8
MARGIN = 20
INK = (20, 20, 20)
PALE = (100, 100, 100)
EDGE = (215, 215, 215)
MARK = (213, 94, 0)
NOTHING = (238, 238, 238)


@dataclass(frozen=True)
class Row:
    """A row of a sheet.

    Attributes:
        title: first line beside it.
        lines: smaller lines below that.
        patches: uint8 arrays [h,w,4], all of one size: RGB, and 0 in the last channel beyond the image.
    """
    title: str
    lines: Sequence[str]
    patches: Any


def _font(size):
    return ImageFont.load_default(size)


def draw_patches(rows: Sequence[Row], path: str, title: str, note: str, cell: tuple[int, int], context: int) -> None:
    """Draw a sheet.

    Args:
        rows: list of Row.
        path: PNG to write or replace.
        title: line at the top.
        note: smaller line below it.
        cell: (height, width) in pixels of a patch without its surroundings; it lies in the middle and is outlined.
        context: patches around it on each side.
    """
    around = [(2 * context + 1) * side for side in cell]
    columns = max(6, *(len(row.patches) for row in rows), 0)
    zoom = max(1, TILE // max(around)) if max(around) <= TILE else TILE / max(around)
    tile = (round(around[1] * zoom), round(around[0] * zoom))
    height = max([tile[1]] + [24 + 17 * len(row.lines) for row in rows]) + GAP
    lines = _wrapped(note, 2 * MARGIN + LABELS + columns * (tile[0] + GAP) - GAP - 2 * MARGIN)
    top = MARGIN + 34 + 20 * len(lines) + 8
    sheet = Image.new('RGB', (2 * MARGIN + LABELS + columns * (tile[0] + GAP) - GAP, top + height * len(rows)
                              + MARGIN - GAP), 'white')
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), title, INK, _font(21))
    for i, line in enumerate(lines):
        pen.text((MARGIN, MARGIN + 34 + 20 * i), line, PALE, _font(14))
    for number, row in enumerate(rows):
        y = top + number * height
        pen.text((MARGIN, y), row.title, INK, _font(16))
        for i, line in enumerate(row.lines):
            pen.text((MARGIN, y + 23 + 17 * i), line, PALE, _font(13))
        for i, patch in enumerate(row.patches):
            _paste(sheet, pen, patch, (MARGIN + LABELS + i * (tile[0] + GAP), y), tile, cell, zoom)
    with replacing(path) as temporary:
        sheet.save(temporary)


def _wrapped(text, width):
    lines = ['']
    for word in text.split():
        if lines[-1] and _font(14).getlength(f'{lines[-1]} {word}') > width:
            lines.append('')
        lines[-1] = f'{lines[-1]} {word}'.strip()
    return lines


def _paste(sheet, pen, patch, corner, tile, cell, zoom):
    left, top = corner
    pixels = np.where(patch[..., 3:] > 0, patch[..., :3], np.array(NOTHING, dtype=np.uint8))
    method = Image.Resampling.NEAREST if zoom >= 1 else Image.Resampling.BICUBIC
    sheet.paste(Image.fromarray(np.ascontiguousarray(pixels)).resize(tile, method), corner)
    pen.rectangle((left - 1, top - 1, left + tile[0], top + tile[1]), outline=EDGE)
    middle = [left + (tile[0] - cell[1] * zoom) / 2, top + (tile[1] - cell[0] * zoom) / 2]
    box = [round(v) for v in (middle[0], middle[1], middle[0] + cell[1] * zoom - 1, middle[1] + cell[0] * zoom - 1)]
    pen.rectangle([box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1], outline=(255, 255, 255))
    pen.rectangle([box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 2], outline=MARK, width=1)
    pen.rectangle([box[0] - 3, box[1] - 3, box[2] + 3, box[3] + 3], outline=MARK, width=1)


def draw_information(bars: Sequence[tuple[str, int, dict]], path: str, title: str) -> None:
    """Draw a panel for each variable, a bar for each vocabulary and depth.

    Args:
        bars: list of (vocabulary, depth, dict variable -> dict of `bits` and `shuffled`), those of a vocabulary one
            after the other.
        path: PNG to write or replace.
        title: line at the top.
    """
    about = list(dict.fromkeys(key for *_, values in bars for key in values))
    names = list(dict.fromkeys(name for name, *_ in bars))
    places = [i + 0.6 * names.index(name) for i, (name, *_) in enumerate(bars)]  # a gap between vocabularies
    with apply_rules():
        figure, axes = make_canvas(1, len(about), (max(3.0, 1.0 + 0.4 * len(bars)), 3.0))
        for ax, key in zip(axes[0], about):
            for at, (name, _, values) in zip(places, bars):
                one, colour = values[key], COLOURS[names.index(name) % len(COLOURS)]
                bits = max(one['bits'], 0)
                ax.bar(at, bits, width=0.76, color=colour)
                ax.bar(at, one['shuffled'], bottom=bits, width=0.76, color='#F2F2F2', edgecolor='#B0B0B0',
                       hatch='////', linewidth=0.5)
                ax.text(at, bits, f'{one["bits"]:.2f}', ha='center', va='bottom', fontsize=7,
                        bbox=dict(facecolor='white', edgecolor='none', alpha=0.85, pad=0.4))
            ax.set_xticks(places, [str(depth) for _, depth, _ in bars])
            for name in names:
                own = [at for at, (other, *_) in zip(places, bars) if other == name]
                ax.annotate(name, (sum(own) / len(own), 0), xycoords=('data', 'axes fraction'), xytext=(0, -17),
                            textcoords='offset points', ha='center', va='top',
                            color=COLOURS[names.index(name) % len(COLOURS)])
            ax.set_xlabel('depth', labelpad=15)
            ax.set_ylim(top=ax.get_ylim()[1] * 1.06)
            ax.grid(axis='x', visible=False)
            ax.set_ylabel('bits')
            ax.set_title({'words': 'a word of the caption', 'colour': 'the colour of the patch',
                          'edges': 'the edges of the patch'}.get(key, key))
        note = 'mutual information less the shuffled baseline (in colour, and the number), and that baseline (hatched)'
        figure.suptitle(f'{title}\n{note}', fontsize=10)
        save(figure, path)
