"""What all discriminators refuse."""
from __future__ import annotations

from torch import Tensor

from dtbox.errors import InputError


def check_images(images: Tensor) -> None:
    """Raise `InputError` unless images are [B,3,H,W]."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f'the discriminator got images of shape {list(images.shape)}; expected [B, 3, H, W].')
