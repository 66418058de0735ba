"""An image with transparency, fitted into a square and laid on a background."""
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from PIL import Image

from dtbox.datasets.read import read_rgba


@lru_cache(maxsize=None)
def read_emoji(path: str) -> Image.Image:
    """Return an image as RGBA, read once a process; do not write into it."""
    return read_rgba(path)


def fit_longer_side(image: Image.Image, side: int) -> Image.Image:
    """Return the image as RGBA, resized so that its longer side is `side` pixels.

    Pillow weighs RGBA by alpha: no dark fringes.
    """
    image = image if image.mode == 'RGBA' else read_rgba(image)
    longer = max(image.size)
    return image.resize(tuple(max(round(s * side / longer), 1) for s in image.size), Image.Resampling.BICUBIC)


def fill_canvas(size: int, colour: Sequence[int]) -> Image.Image:
    """Return a square of `size` pixels in one colour of three values in [0, 255]; RGB."""
    return Image.new('RGB', (size, size), tuple(colour))


def lay_on_canvas(image: Image.Image, canvas: Image.Image, side: int, shift: Sequence[float]) -> Image.Image:
    """Paste an image on a square canvas, in place, and return the canvas.

    Args:
        image: its transparency counts.
        canvas: square, RGB.
        side: longer side of the image on the canvas in pixels.
        shift: from the centre, (to the right, down) in pixels.
    """
    image = fit_longer_side(image, side)
    canvas.paste(image, tuple(round((canvas.width - s) / 2 + d) for s, d in zip(image.size, shift)), image)
    return canvas
