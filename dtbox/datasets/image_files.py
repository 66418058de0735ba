"""ImageFiles: what data sets share whose images are files named by a list."""
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dtbox.datasets.base import BrokenSample, PairDataset, check_limit
from dtbox.datasets.read import read_image
from dtbox.errors import InputError


class ImageFiles(PairDataset):
    """Images by their paths; a subclass calls `fill` with what it has sample.

    Args:
        pipeline, seed: as in `PairDataset`.
        split: 'train' or the name of a held-out part.
        set: name of the set in the results; None takes the split's.
        limit: take at most so many images, the first ones; None for all.
        broken: as in `PairDataset`; here images that are missing or cannot be decoded.
    """

    def __init__(self, pipeline: Sequence = (), seed: int = 0, split: str = 'train', set: str | None = None,
                 limit: int | None = None, broken: str = 'error'):
        super().__init__(pipeline, seed, broken)
        check_limit(limit)
        self.split = split
        self.part = set or split
        self.limit = limit
        self.captions: list[list[str]] | None = None
        self.labels: np.ndarray | None = None

    def fill(self, root: str | Path, names: Sequence[str], captions: list[list[str]] | None = None,
             labels: Sequence[int] | None = None) -> None:
        """Take the images.

        Args:
            root: folder that the names are relative to.
            names: paths of the images, which are also their keys.
            captions: list of captions of each image, or None.
            labels: class index of each image, or None.
        """
        n = len(names) if self.limit is None else min(self.limit, len(names))
        self.root, self.size = Path(root), n
        # bytes in one array: a list of a million strings would be copied into every worker by counting its references
        try:
            self.names = np.array([os.fsencode(name) for name in names[:n]])
        except UnicodeEncodeError as e:  # half a surrogate pair
            raise InputError(f'{e.object!r:.100} is not the name of a file; the list of the images is damaged.') from e
        self.captions = captions[:n] if captions is not None else None
        self.labels = np.asarray(labels[:n], dtype=np.int64) if labels is not None else None
        self.has_texts = captions is not None and any(self.captions)

    def key(self, index: int) -> str:
        """Return the key of a sample."""
        return os.fsdecode(self.names[index])

    def read(self, index: int, upright: bool = True) -> Image.Image:
        """Return the image at `index` as PIL RGB, turned as its EXIF block says unless not `upright`; `BrokenSample`
        where it cannot be read."""
        key = self.key(index)
        try:
            return read_image(self.root / key, upright=upright)
        except InputError as e:
            raise BrokenSample(key, str(e)) from e

    def describe(self, index: int, image: Image.Image) -> dict:
        """Return the sample of an image that has been read."""
        label = -1 if self.labels is None else int(self.labels[index])
        sample = dict(image=image, text='', label=label, key=self.key(index), set=self.part)
        return sample if self.captions is None else dict(sample, captions=self.captions[index])

    def sample(self, index: int, rng: np.random.Generator) -> dict:
        """Return the sample at `index` as in `PairDataset.sample`."""
        return self.describe(index, self.read(index))

    def contents(self) -> Iterator[str]:
        """Yield the names of the images and their captions; sizes of a million files would take minutes to ask."""
        yield from (os.fsdecode(name) for name in self.names)
        for texts in self.captions or ():
            yield from texts


def find_data_folder(data_root: str | Path | None, who: str, how: str) -> Path:
    """Return `data_root` as an existing Path.

    Args:
        data_root: given by the user.
        who: name of the data set.
        how: sentence on where its data come from.
    """
    if not data_root or not isinstance(data_root, (str, os.PathLike)):
        raise InputError(f'{who} needs `data_root`, the folder that holds the data; got {data_root!r}. '
                         f'{how}', 'data_root')
    root = Path(data_root).expanduser()
    if not root.is_dir():
        raise InputError(f'data_root {root} {"is a file, not a folder" if root.exists() else "does not exist"}. '
                         f'{how}', 'data_root')
    return root


def find(root: Path, names: Sequence[str], what: str, how: str) -> Path:
    """Return the first of `names` (relative paths) that exists under `root`; InputError where none does."""
    for name in names:
        if (root / name).exists():
            return root / name
    raise InputError(f'{root} has no {what}; looked for {", ".join(names)}. {how}', 'data_root')
