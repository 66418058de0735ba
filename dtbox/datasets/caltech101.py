"""Caltech-101 (Li, Fergus, Perona, 2004; Li, Andreetto, Ranzato, Perona, CaltechDATA, doi 10.22002/D1.20086): 8,677
photographs of 101 kinds of objects, about 300 x 200 pixels."""
from __future__ import annotations

import io
import os
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from PIL import Image

from dtbox.counts import format_count
from dtbox.datasets.base import BrokenSample, choose_even_subset, hash_fraction
from dtbox.datasets.folder_listing import SUFFIXES
from dtbox.datasets.image_files import ImageFiles
from dtbox.datasets.left_out import describe_suffixes, get_suffix
from dtbox.datasets.read import read_image
from dtbox.errors import InputError, closest, reason
from dtbox.registry import DATASETS
from dtbox.values import Positive

HOW = ('Get caltech-101.zip (137 MB) from https://data.caltech.edu/records/mzrjq-6wc02 and unpack it, or leave it '
       'packed.')
FOLDER = '101_ObjectCategories'
TAR = f'{FOLDER}.tar.gz'
ZIP = 'caltech-101.zip'
BACKGROUND = 'BACKGROUND_Google'
"""A folder of images of no class."""
PARTS = {'train': 'train', 'test': 'test', 'heldout': 'test', 'all': 'all'}
"""Split -> what it is called in results."""
TEST_PART = 0.2
"""Fraction for testing where all images are divided."""


@DATASETS.register_module()
class Caltech101(ImageFiles):
    """Caltech-101 as it is published, packed or not; keys are paths such as `accordion/image_0001.jpg`.

    `data_root` is `caltech-101.zip`, `101_ObjectCategories.tar.gz`, the folder `101_ObjectCategories`, or a folder that
    holds one of them (looked for in the opposite order). Of an archive all images are read into memory (about 130 MB).
    `BACKGROUND_Google`, images of no class, is left out. Some images are grayscale; they come as RGB.

    The set has no official division. A hash of the key orders the images of a class: the first `training` are for
    training, the next ones, `testing` at most, for testing: 30 and 50 by default, as papers on this set have it. With
    `training=None` all are used: a hash of the key puts a fifth of them into the test part.

    Args:
        data_root: see above.
        split: 'train', 'test' (also called 'heldout'), or 'all' for every image.
        pipeline, seed, set, broken: as in `ImageFiles`.
        limit: take at most so many images, the first of each class and the classes as even as they allow.
        training: images of a class for training; None divides all by hash.
        testing: images of a class for testing, at most.
        class_text: caption made of a class name; None for none.

    Raises:
        InputError: none of these files, another archive, class folders without images, or a split without images.
    """

    def __init__(self, data_root: str | Path | None = None, split: str = 'train', pipeline: Sequence = (),
                 seed: int = 0, set: str | None = None, limit: int | None = None, broken: str = 'error',
                 training: Positive | None = 30, testing: Positive = 50,
                 class_text: str | None = 'a photo of a {}') -> None:
        if split not in PARTS:
            raise InputError(f'Caltech101 has no split `{split}`.{closest(split, PARTS)} It has: {", ".join(PARTS)}.',
                             'split')
        super().__init__(pipeline, seed, split, set or PARTS[split], limit, broken)
        source = find_source(data_root)
        self.packed = {} if source.is_dir() else dict(_read_archive(source))
        others: Counter[str] = Counter()
        names = sorted(self._choose(_list_files(source) if source.is_dir() else self.packed, others))
        if not names:
            raise InputError(f'{source} holds no images in class folders such as accordion/image_0001.jpg. {HOW}',
                             'data_root')
        self.note(*describe_suffixes(others))
        folders = sorted({name.partition('/')[0] for name in names})
        self.classes = tuple(folder.replace('_', ' ').lower() for folder in folders)
        mine = divide(names, PARTS[split], training, testing)
        if not mine:
            raise InputError(f'{source} has no images for `{split}`: no class has more than '
                             f'{format_count(training, "image")}.', 'split')
        labels = [folders.index(name.partition('/')[0]) for name in mine]
        chosen = choose_even_subset(labels, limit)
        mine, labels = [mine[i] for i in chosen], [labels[i] for i in chosen]
        self.packed = {name: self.packed[name] for name in mine} if self.packed else {}
        texts = None if class_text is None else [[class_text.format(self.classes[i])] for i in labels]
        self.fill(source, mine, texts, labels)

    def _choose(self, names: Iterable[str], others: Counter[str]) -> Iterator[str]:
        """Yield the images of the classes; other files are counted in `others`, those of no class noted."""
        background = 0
        for name in names:
            folder, _, file = name.partition('/')
            if folder == BACKGROUND:
                background += 1
            elif file and os.path.splitext(file)[1].lower() in SUFFIXES and not file.startswith('.'):
                yield name
            else:
                others[get_suffix(file or folder)] += 1
        if background:
            self.note(f'{format_count(background, "image", "is")} left out: those of {BACKGROUND}, which are of no '
                      'class')

    def read(self, index: int, upright: bool = True) -> Image.Image:
        """See ImageFiles."""
        key = self.key(index)
        if key not in self.packed:
            return super().read(index, upright)
        try:
            return read_image(io.BytesIO(self.packed[key]), upright=upright)
        except InputError as e:
            raise BrokenSample(key, f'{key} of {self.root}: {e}') from e


