"""Captions in .txt files beside images: NAME.txt, or NAME.jpg.txt, for NAME.jpg."""
from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from dtbox.errors import InputError


def find_sidecars(images: Sequence[Path]) -> dict[Path, Path]:
    """Return image -> the file of its caption: NAME.txt, or NAME.jpg.txt where that is not there. A name that differs
    in case alone (NAME.TXT) counts where no exact one is there, and no other image has it.

    Args:
        images: paths of the images.

    Raises:
        InputError: an image has several such files, with different texts.
    """
    listed: dict[Path, dict[str, list[str]]] = {folder: defaultdict(list) for folder in {p.parent for p in images}}
    for folder, entries in listed.items():
        for entry in sorted(os.listdir(folder)):
            if entry.lower().endswith('.txt'):
                entries[entry.lower()].append(entry)
    exact = {p: [name for name in (f'{p.stem}.txt', f'{p.name}.txt') if name in listed[p.parent].get(name.lower(), ())]
             for p in images}
    taken = {p.parent / name for p, names in exact.items() for name in names}
    found = {}
    for image, names in exact.items():
        near = [name for wanted in (f'{image.stem}.txt', f'{image.name}.txt')
                for name in listed[image.parent].get(wanted.lower(), ()) if image.parent / name not in taken]
        files = [image.parent / name for name in names or near]
        if len(files) > 1 and any(read_sidecar(file) != read_sidecar(files[0]) for file in files[1:]):
            raise InputError(f'{image} has several captions beside it: {", ".join(file.name for file in files)}. '
                             'Delete all but one of them, or set captions=False to go without.')
        if files:
            found[image] = files[0]
    return found


def read_sidecar(path: Path) -> list[str]:
    """Return the captions in a .txt file beside an image: one, its whole content, or none where it is blank.

    Raises:
        InputError: the file is not UTF-8.
    """
    try:
        text = ' '.join(path.read_text(encoding='utf-8-sig').split())
    except UnicodeDecodeError as e:
        raise InputError(f'the caption {path} is not UTF-8 ({e}). Save it as UTF-8.') from e
    return [text] if text else []


def hold_boxes(text: str) -> bool:
    """Whether a text is no caption but five numbers or more: a class and a box, as YOLO's tools lay them beside
    images."""
    words = text.split()
    try:
        return len([float(word) for word in words]) >= 5
    except ValueError:
        return False
