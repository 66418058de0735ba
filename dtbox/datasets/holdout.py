"""Which images of a folder are held out: a fraction of them, chosen by a hash of their paths, groups undivided."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dtbox.datasets.base import hash_fraction
from dtbox.datasets.folder_listing import ImageEntry
from dtbox.errors import InputError


def divide(images: list[ImageEntry], split: str, holdout: float, flaw: Callable[[ImageEntry], str],
           root: Path, groups: Sequence[int] | None = None) -> list[ImageEntry]:
    """Return the images of a split: by folders, or those whose paths have the smallest hashes are held out, `holdout`
    of all of them, with at least one usable image on either side.

    Args:
        images: every `ImageEntry` of the folder.
        split: 'train' or 'heldout'.
        holdout: fraction held out where folders do not divide them.
        flaw: callable that says what is wrong with a `ImageEntry`, '' where nothing is.
        root: the folder, for messages.
        groups: number of each image's group; a group is not divided. None: each image is one.

    Raises:
        InputError: one usable image only, or one group.
    """
    if images[0].part:
        return [p for p in images if p.part == split]
    together: dict[int, list[ImageEntry]] = {}
    for number, image in zip(range(len(images)) if groups is None else groups, images):
        together.setdefault(number, []).append(image)
    drawn = sorted(together.values(), key=lambda group: hash_fraction('heldout', group[0].key))
    heldout, train = _take_fraction(drawn, max(1, round(holdout * len(images))))
    for few, many, end in ((heldout, train, 0), (train, heldout, -1)):
        if any(not flaw(p) for group in few for p in group):
            continue
        usable = [group for group in many if any(not flaw(p) for p in group)]
        if not usable:  # nothing to divide: the caller names what is wrong with them
            return images
        if len(usable) == 1:
            what = f'one usable image ({usable[0][0].key})' if len(usable[0]) == 1 else 'images that all look alike'
            raise InputError(f'{root} holds {what}; a training and a held-out one are needed. Add images.')
        few.append(usable[end])
        many.remove(usable[end])
    return sorted(image for group in (heldout if split == 'heldout' else train) for image in group)


def _take_fraction(groups: list[list[ImageEntry]], most: int) -> tuple[list, list]:
    """Return (groups of together at most `most` images, the first ones that fit, else the smallest; the others)."""
    taken, rest = [], []
    count = 0
    for group in groups:
        fits = count + len(group) <= most
        (taken if fits else rest).append(group)
        count += len(group) * fits
    if not taken:
        taken = [min(groups, key=len)]
        rest.remove(taken[0])
    return taken, rest
