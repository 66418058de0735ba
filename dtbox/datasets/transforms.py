"""Transforms: callables that take and return the dict of one sample.

They read and write `image` (a PIL image, at the end a tensor) and draw everything random from `rng`, the sample's own
generator. Transforms for evaluation need `image` only, so they also prepare single images outside a dataset.
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from dtbox.arguments import describe
from dtbox.datasets.emoji_canvas import fill_canvas, fit_longer_side, lay_on_canvas
from dtbox.datasets.read import flatten
from dtbox.errors import InputError
from dtbox.registry import TRANSFORMS
from dtbox.structures import Regions

LARGEST = 1 << 14
"""Pixels of the side of a result: its square takes a gigabyte."""


@TRANSFORMS.register_module()
class EmojiAugment:
    """Place an image with transparency, scaled and shifted, on a random background; the result is RGB.

    Args:
        size: side of the result in pixels.
        shift: largest shift from the centre along each axis, as a fraction of `size`.
        scale: range of the image's longer side, as a fraction of `size`.
        background: 'random', or a colour of three values in [0, 255].
        gradient: fraction of random backgrounds that run softly from one colour to another.
        plain: fraction of random backgrounds that are white, as in evaluation.
    """

    def __init__(self, size: int, shift: float = 0.06, scale: Sequence[float] = (0.8, 1.05),
                 background: str | Sequence[int] = 'random', gradient: float = 0.25, plain: float = 0.2):
        self.size, self.scale = _side(size), _span(scale, 'scale')
        self.shift = _share(shift, 'shift')
        self.gradient = _share(gradient, 'gradient')
        self.plain = _share(plain, 'plain')
        self.background = background if background == 'random' else _colour(background)

    def __call__(self, results):
        rng = results['rng']
        side = max(round(self.size * rng.uniform(*self.scale)), 1)
        shift = rng.uniform(-self.shift, self.shift, 2) * self.size
        results['image'] = lay_on_canvas(results['image'], self._canvas(rng), side, shift.tolist())
        return results

    def _canvas(self, rng):
        kind, angle = rng.random(2).tolist()
        start, end = rng.integers(0, 256, (2, 3))
        if self.background != 'random':
            return fill_canvas(self.size, self.background)
        if kind < self.plain:
            return fill_canvas(self.size, (255, 255, 255))
        if kind >= self.plain + (1 - self.plain) * self.gradient:
            return fill_canvas(self.size, start.tolist())
        axis = np.linspace(-0.5, 0.5, self.size)
        along = axis[None] * math.cos(2 * math.pi * angle) + axis[:, None] * math.sin(2 * math.pi * angle)
        weight = (along / np.abs(along).max() * 0.5 + 0.5)[..., None] if self.size > 1 else np.zeros((1, 1, 1))
        return Image.fromarray((start + (end - start) * weight).round().astype(np.uint8))


@TRANSFORMS.register_module()
class EmojiPlace:
    """Fit an image into a square, centred, on a solid background: the evaluation form of `EmojiAugment`; RGB.

    Args:
        size: side of the result in pixels.
        background: colour of three values in [0, 255].
    """

    def __init__(self, size: int, background: Sequence[int] = (255, 255, 255)):
        self.size, self.background = _side(size), _colour(background)

    def __call__(self, results):
        image = fit_longer_side(results['image'], self.size)
        canvas = Image.new('RGBA', (self.size, self.size))
        canvas.paste(image, tuple((self.size - s) // 2 for s in image.size))
        results['image'] = flatten(canvas, self.background)
        return results


@TRANSFORMS.register_module()
class RandomResizedCrop:
    """Cut a random part and resize it to a square, bicubic and antialiased; sizes are drawn as in torchvision.

    Args:
        size: side of the result in pixels.
        scale: range of the part's area, as a fraction of the image's.
        ratio: range of the part's width / height.
    """

    def __init__(self, size: int, scale: Sequence[float] = (0.9, 1.0), ratio: Sequence[float] = (3 / 4, 4 / 3)):
        self.size = _side(size)
        self.scale = _span(scale, 'scale')
        self.ratio = _span(ratio, 'ratio')
        if self.scale[1] > 1:
            raise InputError(f'`scale` is a fraction of the image, at most 1; got {scale!r}.')

    def __call__(self, results):
        image = results['image']
        left, top, width, height = self._part(*image.size, results['rng'])
        results['image'] = image.resize((self.size, self.size),
                                        Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        return results

    def _part(self, width, height, rng):
        for _ in range(10):
            area = width * height * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h
        # nothing fitted: the largest centred part whose ratio is in the range
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
        return (width - w) // 2, (height - h) // 2, max(w, 1), max(h, 1)


@TRANSFORMS.register_module()
class ResizeCrop:
    """Resize to a square for evaluation, bicubic and antialiased; masks of objects follow, by nearest neighbour.

    Args:
        size: side of the result in pixels.
        mode: 'short_side' resizes the shorter side to `size` and cuts the centre; 'squash' ignores the image's
            proportions.
    """

    def __init__(self, size: int, mode: str = 'short_side'):
        self.size = _side(size)
        if mode not in ('short_side', 'squash'):
            raise InputError(f"`mode` of ResizeCrop must be 'short_side' or 'squash', got {mode!r}.")
        self.mode = mode

    def __call__(self, results):
        results['image'] = self._fit(results['image'], Image.Resampling.BICUBIC)
        if 'masks' in results:
            results['masks'] = [self._fit(mask, Image.Resampling.NEAREST) for mask in results['masks']]
        return results

    def _fit(self, image, how):
        size = self.size
        if self.mode == 'squash':
            return image.resize((size, size), how)
        short, long = sorted(image.size)
        if size * (size * long // short) > LARGEST ** 2:
            raise InputError(f'an image of {image.width} x {image.height} pixels is too long and thin to be resized to '
                             f'{size} pixels on its shorter side. Cut it, or leave it out.')
        image = image.resize(tuple(size * s // short for s in image.size), how)
        left, top = (round((s - size) / 2) for s in image.size)
        return image.crop((left, top, left + size, top + size))


@TRANSFORMS.register_module()
class RandomFlip:
    """Mirror the image left to right with probability `p` in [0, 1]."""

    def __init__(self, p: float = 0.5):
        self.p = _share(p, 'p')

    def __call__(self, results):
        if results['rng'].random() < self.p:
            results['image'] = results['image'].transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return results


@TRANSFORMS.register_module()
class PackImage:
    """Turn the RGB image into a uint8 tensor [3, H, W]; masks of objects into bool [M, H, W], those that a crop has
    left nothing of left out."""

    def __call__(self, results):
        image = results['image']
        if not isinstance(image, Image.Image) or image.mode != 'RGB':
            found = f'mode {image.mode}' if isinstance(image, Image.Image) else describe(image)
            raise InputError(f'PackImage expects an RGB image, got {found}. Put EmojiAugment or EmojiPlace '
                             'before it, or read the image with dtbox.datasets.read_image.')
        results['image'] = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        if 'masks' in results:
            self._pack_masks(results)
        return results

    def _pack_masks(self, results):
        masks = results.pop('masks')
        regions = results['regions']
        shape = results['image'].shape[1:]
        masks = [np.asarray(mask) > 127 for mask in masks]
        if any(mask.shape != tuple(shape) for mask in masks):
            raise InputError(f'the masks of {results.get("key")} do not fit their image after the transforms: '
                             'ResizeCrop resizes masks along, others do not.')
        kept = [i for i, mask in enumerate(masks) if mask.any()]
        taken = {f: [getattr(regions, f)[i] for i in kept] for f in ('categories', 'sizes', 'frequencies', 'ids')}
        results['regions'] = Regions(**taken, masks=torch.from_numpy(np.stack([masks[i] for i in kept])) if kept
                                     else torch.zeros(0, *shape, dtype=torch.bool))


def _side(size):
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= LARGEST:
        raise InputError(f'`size` must be the side of the result in pixels, an int from 1 to {LARGEST:,}; got '
                         f'{size!r}.')
    return size


def _share(value, name):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InputError(f'`{name}` must be a number in [0, 1], got {value!r}.')
    return value


def _span(value, name):
    good = isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(v, (int, float)) for v in value)
    if not good or not 0 < value[0] <= value[1]:
        raise InputError(f'`{name}` must be (lowest, highest) with 0 < lowest <= highest, got {value!r}.')
    return tuple(value)


def _colour(value):
    good = isinstance(value, (tuple, list)) and len(value) == 3
    if not good or not all(isinstance(v, int) and 0 <= v <= 255 for v in value):
        raise InputError("a background must be three values in [0, 255] (or 'random' where it is drawn), got "
                         f"{value!r}.")
    return tuple(value)
