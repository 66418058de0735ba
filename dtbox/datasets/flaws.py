"""What is wrong with the images of a folder, before they are used."""
from __future__ import annotations

import os
from functools import lru_cache

from PIL import Image

from dtbox.datasets.folder_listing import ImageEntry
from dtbox.datasets.read import verify_image
from dtbox.errors import InputError


class Flaw:
    """Says what is wrong with an image, '' where nothing is. Files are decoded once a process."""

    def __init__(self, min_size: int):
        self.min_size = min_size

    def __call__(self, image):
        try:
            status = os.stat(image.path)
        except OSError as e:  # a dangling link
            return e.strerror or 'unreadable'
        size = _decoded_size(str(image.path), status.st_size, status.st_mtime_ns)
        if isinstance(size, str):
            return size
        return f'{size[0]}x{size[1]}, below min_size={self.min_size}' if min(size) < self.min_size else ''


def accept_all(_photo: ImageEntry) -> str:
    """Take every image as it is."""
    return ''


@lru_cache(maxsize=None)
def _decoded_size(path, length, _changed):
    """Return (width, height), or what is wrong."""
    try:
        return verify_image(path)
    except InputError as e:
        cause = e.__cause__
        if isinstance(cause, PermissionError):
            return 'permission denied'
        if isinstance(cause, Image.DecompressionBombError):
            return str(e).partition(' has ')[2]
        if isinstance(cause, Image.UnidentifiedImageError):
            return 'in no image format that Pillow knows' if length else 'empty'
        if 'colour mode' in str(e):
            return str(cause)
        if 'pipe or a device' in str(e):
            return 'a pipe or a device'
        return 'broken or truncated'