def find_source(data_root: str | Path | None) -> Path:
    """Return the folder of the classes, or the archive, that `data_root` is or holds."""
    if not data_root or not isinstance(data_root, (str, os.PathLike)):
        raise InputError(f'Caltech101 needs `data_root`; got {data_root!r}. {HOW}', 'data_root')
    root = Path(data_root).expanduser()
    names = (FOLDER, TAR, ZIP)
    inner = [root] if root.name in names else [root / middle / name for name in names for middle in ('', 'caltech-101')]
    found = next((path for path in inner if path.exists()), None)
    if found is not None:
        return found
    lack = 'does not exist' if not root.exists() else f'has none of {", ".join(names)}'
    raise InputError(f'data_root {root} {lack}. {HOW}', 'data_root')


def divide(names: Sequence[str], part: str, training: int | None, testing: int) -> list[str]:
    """Return the images of a part, sorted.

    Args:
        names: sorted paths CLASS/FILE.
        part: 'train', 'test' or 'all'.
        training, testing: see `Caltech101`.
    """
    if part == 'all':
        return list(names)
    if training is None:
        return [name for name in names if (hash_fraction('caltech101', name) < TEST_PART) == (part == 'test')]
    of_class: dict[str, list[str]] = {}
    for name in names:
        of_class.setdefault(name.partition('/')[0], []).append(name)
    span = slice(training) if part == 'train' else slice(training, training + testing)
    return sorted(name for several in of_class.values()
                  for name in sorted(several, key=lambda name: hash_fraction('caltech101', name))[span])


def _list_files(folder: Path) -> Iterator[str]:
    """Yield CLASS/FILE, and FILE beside the classes."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from (f'{path.name}/{file.name}' for file in path.iterdir() if file.is_file())
        elif not path.name.startswith('.'):
            yield path.name


def _read_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (CLASS/FILE, content) of the tar, or of the tar in the zip."""
    try:
        if path.suffix != '.zip':
            with open(path, 'rb') as file:
                yield from _read_tar(file)
            return
        with zipfile.ZipFile(path) as archive:
            inner = next((name for name in archive.namelist()
                          if name.endswith(TAR) and not name.startswith('__MACOSX')), None)
            if inner is None:
                raise InputError(f'{path} has no {TAR}; it holds {", ".join(archive.namelist()[:5]) or "nothing"}. '
                                 f'{HOW}', 'data_root')
            with archive.open(inner) as file:
                yield from _read_tar(file)
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as e:
        raise InputError(f'{path} cannot be read ({reason(e)}): half downloaded, or another file. {HOW}',
                         'data_root') from e


def _read_tar(file: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=file, mode='r|gz') as archive:
        for member in archive:
            name = member.name.partition(f'{FOLDER}/')[2]
            content = archive.extractfile(member) if member.isfile() and name else None
            if content is not None:
                yield name, content.read()
