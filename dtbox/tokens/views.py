"""Views of an image: the transform of evaluation, and crops that depend on nothing but the image and their number."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
from PIL import Image

from dtbox.errors import InputError

RULE = 1
"""Version of how a view is drawn; another one gives other fingerprints."""
MOST = 1000
"""Views of an image."""


@dataclass(frozen=True)
class ViewRule:
    """Which views an image has. View 0 is what the tokenizer's own transform of evaluation makes of the image. Each of
    the others shows a random part, of the proportions of the tokenizer's images, and is mirrored by chance.

    Attributes:
        count: views of an image.
        scale: range of the part's area, as a fraction of the largest part of these proportions.
        seed: of what is drawn.
    """
    count: int = 1
    scale: tuple[float, float] = (0.6, 1.0)
    seed: int = 0

    def __post_init__(self) -> None:
        if type(self.count) is not int or not 1 <= self.count <= MOST:
            raise InputError(f'the number of views of an image is {self.count!r}; expected a whole number from 1 to '
                             f'{MOST:,}.', '--views')
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise InputError(f'the parts are {list(self.scale)} of the image; expected two fractions in (0, 1], the '
                             'smaller one first.', '--crop-scale')

    def to_dict(self) -> dict[str, Any]:
        """Return what decides on the pixels of the views, for a fingerprint."""
        crops = dict(scale=list(self.scale), seed=self.seed, rule=RULE) if self.count > 1 else {}
        return dict(count=self.count, **crops)


@dataclass(frozen=True)
class View:
    """One view.

    Attributes:
        number: from 0.
        image: RGB.
        crop: (left, top, width, height) in pixels of the whole image; None for the whole image.
        flip: whether the image is mirrored.
    """
    number: int
    image: Image.Image
    crop: Optional[tuple[int, int, int, int]] = None
    flip: bool = False


def make_view(image: Image.Image, number: int, digest: bytes, rule: ViewRule, size: tuple[int, int]) -> View:
    """Return a view of an image.

    Args:
        image: RGB.
        number: of the view, from 0.
        digest: hash of the image, from which random numbers come: place and neighbours of the image change nothing.
        rule: ViewRule.
        size: (height, width) of the tokenizer's images.
    """
    if number == 0:
        return View(0, image)
    rng = np.random.default_rng([rule.seed, number, *digest])
    ratio = size[1] / size[0]
    largest = min(image.width, image.height * ratio), min(image.height, image.width / ratio)
    factor = math.sqrt(rng.uniform(*rule.scale))
    width, height = (max(1, round(side * factor)) for side in largest)
    left, top = int(rng.integers(image.width - width + 1)), int(rng.integers(image.height - height + 1))
    flip = bool(rng.random() < 0.5)
    part = image.crop((left, top, left + width, top + height))
    return View(number, part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else part, (left, top, width, height),
                flip)
