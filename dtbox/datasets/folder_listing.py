"""Folders of images: which files are images, which part they belong to, which of them can be used."""
from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dtbox.counts import format_count
from dtbox.datasets.left_out import get_suffix, name_some
from dtbox.errors import InputError

SUFFIXES = ('.jpg', '.jpeg', '.jfif', '.png', '.webp', '.bmp', '.gif', '.tif', '.tiff', '.ppm', '.pgm', '.avif')
HELDOUT_NAMES = ('val', 'validation', 'valid', 'test', 'heldout', 'held_out', 'testing', 'dev', 'eval', 'evaluation')
SYSTEM = ('__macosx', '@eadir', '$recycle.bin', 'lost+found', 'system volume information', '#recycle',
          '#snapshot', '@tmp')
"""Folders that computers and network drives leave, in lower case."""

_NUMBERED = re.compile(r'(.*?)[-_ ]?(?:20\d\d|set|images)?')
"""`train2017`, `val_images` and the like are parts, too."""


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
    """Return the folder whose sub-folders are the parts: `data_root`, or the only folder with images that it holds,
    where that one is divided into train and val (`images/train`, `images/val`, with `labels/` beside `images/`).

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
        folders = [p for p in visible if p.is_dir()]
        if find_parts([p.name for p in folders]):
            return inner
        if any(p.suffix.lower() in SUFFIXES for p in visible if p.is_file()):
            return root
        folders = folders if len(folders) < 2 else [p for p in folders if _holds_images(p)]
        if len(folders) != 1:
            return root
        inner = folders[0]


def find_parts(names: list[str]) -> dict[str, str]:
    """Return dict folder -> 'train' or 'heldout' where some of `names` are those of a training and a held-out part,
    else {}."""
    plain = {}
    for name in sorted(names, key=lambda name: (len(name), name), reverse=True):  # `train` before `train2017`
        plain[_NUMBERED.fullmatch(name.lower())[1]] = name
    heldout = next((plain[n] for n in HELDOUT_NAMES if n in plain), None)
    train = plain.get('train') or plain.get('training')
    return {train: 'train', heldout: 'heldout'} if train and heldout else {}


def _holds_images(folder):
    """Whether a folder holds an image at any depth."""
    return any(name.lower().endswith(SUFFIXES) for _, _, files in os.walk(folder, followlinks=True) for name in files)


@dataclass
class Listing:
    """What a folder holds.

    Attributes:
        images: every `ImageEntry`, sorted by key.
        parts: name of a folder -> 'train' or 'heldout'; {} where folders do not divide the images.
        others: suffix -> number of files that are no images.
        notes: sentences on folders and images that are not used.
    """
    images: list[ImageEntry] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def list_images(data_root: str | Path) -> Listing:
    """Return what lies under a folder; hidden files and folders, and those that systems leave (`SYSTEM`), are left out.

    Raises:
        InputError: no such folder, or no image in it.
    """
    find_root(data_root)  # raises where there is none
    root = Path(data_root)
    found = Listing(parts=find_parts([p.name for p in root.iterdir() if p.is_dir()]))
    aside, folders_aside = Counter(), {}

    def refused(error):
        found.notes.append(f'the folder {error.filename} is left out: {error.strerror}')
    seen = set()
    for folder, folders, files in os.walk(root, onerror=refused, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders_aside.setdefault('a link to one that is read already', []).append(folder)
            folders[:] = []
            continue
        seen.add(real)
        if not folders and not files and folder != str(root):
            folders_aside.setdefault('empty', []).append(folder)
        for name in [name for name in folders if name.startswith('.') or name.lower() in SYSTEM]:
            folders.remove(name)
            if name.lower() in SYSTEM or _holds_images(os.path.join(folder, name)):
                why = 'made by a system, not by people' if name.lower() in SYSTEM else 'hidden'
                folders_aside.setdefault(why, []).append(os.path.join(folder, name))
        for name in files:
            _sort_in(found, root, Path(folder) / name, aside)
    found.notes += [f'{format_count(len(some), "folder", "is")} left out ({why}): '
                    f'{name_some(os.path.relpath(folder, root) for folder in sorted(some))}'
                    for why, some in folders_aside.items()]
    found.notes += [f'{format_count(count, "image", "is")} left out, {where}' + (': hidden' if where.startswith('whose')
                    else f': the parts are {", ".join(sorted(found.parts))}') for where, count in aside.items()]
    if not found.images:
        ends = sorted(suffix for suffix in found.others if suffix.startswith('.'))
        kinds = f' Files there end in {", ".join(ends[:8])}.' if ends else ''
        raise InputError(f'{root} holds no images.{kinds} Images are known by {", ".join(SUFFIXES)}.')
    found.images.sort()
    return found


def _sort_in(found, root, path, aside):
    """Take one file into a Listing, or count it among those that are not used."""
    if path.suffix.lower() not in SUFFIXES:
        found.others[get_suffix(path.name)] += 1
        return
    if path.name.startswith('.'):
        if not path.name.startswith('._'):  # a system's, beside the image itself
            aside['whose name begins with a dot'] += 1
        return
    # names that are not UTF-8 are spelt with backslashes, so that they can be printed and written
    key = os.fsencode(path.relative_to(root).as_posix()).decode('utf-8', 'backslashreplace')
    top = key.split('/')[0]
    part = found.parts.get(top, '') if '/' in key else ''
    if part or not found.parts:
        found.images.append(ImageEntry(key, path, part))
    else:
        aside[f'in {top}/' if '/' in key else f'beside {" and ".join(sorted(found.parts))}'] += 1


def find_class_folders(images: list[ImageEntry]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return (class names, dict key -> class index): the folders below the one that holds all images."""
    paths = {p.key: Path(p.key).parts[bool(p.part):-1] for p in images}
    common = len(os.path.commonprefix(list(paths.values())))
    if any(len(path) <= common for path in paths.values()):
        return (), {}
    folders = sorted({path[common] for path in paths.values()})
    if all(_NUMBERED.fullmatch(folder.lower())[1] in ('train', 'training', *HELDOUT_NAMES) for folder in folders):
        return (), {}  # parts, though not a training and a held-out one
    index = {folder: i for i, folder in enumerate(folders)}
    return tuple(' '.join(f.replace('_', ' ').split()) for f in folders), {key: index[p[common]]
                                                                           for key, p in paths.items()}


def find_strays(images: list[ImageEntry]) -> tuple[list[ImageEntry], tuple[str, ...]]:
    """Return (the images that lie beside class folders and in none of them, where they are few: one, or a tenth at
    most; the names of the folders that would be classes without them)."""
    depth = {p.key: len(Path(p.key).parts[bool(p.part):-1]) for p in images}
    least = min(depth.values())
    strays = [p for p in images if depth[p.key] == least]
    rest = [p for p in images if depth[p.key] > least]
    classes = find_class_folders(rest)[0] if rest and not find_class_folders(images)[0] else ()
    few = len(strays) == 1 or 10 * len(strays) <= len(images)
    return strays if classes and few else [], classes
