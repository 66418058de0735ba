"""Folders of images: which files are images, which part they belong to, which of them can be used."""
from __future__ import annotations

import os
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from dtbox.datasets.read import verify_image
from dtbox.errors import InputError

SUFFIXES = ('.jpg', '.jpeg', '.jfif', '.png', '.webp', '.bmp', '.gif', '.tif', '.tiff', '.ppm', '.pgm', '.avif')
HELDOUT_NAMES = ('val', 'validation', 'valid', 'test', 'heldout', 'held_out')


SYSTEM = ('__macosx', '@eadir', '$recycle.bin', 'lost+found', 'system volume information')
"""Folders that computers and network drives leave, in lower case."""
BESIDE = ('', '.txt', '.json', '.jsonl', '.csv', '.tsv', '.md', '.pdf', '.html', '.xml', '.yaml', '.yml', '.py', '.sh',
          '.log', '.npy', '.npz', '.pt', '.zip', '.tar', '.gz')
"""How the names of files end that nobody takes for images."""
EXTRA = {'.heic': 'pillow-heif', '.heif': 'pillow-heif', '.jxl': 'pillow-jxl-plugin'}
"""Kind of image -> the package by which Pillow could be taught to read it; convert such files to PNG or JPEG."""


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


def find_root(data_root: str | Path) -> Path:
    """Return the folder whose sub-folders are the parts: `data_root`, or a folder that it holds and nothing else, where
    that one is divided into train and val (`images/train`, `images/val`).

    Raises:
        InputError: no such folder, or one that may not be read.
    """
    root = Path(data_root)
    if not root.is_dir():
        what = 'is a file, not a folder' if root.exists() else 'does not exist'
        raise InputError(f'data_root {root} {what}. Give the folder that holds the images.')
    inner = root
    while True:
        try:
            visible = [p for p in inner.iterdir() if not p.name.startswith('.') and p.name.lower() not in SYSTEM]
        except OSError as e:
            raise InputError(f'the folder {inner} cannot be read ({e.strerror or e}).') from e
        names = {p.name.lower() for p in visible if p.is_dir()}
        if 'train' in names and names & set(HELDOUT_NAMES):
            return inner
        if len(names) != 1 or any(p.suffix.lower() in SUFFIXES for p in visible if p.is_file()):
            return root
        inner = next(p for p in visible if p.is_dir())


def list_images(data_root: str | Path, notes: list[str] | None = None) -> list[ImageEntry]:
    """Return every `ImageEntry` under a folder, sorted by key; hidden files and folders, and those that systems leave
    (`SYSTEM`), are left out.

    Args:
        data_root: the folder, as `find_root` returns it.
        notes: gets sentences about what else was found and is not used.

    Raises:
        InputError: no such folder, or no image in it.
    """
    find_root(data_root)  # raises where there is none
    root, notes = Path(data_root), [] if notes is None else notes
    names = {p.name.lower(): p.name for p in root.iterdir() if p.is_dir()}
    heldout = next((names[n] for n in HELDOUT_NAMES if n in names), None)
    parts = {names['train']: 'train', heldout: 'heldout'} if 'train' in names and heldout else {}
    images = []
    others = Counter()
    seen = set()
    aside = Counter()

    def refused(error):
        notes.append(f'the folder {error.filename} is left out: {error.strerror}')
    for folder, folders, files in os.walk(root, onerror=refused, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = [] if real in seen else [d for d in folders if not d.startswith('.') and d.lower() not in SYSTEM]
        files = [] if real in seen else [f for f in files if not f.startswith('.')]
        seen.add(real)
        for path in (Path(folder) / f for f in files):
            if path.suffix.lower() not in SUFFIXES:
                others[path.suffix.lower()] += 1
                continue
            # names that are not UTF-8 are spelt with backslashes, so that they can be printed and written
            key = os.fsencode(path.relative_to(root).as_posix()).decode('utf-8', 'backslashreplace')
            top = key.split('/')[0]
            part = parts.get(top, '') if '/' in key else ''
            if part or not parts:
                images.append(ImageEntry(key, path, part))
            else:
                aside[f'in {top}/' if '/' in key else f'beside {" and ".join(sorted(parts))}'] += 1
    for suffix, count in others.items():
        if suffix not in BESIDE:
            extra = f', which Pillow reads with the package {EXTRA[suffix]}; convert them' if suffix in EXTRA else ''
            notes.append(f'{count:,} files that end in {suffix} are left out: not among the kinds of images that are '
                         f'read{extra}')
    notes += [f'{count:,} images {where} are left out: the parts are {", ".join(sorted(parts))}'
              for where, count in aside.items()]
    if not images:
        found = f' Files there end in {", ".join(sorted(others)[:8])}.' if set(others) - {''} else ''
        raise InputError(f'{root} holds no images.{found} Images are known by {", ".join(SUFFIXES)}.')
    return sorted(images)


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


def find_strays(images: list[ImageEntry]) -> list[ImageEntry]:
    """Return the images that lie beside class folders and in none of them, where they are few (a tenth at most) and the
    others make classes; [] otherwise."""
    depth = {p.key: len(Path(p.key).parts[bool(p.part):-1]) for p in images}
    least = min(depth.values())
    strays = [p for p in images if depth[p.key] == least]
    rest = [p for p in images if depth[p.key] > least]
    return strays if rest and 10 * len(strays) <= len(images) and find_class_folders(rest)[0] else []


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
        if isinstance(size, str):
            return size
        return f'{size[0]}x{size[1]}, below min_size={self.min_size}' if min(size) < self.min_size else ''


def accept_all(_photo: ImageEntry) -> str:
    """Take every image as it is."""
    return ''


@lru_cache(maxsize=None)
def _decoded_size(path, _size, _changed):
    """Return (width, height), or what is wrong."""
    try:
        return verify_image(path)
    except InputError as e:
        cause = e.__cause__
        if isinstance(cause, PermissionError):
            return 'permission denied'
        if isinstance(cause, Image.DecompressionBombError):
            return str(e).partition(' has ')[2]
        return 'broken or truncated'
