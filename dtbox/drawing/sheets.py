"""Sheets of images: inputs above reconstructions, enlarged pixel by pixel so that small images can be judged.

Legend: n images, H and W pixels; images are uint8 arrays [n, H, W, 3] (see `to_uint8`).
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from dtbox.errors import InputError
from dtbox.files import replacing

TILE = 192
"""Pixels that an enlarged image has at most; larger images are shown as they are."""

WIDTH = 1760
"""Pixels that a sheet is wide at most, unless one column or a line of text needs more."""

FULL = 0.25
"""Absolute difference, as a fraction of the range, that is drawn white."""

INK = (20, 20, 20)
PALE = (100, 100, 100)
EDGE = (215, 215, 215)
GAP = 6
MARGIN = 20
LABELS = 120


@dataclass(frozen=True)
class Group:
    """Images that belong together.

    Attributes:
        title: line above them.
        inputs, reconstructions: uint8 [n, H, W, 3].
        captions: n lines, each below its image.
    """
    title: str
    inputs: Any
    reconstructions: Any
    captions: Sequence[str]


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """Turn a tensor [n, 3, H, W] in [-1, 1] (clamped) into uint8 [n, H, W, 3]; `InputError` for NaN, of which no byte
    says anything."""
    if images.isnan().any():
        raise InputError(f'the images {list(images.shape)} hold NaN, which cannot be drawn; expected numbers in '
                         '[-1, 1]. Leave out samples without an image, and check that all weights are finite.')
    images = images.detach().float().clamp(-1, 1).add(1).mul(127.5).round()
    return images.permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)


def choose_zoom(height: int, width: int, tile: int = TILE) -> int:
    """Return how many times an image is enlarged: as far as it stays within `tile` pixels."""
    return max(1, tile // max(height, width))


def compute_difference(inputs: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Return the absolute difference, averaged over channels, as gray uint8 [n, H, W, 3]: 0 black, `FULL` of the range
    and more white."""
    gap = np.abs(inputs.astype(np.float32) - reconstructions).mean(-1, keepdims=True) / 255
    return np.repeat((np.clip(gap / FULL, 0, 1) * 255).round().astype(np.uint8), 3, axis=-1)


def draw_sheet(groups: Sequence[Group], path: str, title: str, note: str = '', differences: bool = False,
               tile: int = TILE) -> None:
    """Draw groups of images: a row of inputs, a row of reconstructions below it.

    Args:
        groups: list of `Group`, all images of one size.
        path: PNG to write or replace.
        title: line at the top.
        note: smaller line below it.
        differences: add a row with the absolute differences.
        tile: pixels that an enlarged image has at most.
    """
    height, width = groups[0].inputs.shape[1:3]
    zoom = choose_zoom(height, width, tile)
    shown = (width * zoom, height * zoom)
    columns = _columns(max(len(g.inputs) for g in groups), shown[0])
    if differences:
        note += (f'{" " * bool(note)}Differences: absolute, averaged over channels; black 0, white {FULL:.0%} of the '
                 'range or more.')
    names = ('input', 'reconstruction', 'difference')[:2 + differences]
    blocks = [(g, start, min(start + columns, len(g.inputs))) for g in groups
              for start in range(0, len(g.inputs), columns)]
    block = len(names) * (shown[1] + GAP) + 30
    size = (2 * MARGIN + LABELS + columns * (shown[0] + GAP) - GAP, MARGIN + 36 + 28 * bool(note) + 38 * len(groups)
            + block * len(blocks))
    size = (max(size[0], _needed(title, note, groups)), size[1])
    sheet = Image.new('RGB', size, 'white')
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), title, INK, load_font(22))
    top = MARGIN + 36
    if note:
        pen.text((MARGIN, top), note, PALE, load_font(15))
        top += 28
    for group, start, stop in blocks:
        if start == 0:
            pen.text((MARGIN, top + 8), group.title, INK, load_font(18))
            top += 38
        rows = [group.inputs[start:stop], group.reconstructions[start:stop]]
        rows += [compute_difference(*rows)] if differences else []
        _draw_block(sheet, pen, (MARGIN, top), zip(names, rows), group.captions[start:stop], shown)
        top += block
    _save(sheet, path)


def draw_pair(image: np.ndarray, reconstruction: np.ndarray, path: str, caption: str = '') -> None:
    """Draw one input beside its reconstruction.

    Args:
        image, reconstruction: uint8 [H, W, 3].
        path: PNG to write or replace.
        caption: line below them.
    """
    zoom = choose_zoom(*image.shape[:2])
    tile = (image.shape[1] * zoom, image.shape[0] * zoom)
    width = max(2 * tile[0] + GAP, int(load_font(15).getlength(caption)), 220) + 2 * MARGIN
    sheet = Image.new('RGB', (width, tile[1] + 66), 'white')
    pen = ImageDraw.Draw(sheet)
    for i, (name, pixels) in enumerate((('input', image), ('reconstruction', reconstruction))):
        left = MARGIN + i * (tile[0] + GAP)
        pen.text((left, 10), name, INK, load_font(15))
        _paste(sheet, pen, pixels, (left, 34), tile)
    pen.text((MARGIN, tile[1] + 40), caption, PALE, load_font(15))
    _save(sheet, path)


def _draw_block(sheet, pen, corner, rows, captions, tile):
    left, top = corner
    for name, images in rows:
        pen.text((left, top + tile[1] // 2), name, PALE, load_font(15), anchor='lm')
        for i, image in enumerate(images):
            _paste(sheet, pen, image, (left + LABELS + i * (tile[0] + GAP), top), tile)
        top += tile[1] + GAP
    for i, caption in enumerate(captions):
        pen.text((left + LABELS + i * (tile[0] + GAP) + tile[0] // 2, top), caption, INK, load_font(15), anchor='mt')


def _columns(count, width):
    """How many of `count` images stand side by side: as many as fit, and no shorter last line than there must be."""
    most = max(1, (WIDTH - LABELS - 2 * MARGIN + GAP) // (width + GAP))
    lines = -(-count // most)
    return -(-count // lines)


def _needed(title, note, groups):
    """Width that the longest line of text takes."""
    lines = [load_font(22).getlength(title), load_font(15).getlength(note),
             *(load_font(18).getlength(g.title) for g in groups)]
    return int(max(lines)) + 2 * MARGIN


def _paste(sheet, pen, pixels, corner, tile):
    """Enlarge an image and put it down, with a thin edge that shows where a white background ends."""
    left, top = corner
    sheet.paste(Image.fromarray(np.ascontiguousarray(pixels)).resize(tile, Image.Resampling.NEAREST), corner)
    pen.rectangle((left - 1, top - 1, left + tile[0], top + tile[1]), outline=EDGE)


def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Return the typeface of the sheets in a size in pixels."""
    return ImageFont.load_default(size)


def _save(sheet, path):
    with replacing(path) as temporary:
        sheet.save(temporary)
