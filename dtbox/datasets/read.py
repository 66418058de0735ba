"""Reading images of every kind into one: upright 8-bit RGB.

Colour profiles are not applied; of animations and multi-page files the first frame is taken.
"""
from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from dtbox.arguments import describe, iterate, read_arguments, read_number, refuse
from dtbox.errors import InputError
from dtbox.files import require_file

COLOUR = 'three numbers in [0, 255]'
SPARE = 0.2
"""Fraction of their range by which the values of a deep image may lie beyond it."""


def _read_colour(value: Any) -> tuple[int, ...]:
    """Return a colour as three whole numbers."""
    colour = tuple(int(read_number(0, 255)(part)) for part in iterate(value, COLOUR))
    if len(colour) != 3:
        raise refuse(value, COLOUR)
    return colour


@read_arguments(background=_read_colour)
def read_image(source: str | os.PathLike | Image.Image | io.BytesIO,
               background: Sequence[int] = (255, 255, 255), upright: bool = True) -> Image.Image:
    """Return an image as upright RGB, transparent parts shown on `background`.

    EXIF rotation is applied; palette, grayscale, 16-bit, CMYK and images with transparency are converted.

    Args:
        source: path of an image, a PIL image, or a BytesIO with a file's content.
        background: colour under transparent pixels, three values in [0, 255].
        upright: apply the EXIF rotation.

    Returns:
        PIL image of mode RGB, of its own size.

    Raises:
        InputError: the file is missing, broken or truncated, or no image at all.
    """
    image = _open(source, upright)
    if image.mode == 'RGB' and not image.has_transparency_data:
        return image
    return flatten(_to_rgba(image, source), background)


def read_rgba(source: str | os.PathLike | Image.Image | io.BytesIO) -> Image.Image:
    """Return an image as upright RGBA; opaque ones get alpha 255. Arguments and errors as in `read_image`."""
    return _to_rgba(_open(source), source)


@read_arguments(background=_read_colour)
def flatten(image: Image.Image, background: Sequence[int] = (255, 255, 255)) -> Image.Image:
    """Return an RGBA image as RGB, laid on a solid `background` (three values in [0, 255])."""
    canvas = Image.new('RGBA', image.size, (*background, 255))
    canvas.alpha_composite(image)
    return canvas.convert('RGB')


