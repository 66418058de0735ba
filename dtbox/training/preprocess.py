"""What happens to a batch on its way to the model: the device, and uint8 pixels to [-1, 1]."""
from __future__ import annotations

from dataclasses import replace
from typing import Sequence

import torch

from dtbox.errors import InputError
from dtbox.structures import Batch


def prepare(batch: Batch, device: torch.device | str) -> Batch:
    """Move a Batch to `device`, and map uint8 images [B,3,H,W] to float in [-1, 1] (x / 127.5 - 1).

    Args:
        batch: images uint8, or float that is already in [-1, 1].
        device: torch device.
    """
    images = batch.images.to(device, non_blocking=True)
    if images.dtype == torch.uint8:
        images = images.float().div_(127.5).sub_(1.0)
    elif not images.is_floating_point():
        raise InputError(f'images are {images.dtype}; expected uint8 in [0, 255] or float in [-1, 1].')
    labels = None if batch.labels is None else batch.labels.to(device)
    return replace(batch, images=images, labels=labels)


def make_placeholder(size: Sequence[int]) -> Batch:
    """Return a Batch of one grey image (height, width), for a rank that has no sample in a step of all ranks."""
    return Batch(images=torch.zeros(1, 3, *size), texts=['?'], keys=[''], placeholder=True)
