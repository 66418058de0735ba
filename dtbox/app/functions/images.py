"""Images on their way in and out of the page: uploads that are checked before they are decoded, pixels for the screen.

Legend: H and W pixels, N tokens.
"""
from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from dtbox.app.opened import Opened
from dtbox.datasets import read_image
from dtbox.drawing.sheets import choose_zoom, to_uint8
from dtbox.errors import InputError
from dtbox.layout import Grid, Scales, TokenLayout
from dtbox.serving.limits import Limits

SIDE = 512
"""Pixels that a small image is enlarged to, at most."""
MARK = (213, 94, 0)


@dataclass(frozen=True, eq=False)
class Shown:
    """An image as a run sees it. It belongs to one session.

    Attributes:
        run: name of the run.
        tensor: [1,3,H,W] in [-1,1].
        codes: stream -> codes [1,N,Q], of continuous streams latents [1,N,C].
        seconds: that encoding took.
    """
    run: str
    tensor: Tensor
    codes: Mapping[str, Tensor]
    seconds: float

    @property
    def pixels(self) -> np.ndarray:
        """uint8 [H,W,3]."""
        return to_uint8(self.tensor)[0]


def read_upload(path: Any, limits: Limits = Limits()) -> Image.Image:
    """Return an uploaded image as RGB.

    Args:
        path: of the file; None where nothing was uploaded.
        limits: bytes and pixels; both are known before anything is decoded.

    Raises:
        InputError: nothing was uploaded, a file that is no image or is too large.
    """
    if not path:
        raise InputError('there is no image yet. Drop one, paste one, or choose one of the examples.')
    size = os.path.getsize(path)
    if size > limits.image_bytes:
        raise InputError(f'the file has {size / 1e6:,.0f} MB; this page takes images of '
                         f'{limits.image_bytes / 1e6:,.0f} MB. Make it smaller.')
    try:
        with Image.open(path) as image:
            pixels = image.width * image.height
    except Image.DecompressionBombError:
        pixels = limits.pixels + 1
    except Exception as e:  # decoders raise anything
        raise InputError(f'the file {os.path.basename(path)} is not an image that Pillow can read. Take a PNG or a '
                         'JPEG.') from e
    if pixels > limits.pixels:
        raise InputError(f'the image has more than the {limits.pixels / 1e6:,.0f} million pixels that this page takes. '
                         'Make it smaller.')
    return read_image(path)


def show_image(opened: Opened, image: Any) -> Shown:
    """Encode an image.

    Args:
        opened: run.
        image: PIL image, path or uint8 array.
    """
    tokenizer = opened.tokenizer
    tensor = tokenizer.prepare(image)
    start = time.perf_counter()
    codes = tokenizer.encode(tensor, list(tokenizer.model.streams))
    return Shown(opened.name, tensor, codes, time.perf_counter() - start)


def list_examples(opened: Opened, count: int = 12) -> list[np.ndarray]:
    """Return some held-out images of a run, evenly spaced, uint8 [H,W,3]; `InputError` where it names none."""
    from dtbox.diagnostics.patches import choose_evenly
    data = opened.dataset
    return [np.ascontiguousarray(data[i]['image'].permute(1, 2, 0).numpy()) for i in choose_evenly(len(data), count)]


def enlarge(pixels: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Enlarge a small image pixel by pixel, so that it fills `side` pixels at most; larger ones stay as they are."""
    zoom = choose_zoom(pixels.shape[0], pixels.shape[1], side)
    return np.ascontiguousarray(pixels.repeat(zoom, 0).repeat(zoom, 1))


def mark_patch(pixels: np.ndarray, grid: Grid | None, token: int) -> np.ndarray:
    """Return an image, enlarged, with a frame around the patch of a token; without one where tokens have no place."""
    large = Image.fromarray(enlarge(pixels))
    if grid is not None:
        row, column = divmod(token, grid.columns)
        height, width = large.height / grid.rows, large.width / grid.columns
        box = (round(column * width), round(row * height), round((column + 1) * width) - 1,
               round((row + 1) * height) - 1)
        pen = ImageDraw.Draw(large)
        for more, colour in ((2, (255, 255, 255)), (1, MARK), (0, MARK)):
            pen.rectangle((box[0] - more, box[1] - more, box[2] + more, box[3] + more), outline=colour)
    return np.asarray(large)


def find_token(layout: TokenLayout, place: tuple[float, float]) -> int:
    """Return the token at a place of an image.

    Args:
        layout: of a stream.
        place: (down, right) as fractions of the image, in [0, 1].

    Returns:
        on several scales the token of the last one; of a sequence the token at that fraction of it, row by row.
    """
    down, right = (min(max(value, 0.0), 1.0) for value in place)
    grid, first = layout, 0
    if isinstance(layout, Scales):
        grid, first = layout.grids[-1], layout.slices[-1].start
    if isinstance(grid, Grid):
        return first + min(int(down * grid.rows), grid.rows - 1) * grid.columns + min(
            int(right * grid.columns), grid.columns - 1)
    return min(int(right * layout.tokens), layout.tokens - 1)