def verify_image(path: str | os.PathLike) -> tuple[int, int]:
    """Decode a file completely and return its (width, height) in pixels; `InputError` as in `read_image`.

    JPEG files are decoded at an eighth of their size, which reads every byte but costs less.
    """
    try:
        with _open_file(path) as image:
            size = image.size
            image.draft(None, (max(size[0] // 8, 1), max(size[1] // 8, 1)))
            image.load()
            if image.mode.startswith(('I', 'F')):
                _to_rgba(image, path)
            return size
    except InputError:
        raise
    except Exception as e:  # decoders raise anything: OSError, SyntaxError, struct.error, zlib.error, ...
        raise _unreadable(path, e) from e


def read_turn(path: str | os.PathLike) -> tuple[tuple[int, int], int]:
    """Return ((width, height) of the stored pixels, how the EXIF block says to turn them, from 1, not at all, to 8);
    only the head of the file is read.

    Raises:
        InputError: as `read_image`.
    """
    try:
        with _open_file(path) as image:
            size = image.size
            try:
                if image.format == 'PNG':  # its EXIF block may come after the pixels
                    image.load()
                turn = image.getexif().get(ExifTags.Base.Orientation, 1)
            except Exception:  # a damaged EXIF block
                turn = 1
    except Exception as e:  # see verify_image
        raise _unreadable(path, e) from e
    return size, turn if turn in range(1, 9) else 1


def _open_file(source):
    """Return what Pillow opens; it would wait without end for what another program may write into a pipe."""
    if not isinstance(source, io.BytesIO):
        require_file(source)
    return Image.open(source)


def _open(source, upright=True):
    """Return the decoded image in its own mode, turned upright where asked, not shared with `source`."""
    if not isinstance(source, (str, os.PathLike, Image.Image, io.BytesIO)):
        raise InputError(f'the source is {describe(source)}; expected the path of an image or a PIL image.')
    try:
        if isinstance(source, Image.Image):
            image = _upright(source) if upright else source.copy()
        else:
            with _open_file(source) as image:
                image.load()
                if upright:
                    _turn_upright(image)
    except Exception as e:  # see verify_image
        raise _unreadable(source, e) from e
    if 0 in image.size:
        raise InputError(f'{_name(source)} is {image.width}x{image.height} pixels: an empty image.')
    return image


def _upright(image):
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block says nothing against the pixels
        return image.copy()


def _turn_upright(image):
    """As `_upright`, without a copy where nothing is to be turned."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # a damaged EXIF block says nothing against the pixels
        pass


def _to_rgba(image, source):
    try:
        if image.mode.startswith(('I', 'F')):
            return _deep_to_rgba(image)
        if image.mode == 'La':
            image = image.convert('LA')
        if image.mode == 'LAB':
            from PIL import ImageCms
            profiles = ImageCms.createProfile('LAB'), ImageCms.createProfile('sRGB')
            image = ImageCms.profileToProfile(image, *profiles, outputMode='RGB')
        if image.mode in ('CMYK', 'YCbCr', 'HSV'):
            image = image.convert('RGB')
        return image.convert('RGBA')
    except (OSError, ValueError, KeyError) as e:
        raise InputError(f'{_name(source)} has the colour mode {image.mode}, which cannot be turned into RGB ({e}). '
                         'Save it as RGB or grayscale.') from e


def _deep_to_rgba(image):
    """Return a grayscale image of 16 bits, 32 bits or floats as RGBA.

    Integers above 255 are read as 16-bit values. Floats are read as [0, 1], [0, 255] or [0, 65535], whichever holds all
    but one in a thousand of the finite values, with `SPARE` of the range on either side, as much as resizing
    overshoots. What lies beyond the range is clipped.

    Raises:
        ValueError: no value is finite, or more of them lie beyond all ranges.
    """
    values = np.asarray(image).astype(np.float64)
    floats = image.mode.startswith('F')
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError('none of its values is finite')
    low, top = (float(value) for value in np.quantile(finite, (0.001, 0.999)))
    if floats:
        unit = next((unit for unit in (1.0, 255.0) if top <= (1 + SPARE) * unit), 65535.0)
    else:
        unit = 65535.0 if finite.max() > 255 or image.mode.startswith('I;16') else 255.0
    if low < -SPARE * unit or top > (1 + SPARE) * unit:
        raise ValueError(f'its values go from {low:g} to {top:g}; expected [0, 1], [0, 255] or [0, 65535]')
    gray = np.clip(np.nan_to_num(values, posinf=unit, neginf=0.0) * (255.0 / unit), 0, 255).round().astype(np.uint8)
    alpha = np.full_like(gray, 255)
    hidden = image.info.get('transparency')
    if isinstance(hidden, (int, float)):
        alpha[values == hidden] = 0
    return Image.merge('RGBA', [Image.fromarray(gray)] * 3 + [Image.fromarray(alpha)])


def _name(source):
    return f'the image {source}' if isinstance(source, (str, os.PathLike)) else 'the image'


def _unreadable(source, error):
    if isinstance(error, FileNotFoundError):
        return InputError(f'{_name(source)} does not exist. Check the path.')
    if isinstance(error, IsADirectoryError):
        return InputError(f'{_name(source)} is a folder; give the path of one file.')
    if isinstance(error, PermissionError):
        return InputError(f'{_name(source)} may not be read: permission denied.')
    if isinstance(error, Image.DecompressionBombError):
        found = re.search(r'\((\d+) pixels\)', str(error))
        size = f'{int(found[1]) / 1e6:,.0f} million pixels' if found else 'more pixels'
        return InputError(f'{_name(source)} has {size}, more than Pillow opens (PIL.Image.MAX_IMAGE_PIXELS). Make it '
                          'smaller.')
    if isinstance(error, OSError) and 'pipe or a device' in str(error):  # of `require_file`
        return InputError(f'{_name(source)} is a pipe or a device, not a file. Leave it out.')
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return InputError(f'{_name(source)} is a link that leads back to itself. Leave it out.')
    if isinstance(error, Image.UnidentifiedImageError):
        if isinstance(source, (str, os.PathLike)) and not os.path.getsize(source):
            return InputError(f'{_name(source)} is empty: it has no bytes. Copy it anew, or leave it out.')
        return InputError(f'{_name(source)} is in no image format that Pillow knows. Save it as PNG or JPEG.')
    return InputError(f'{_name(source)} cannot be decoded ({error}): broken or truncated. Replace it or leave it out.')
