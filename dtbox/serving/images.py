"""Images of a request: `data:` URIs, or files under a folder that the server was started with. Nothing is fetched."""
from __future__ import annotations

import base64
import binascii
import io
import os
from collections.abc import Callable
from typing import Any, Optional
from urllib.parse import unquote, urlsplit

from PIL import Image
from torch import Tensor

from dtbox.arguments import describe
from dtbox.datasets.read import read_image
from dtbox.errors import InputError
from dtbox.serving.limits import Limits

FORMATS = ('PNG', 'JPEG', 'WEBP', 'GIF')
"""Formats that are read; others of Pillow start programs or are rarely tested."""
DATA, MARK = 'data:', ';base64,'


class ImageReader:
    """Reads the images of requests.

    Args:
        limits: bytes and pixels of an image.
        prepare: PIL image -> tensor [1,3,H,W], as `Tokenizer.prepare`.
        root: folder whose files may be named; None allows none.

    Raises:
        InputError: a root that is not a folder.
    """

    def __init__(self, limits: Limits, prepare: Callable[[Any], Tensor], root: Optional[str] = None) -> None:
        self.limits, self.prepare = limits, prepare
        self.root = None if root is None else os.path.realpath(root)
        if self.root is not None and not os.path.isdir(self.root):
            raise InputError(f'{root} is not a folder. Give the folder whose images requests may name.')

    def read(self, url: Any) -> Tensor:
        """Return the image of a URL as a tensor [3,H,W] in [-1,1].

        Raises:
            InputError: what is wrong with the URL or the image.
        """
        if not isinstance(url, str) or not url:
            raise InputError(f'the URL of an image is {describe(url)}; expected data:image/png;base64,...')
        content = self._decode(url) if url[:len(DATA)].lower() == DATA else self._read_file(url)
        return self.prepare(read_image(self._open(content)))[0]

    def _decode(self, url: str) -> bytes:
        head, mark, text = url.partition(MARK)
        if not mark:
            raise InputError(f'the image {head[:40]}... is not written in base64; expected '
                             'data:image/png;base64,...')
        self._check_bytes(len(text) * 3 // 4)
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as e:
            raise InputError(f'the image {head[:40]}... is not written in base64 ({e}).') from e

    def _read_file(self, url: str) -> bytes:
        parts = urlsplit(url)
        if parts.scheme in ('http', 'https', 'ftp'):
            raise InputError(f'the image {url[:80]} lies on the network, from where dtbox fetches nothing. Send it as '
                             'data:image/png;base64,...')
        if self.root is None:
            raise InputError(f'the image {url[:80]} is a file, and this server reads none. Send it as '
                             'data:image/png;base64,..., or start the server with --images-root.')
        name = unquote(parts.path) if parts.scheme == 'file' else url
        path = os.path.realpath(os.path.join(self.root, name)) if '\0' not in name else ''
        if os.path.commonpath([self.root, path or os.sep]) != self.root or not os.path.isfile(path):
            raise InputError(f'the image {url[:80]} is not a file in the folder that this server reads.')
        self._check_bytes(os.path.getsize(path))
        with open(path, 'rb') as file:
            return file.read(self.limits.image_bytes)

    def _check_bytes(self, size: int) -> None:
        if size > self.limits.image_bytes:
            raise InputError(f'an image has {size:,} bytes; this server takes {self.limits.image_bytes:,}. Make it '
                             'smaller.')

    def _open(self, content: bytes) -> Image.Image:
        try:
            image = Image.open(io.BytesIO(content), formats=FORMATS)
        except Image.DecompressionBombError as e:
            raise InputError(f'an image has more than the {self.limits.pixels:,} pixels that this server takes. Make '
                             'it smaller.') from e
        except Exception as e:  # decoders raise anything
            raise InputError(f'the image cannot be opened: it is broken, or not one of {", ".join(FORMATS)}.') from e
        if image.width * image.height > self.limits.pixels:
            raise InputError(f'an image has {image.width} x {image.height} pixels; this server takes '
                             f'{self.limits.pixels:,} pixels. Make it smaller.')
        return image


def write_png(image: Image.Image) -> bytes:
    """Return an image as the content of a PNG file."""
    content = io.BytesIO()
    image.save(content, 'PNG')
    return content.getvalue()


def write_base64(content: bytes) -> str:
    """Return bytes as base64."""
    return base64.b64encode(content).decode('ascii')


def write_markdown(content: bytes, name: str = 'drawing') -> str:
    """Return a PNG as an image of Markdown."""
    return f'![{name}](data:image/png;base64,{write_base64(content)})'
