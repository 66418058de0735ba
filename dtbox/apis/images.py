"""Images as a caller hands them in -> the tensor that a model reads.

Legend: B batch, H and W pixels.
"""
from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Union

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dtbox.arguments import describe, read_floats, read_path, read_tensor, refuse
from dtbox.datasets import collate, read_image
from dtbox.errors import InputError
from dtbox.tokenizers.visual import VisualTokenizer
from dtbox.training.preprocess import prepare

Images = Union[Tensor, Image.Image, str, os.PathLike, Sequence]
"""A tensor [B,3,H,W] in [-1,1] or a list of [3,H,W]; a PIL image, an array uint8 [H,W,3], a path, or a list of these
three."""
FILES = (str, os.PathLike, Image.Image, np.ndarray)


def prepare_images(images: Images, model: VisualTokenizer, pipeline: Sequence[Callable[[dict], dict]]) -> Tensor:
    """Images of any accepted kind -> tensor [B,3,H,W] in [-1,1] on a model's device, in its dtype.

    Args:
        images: see `Images`.
        model: whose size tensors must have.
        pipeline: evaluation transform of PIL images, arrays and files.

    Raises:
        InputError: an empty batch, a wrong shape, values out of range, a file that is missing or is not an image.
    """
    weight = next(model.parameters())
    if isinstance(images, (list, tuple)) and images and all(isinstance(image, Tensor) for image in images):
        images = _stack([read_tensor(image).to(weight.device) for image in images])
    if isinstance(images, Tensor):
        images = read_tensor(images)
        model.check_images(images)
        check_range(read_floats(images))
        return images.to(weight.device, weight.dtype)
    if isinstance(images, FILES):
        images = [images]
    if not isinstance(images, (list, tuple)):
        raise InputError(f'images are {describe(images)}; expected a tensor [B,3,H,W] in [-1,1], a PIL image, '
                         'an array uint8 [H,W,3], a path, or a list of these.')
    if not images:
        raise InputError('the batch is empty; expected at least one image.')
    items = []
    for image in images:
        if not isinstance(image, FILES):
            raise InputError(f'a list of images holds {describe(image)}; expected PIL images, arrays uint8 '
                             '[H,W,3] or paths, or tensors [3,H,W] alone.')
        results = dict(image=_read(image))
        for step in pipeline:
            results = step(results)
        items.append(results)
    return prepare(collate(items), weight.device).images.to(weight.dtype)


def _read(image: str | os.PathLike | Image.Image | np.ndarray) -> Image.Image:
    """Return an image as RGB."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise refuse(image, 'an array uint8 [H,W,3] of one image; several are a list of these, and values in '
                                '[-1,1] a tensor [B,3,H,W]')
        return Image.fromarray(np.ascontiguousarray(image))
    return read_image(image if isinstance(image, Image.Image) else read_path(image))


def _stack(images: Sequence[Tensor]) -> Tensor:
    if len({image.dtype for image in images}) > 1:
        raise InputError(f'the tensors in the list have the types {sorted({str(i.dtype) for i in images})}; expected '
                         'one.')
    if len({image.shape for image in images}) > 1:
        raise InputError(f'the tensors in the list have the shapes {sorted({tuple(i.shape) for i in images})}; '
                         'expected [3,H,W] each.')
    return torch.stack(list(images))


def check_range(images: Tensor) -> None:
    """Raise `InputError` unless images are finite and roughly in [-1, 1], up to what a decoder may overshoot."""
    if not images.numel():
        return
    low, high = images.min().item(), images.max().item()
    if not -2 <= low <= high <= 2:
        values = 'NaN or infinite' if not math.isfinite(low + high) else f'from {low:g} to {high:g}'
        raise InputError(f'the images have values that are {values}; expected them in [-1, 1], as x / 127.5 - 1 gives '
                         'of bytes.')
