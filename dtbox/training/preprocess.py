"""What happens to a batch on its way to the model: the device, and uint8 pixels to [-1, 1]."""
from dataclasses import replace

import torch

from dtbox.errors import InputError
from dtbox.structures import Batch


def prepare(batch, device):
    """Move a Batch to `device` and map uint8 images [B,3,H,W] to float in [-1, 1] (x / 127.5 - 1).

    Args:
        batch: Batch, images uint8, or float that is already in [-1, 1].
        device: torch device.
    """
    images = batch.images.to(device, non_blocking=True)
    if images.dtype == torch.uint8:
        images = images.float().div_(127.5).sub_(1.0)
    elif not images.is_floating_point():
        raise InputError(f'images are {images.dtype}; expected uint8 in [0, 255] or float in [-1, 1].')
    labels = None if batch.labels is None else batch.labels.to(device)
    return replace(batch, images=images, labels=labels)


def placeholder(size):
    """Return a Batch of one grey picture (height, width), for a process that has no sample in a step of all."""
    return Batch(images=torch.zeros(1, 3, *size), texts=['?'], keys=[''], placeholder=True)
