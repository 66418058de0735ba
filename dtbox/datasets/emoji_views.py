"""Views of an emoji: on a background of a name, at a place of a name, in a size of a name, so that questions about the
view have exact answers."""
from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, Tuple

import numpy as np
from PIL import Image

from dtbox.datasets.base import hash_fraction
from dtbox.datasets.emoji_canvas import fill_canvas, lay_on_canvas, read_emoji
from dtbox.datasets.emoji_questions import BACKGROUNDS, PLACES, SIZES
from dtbox.datasets.transforms import EmojiPlace

SHIFT = (0.075, 0.1)
"""Range of the shift to a named place, as a fraction of the canvas."""
JITTER = 0.015
"""Largest shift that has no name, along each axis, as a fraction of the canvas."""
MEMORY = 16384
"""Views whose pixels a process keeps: 200 MB at 64 pixels."""


class View(NamedTuple):
    """How an emoji is shown.

    Attributes:
        background, place, size: names, see `emoji_questions`.
        scale: longer side of the emoji, as a fraction of the canvas.
        shift: from the centre, (to the right, down), as fractions of the canvas.
    """
    background: str
    place: str
    size: str
    scale: float
    shift: Tuple[float, float]

    @property
    def answers(self) -> dict[str, str]:
        """Kind -> answer of the questions about the view."""
        return dict(background=self.background, place=self.place, size=self.size)


def draw_view(key: str, number: int, seed: int = 0, names: Sequence[str] | None = None) -> View:
    """Return view `number` of an emoji.

    Nothing but (seed, key, number) counts: not the split, not its size, not what was read before.

    Args:
        key: of the emoji.
        number: of the view, >= 0.
        seed: >= 0.
        names: of background, place and size; None draws them, equally frequent and independent of each other.
    """
    rng = np.random.default_rng((seed, zlib.crc32(key.encode()), number, 3))
    drawn = [list(table)[int(rng.integers(len(table)))] for table in (BACKGROUNDS, PLACES, SIZES)]
    background, place, size = drawn if names is None else names
    way, scale = float(rng.uniform(*SHIFT)), float(rng.uniform(*SIZES[size]))
    right, down = (d * way + float(rng.uniform(-JITTER, JITTER)) for d in PLACES[place])
    return View(background, place, size, scale, (right, down))


def balance_views(keys: Iterable[str]) -> dict[str, tuple[str, str, str]]:
    """Return key -> names of background, place and size: each equally frequent in the set, and each pair of names, too,
    as far as the number of emoji allows.

    The emoji are numbered by a hash of their keys; 8 backgrounds, 5 places and twice 8 have no common divisor.
    """
    ranked = sorted(keys, key=lambda key: (hash_fraction('view', key), key))
    backgrounds, places = list(BACKGROUNDS), list(PLACES)
    sizes, period = list(SIZES), len(backgrounds)
    return {key: (backgrounds[i % period], places[i % len(places)], sizes[i // period % len(sizes)])
            for i, key in enumerate(ranked)}


@lru_cache(maxsize=MEMORY)
def render_view(path: str, view: View | None, size: int) -> Image.Image:
    """Return a view as an RGB image; do not write into it.

    Args:
        path: of the image, with transparency.
        view: None for the plain view: the whole canvas, centred, on white.
        size: side of the canvas in pixels.
    """
    if view is None:
        plain: Image.Image = EmojiPlace(size)(dict(image=read_emoji(path)))['image']
        return plain
    canvas, shift = fill_canvas(size, BACKGROUNDS[view.background]), [size * part for part in view.shift]
    return lay_on_canvas(read_emoji(path), canvas, round(size * view.scale), shift)
