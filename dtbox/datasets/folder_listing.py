"""Folders of images: which files are images, which part they belong to, which of them can be used."""
from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from dtbox.datasets.base import hash_fraction
from dtbox.datasets.read import verify_image
from dtbox.errors import InputError

SUFFIXES = ('.jpg', '.jpeg', '.jfif', '.png', '.webp', '.bmp', '.gif', '.tif', '.tiff', '.ppm', '.pgm', '.avif')
HELDOUT_NAMES = ('val', 'validation', 'valid', 'test', 'heldout', 'held_out')


class ImageEntry(NamedTuple):
    """One file.

    Attributes:
        key: path relative to data_root, with '/'.
        path: full path.
        part: 'train' or 'heldout' where folders divide them, otherwise ''.
    """
    key: str
    path: Path
    part: str


def list_images(data_root: str | Path) -> list[ImageEntry]:
    """Return every `ImageEntry` under a folder, sorted by key; hidden files and folders are left out.

    Raises:
        InputError: no such folder, or no image in it.
    """
    root = Path(data_root)
    if not root.is_dir():
        what = 'is a file, not a folder' if root.exists() else 'does not exist'
        raise InputError(f'data_root {root} {what}. Give the folder that holds the images.')
    names = {p.name.lower(): p.name for p in root.iterdir() if p.is_dir()}
    heldout = next((names[n] for n in HELDOUT_NAMES if n in names), None)
    parts = {names['train']: 'train', heldout: 'heldout'} if 'train' in names and heldout else {}
    images = []
    others = set()
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = [] if real in seen else [d for d in folders if not d.startswith(('.', '__MACOSX'))]
        files = [] if real in seen else [f for f in files if not f.startswith('.')]
        seen.add(real)
        for path in (Path(folder) / f for f in files):
            if path.suffix.lower() not in SUFFIXES:
                others.add(path.suffix.lower())
                continue
            key = path.relative_to(root).as_posix()
            part = parts.get(key.split('/')[0], '') if '/' in key else ''
            if part or not parts:
                images.append(ImageEntry(key, path, part))
    if not images:
        found = f' Files there end in {", ".join(sorted(others)[:8])}.' if others - {''} else ''
        raise InputError(f'{root} holds no images.{found} Images are known by {", ".join(SUFFIXES)}.')
    return sorted(images)


def divide(images: list[ImageEntry], split: str, holdout: float, flaw: Callable[[ImageEntry], str],
           root: Path) -> list[ImageEntry]:
    """Return the images of a split: by folders, or by hash with at least one usable image on either side.

    Args:
        images: every `ImageEntry` of the folder.
        split: 'train' or 'heldout'.
        holdout: fraction held out where folders do not divide them.
        flaw: callable that says what is wrong with a `ImageEntry`, '' where nothing is.
        root: the folder, for messages.

    Raises:
        InputError: one usable image only.
    """
    if images[0].part:
        return [p for p in images if p.part == split]
    drawn = sorted((hash_fraction('heldout', p.key), p) for p in images)
    parts = dict(heldout=[p for d, p in drawn if d < holdout], train=[p for d, p in drawn if d >= holdout])
    for empty, full, order in (('heldout', 'train', 1), ('train', 'heldout', -1)):
        if any(not flaw(p) for p in parts[empty]):
            continue
        usable = [p for p in parts[full] if not flaw(p)]
        if not usable:  # nothing to divide: the caller names what is wrong with them
            return images
        if len(usable) == 1:
            raise InputError(f'{root} holds one usable image ({usable[0].key}); a training and a held-out one are '
                             'needed. Add images.')
        moved = usable[::order][:1]
        parts[empty] = parts[empty] + moved
        parts[full] = [p for p in parts[full] if p not in moved]
    return sorted(parts[split])


def find_class_folders(images: list[ImageEntry]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return (class names, dict key -> class index): the folders below the one that holds all images."""
    paths = {p.key: Path(p.key).parts[bool(p.part):-1] for p in images}
    common = len(os.path.commonprefix(list(paths.values())))
    if any(len(path) <= common for path in paths.values()):
        return (), {}
    folders = sorted({path[common] for path in paths.values()})
    index = {folder: i for i, folder in enumerate(folders)}
    return tuple(' '.join(f.replace('_', ' ').split()) for f in folders), {key: index[p[common]]
                                                                           for key, p in paths.items()}


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
        if size is None:
            return 'broken or truncated'
        return f'{size[0]}x{size[1]}' if min(size) < self.min_size else ''


def accept_all(_photo: ImageEntry) -> str:
    """Take every image as it is."""
    return ''


@lru_cache(maxsize=None)
def _decoded_size(path, _size, _changed):
    try:
        return verify_image(path)
    except InputError:
        return None
