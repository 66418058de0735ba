"""JPEG files on the GPU, by torchvision and nvJPEG. Its pixels differ from those of Pillow in last bits, so that the
decoder is part of the fingerprint of token shards. It was tested on a CPU, never on a GPU."""
from __future__ import annotations

import io

import torch
from PIL import Image

from dtbox.datasets.read import read_image
from dtbox.errors import InputError, reason

DECODERS = ('cpu', 'gpu')
"""Where JPEG files are decoded: by Pillow, or by nvJPEG."""
START, END = b'\xff\xd8', b'\xff\xd9'
"""Markers of a JPEG file. nvJPEG may fill up a file that is cut short, which Pillow refuses."""


class GpuJpeg:
    """Decodes the files of images: JPEG files on a GPU, others by Pillow. Which one does it depends on the bytes of the
    file alone: Pillow reads what is not JPEG, is CMYK, or lacks the mark of its end.

    Args:
        device: of the decoder.

    Raises:
        InputError: torchvision is missing, or does not decode JPEG.
    """

    def __init__(self, device: torch.device) -> None:
        try:
            from torchvision.io import decode_jpeg
        except ImportError as e:
            raise InputError(f'torchvision does not offer to decode JPEG files ({reason(e)}). Install torchvision, or '
                             'leave --jpeg out.', '--jpeg') from e
        self.device = device
        self._decode = decode_jpeg

    def __call__(self, content: bytes) -> Image.Image:
        """Return the image of a file as upright RGB.

        Args:
            content: bytes of the file.

        Raises:
            InputError: the file is broken, or nvJPEG cannot decode it.
        """
        header = _read_header(content)
        if header is None:
            return read_image(io.BytesIO(content))
        try:
            pixels = self._decode(torch.frombuffer(bytearray(content), dtype=torch.uint8), mode='RGB',
                                  device=self.device)
        except RuntimeError as e:
            if isinstance(e, torch.OutOfMemoryError) or 'CUDA error' in str(e):  # says nothing of the file
                raise
            read_image(io.BytesIO(content))  # raises for a broken file
            raise InputError(f'nvJPEG cannot decode the image ({reason(e)}), but Pillow can. Encode without --jpeg '
                             'gpu, or save it anew.') from e
        image = Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
        if header.info.get('exif'):
            image.info['exif'] = header.info['exif']
        return read_image(image)  # upright


def _read_header(content: bytes) -> Image.Image | None:
    """Return a JPEG file that nvJPEG is to decode as Pillow opens it, without its pixels; None for any other file."""
    if not content.startswith(START) or not content.endswith(END):
        return None
    try:
        header = Image.open(io.BytesIO(content))
    except Exception:  # `read_image` says what is wrong with it
        return None
    return header if header.format == 'JPEG' and header.mode in ('RGB', 'L') else None
