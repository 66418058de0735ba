"""Write the images that a metric measures as files, to find out why a score is wrong.

    FOLDER/METRIC/SET/source/00000_KEY.png
    FOLDER/METRIC/SET/reconstruction/00000_KEY.png

The files are lossless: read again, they are the very bytes that the network of the metric got. The two folders of a set
are what the command lines of clean-fid, pytorch-fid and torch-fidelity take.
"""
from __future__ import annotations

import os
import re
from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dtbox import distributed
from dtbox.errors import InputError
from dtbox.files import renaming

SIDES = ('source', 'reconstruction')


class ImageDump:
    """The folder of a metric.

    Args:
        folder: made when the first image is written.
        unnamed: set of images whose batch names none.
    """

    def __init__(self, folder: str, unnamed: str = 'heldout'):
        self.folder, self.unnamed = folder, unnamed
        self._counts: dict[str, int] = {}

    def write(self, sets: list[str] | None, keys: list[str] | None, source: Tensor, reconstructions: Tensor) -> None:
        """Write a batch.

        Args:
            sets, keys: of the B images, or None.
            source, reconstructions: uint8 [B,3,H,W].
        """
        for i in range(len(source)):
            part = sets[i] if sets else self.unnamed
            number = self._counts[part] = self._counts.get(part, -1) + 1
            rank = f'{distributed.get_rank()}_' if distributed.get_world_size() > 1 else ''
            key = re.sub(r'[^A-Za-z0-9.-]+', '-', str(keys[i]))[-80:] if keys else ''
            for side, images in zip(SIDES, (source, reconstructions)):
                path = os.path.join(self.folder, part, side, f'{rank}{number:05d}{f"_{key}" if key else ""}.png')
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with renaming(path) as temporary:
                    pixels = images[i].permute(1, 2, 0).cpu().numpy()
                    Image.fromarray(pixels).save(temporary, format='PNG', compress_level=1)


def read_dump(folder: str) -> Tensor:
    """Return the images of a folder (`FOLDER/METRIC/SET/source`) in the order of their names, uint8 [B,3,H,W]."""
    paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith('.png')]
    return torch.stack([torch.from_numpy(np.array(Image.open(path).convert('RGB'))).permute(2, 0, 1) for path in paths])


def check_dump(folder: str | None, metrics: Iterable) -> None:
    """Raise `InputError` unless images can be written to a folder: it is new or empty, and one of the Metrics writes
    some; None writes nothing."""
    if folder is None:
        return
    if not any(metric.dumps for metric in metrics):
        raise InputError('none of the metrics writes the images that it measures; FID does. Measure by a protocol that '
                         'has it: --protocol rfid_clean', '--dump')
    if os.path.exists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise InputError(f'{folder} is not a new or empty folder: images of two evaluations would mix. Give another '
                         'one.', '--dump')
