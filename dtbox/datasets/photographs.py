"""Photographs, whatever they lie in: Caltech-101 as published, WebDataset shards, or a folder of the user's own."""
from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log
from PIL import Image

from dtbox.counts import format_count
from dtbox.datasets.base import PairDataset
from dtbox.datasets.caltech101 import FOLDER, TAR, ZIP, Caltech101
from dtbox.datasets.image_folder import ImageFolder
from dtbox.datasets.shards import Shards
from dtbox.errors import InputError
from dtbox.registry import DATASETS

HOW = (f'Give data_root=PATH (tools: --cfg-options data_root=PATH): a folder of photographs, Caltech-101 as it is '
       f'published ({ZIP} from https://data.caltech.edu/records/mzrjq-6wc02), or shards train-*.tar and test-*.tar.')
NAMES = 'classes.txt'
LOOKS = 32
"""Images looked at, at most or few more."""
SIDE, FEW = 64, 64
"""Pixels of a side of the copy that is looked at; a drawing has fewer colours than this."""


@DATASETS.register_module()
def Photographs(data_root: str | None = None, split: str = 'train', pipeline: Sequence = (), seed: int = 0,
                limit: int | None = None, group_near_duplicates: bool | None = None) -> PairDataset:
    """Build the data set of what `data_root` holds: `Caltech101` with all of its images, `Shards` where there are
    `train-*.tar` and `test-*.tar` (`classes.txt` beside them names the classes, one a line), else `ImageFolder`.

    A folder that seems to hold drawings is remarked on in the log: networks that have seen photographs alone are what
    this data set is for.

    Args:
        data_root: path of the folder, or of Caltech-101's archive.
        split: 'train' or 'heldout'.
        pipeline, seed: as in `PairDataset`.
        limit: take at most so many images.
        group_near_duplicates: see `ImageFolder`; other data are not divided here.

    Raises:
        InputError: no data_root, or what the data set says.
    """
    if not data_root:
        raise InputError(f'Photographs needs `data_root`; got {data_root!r}. {HOW}', 'data_root')
    root = Path(data_root).expanduser()
    common: dict[str, Any] = dict(pipeline=pipeline, seed=seed, limit=limit)
    if root.name in (FOLDER, TAR, ZIP) or any((root / name).exists() for name in (FOLDER, TAR, ZIP)):
        return Caltech101(data_root, split, training=None, **common)
    if any(root.glob('train-*.tar')) and any(root.glob('test-*.tar')):
        names = root / NAMES
        classes = names.read_text(encoding='utf-8').split('\n') if names.is_file() else []
        return Shards(str(root / ('train-*.tar' if split == 'train' else 'test-*.tar')), split=split,
                      classes=[name.strip() for name in classes if name.strip()], **common)
    data = ImageFolder(data_root, split, group_near_duplicates=group_near_duplicates, **common)
    if split == 'train':
        remark_on_drawings(data)
    return data


def remark_on_drawings(data: ImageFolder) -> bool:
    """Log a sentence where half of some images, spread over the data set, are like drawings; return whether it did."""
    some = data.images[::max(1, len(data.images) // LOOKS)][:LOOKS]
    drawn = sum(looks_drawn(image.path) for image in some)
    if 2 * drawn < len(some):
        return False
    print_log(f'{data.data_root}: {drawn} of {format_count(len(some), "image")} looked at have transparent parts or '
              f'fewer than {FEW} colours, as drawings have. The networks that judge and teach here know photographs of '
              'the 1,000 classes of ImageNet alone: what they say of drawings means little. For emoji: dualtoken_rq.',
              'current', level=logging.WARNING)
    return True


def looks_drawn(path: str | Path) -> bool:
    """Return whether an image has transparent parts or very few colours; False where it cannot be read."""
    try:
        with Image.open(path) as image:
            image.draft('RGB', (SIDE, SIDE))
            if image.has_transparency_data and image.convert('RGBA').getchannel('A').getextrema()[0] < 255:
                return True
            small = np.asarray(image.convert('RGB').resize((SIDE, SIDE), Image.Resampling.NEAREST))
    except Exception:  # decoders raise anything; the data set itself says what cannot be read
        return False
    return len(np.unique(small.reshape(-1, 3), axis=0)) < FEW
