"""ImageFolder: the user's own images, with texts where the folder has some."""
from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from dtbox.counts import format_count
from dtbox.datasets.base import PairDataset, check_limit, choose_even_subset, pick_caption
from dtbox.datasets.captions import find_captions, match_captions, read_captions
from dtbox.datasets.flaws import Flaw, accept_all
from dtbox.datasets.folder_listing import find_class_folders, find_root, find_strays, list_images
from dtbox.datasets.holdout import divide
from dtbox.datasets.left_out import describe_suffixes, name_some
from dtbox.datasets.near_duplicates import group_near_duplicates
from dtbox.datasets.read import read_image
from dtbox.datasets.sidecars import find_sidecars, hold_boxes, read_sidecar
from dtbox.errors import InputError, closest
from dtbox.registry import DATASETS

SPLITS = ('train', 'heldout', 'all')


@DATASETS.register_module()
class ImageFolder(PairDataset):
    """A folder of images, at any depth; images are PIL RGB of their own size.

    Split: `train` and `val` (or `test`, `heldout`, `val2017`, ...) inside the folder, or inside the only folder with
    images that it holds, are taken as they are; otherwise a hash of each image's relative path orders the images and
    the first ones are held out, a tenth of them (`holdout`), at least one image and never all.

    Texts, the first that is found: a captions file (`captions.py`: captions.json, .jsonl, .csv, .tsv, .txt,
    metadata.jsonl); a .txt file beside an image (`sidecars.py`: NAME.txt or NAME.jpg.txt); class folders, when every
    image lies in one of at least two folders; otherwise none, and `metainfo['texts']` is False. An image without a
    caption among others that have one gets ''. Where texts come from class folders, these also give labels and
    `classes`; a few images beside the class folders are left out.

    What is found but not used (other kinds of files, folders that may not be entered, a third part, entries of the
    captions without an image) is counted in the log, in `notes` and in results. Sidecars that hold rows of numbers
    are labels of objects, not captions.

    Args:
        data_root: the folder.
        split: 'train', 'heldout', or 'all' for every image, whether folders divide them or not.
        pipeline, seed: as in `PairDataset`.
        captions: None to look for texts, False to go without, or the path of a captions file (also relative to
            data_root).
        holdout: fraction to hold out, in (0, 1), where the folder is not divided.
        min_size: images whose shorter side has fewer pixels are skipped.
        check: decode every image of the split once at the start and skip broken ones; without, they fail when read.
        class_text: text made of a class name.
        group_near_duplicates: put images that look nearly the same (see `near_duplicates.py`) on one side, where the
            folder is not divided; each image is read once at the start. None is False.
        limit: take at most so many usable images, the first of each class and the classes as even as they allow; None
            for all.

    Raises:
        InputError: a missing folder, one without usable images, or captions that match no image.
    """

    def __init__(self, data_root: str | Path, split: str = 'train', pipeline: Sequence = (), seed: int = 0,
                 captions: str | bool | None = None, holdout: float = 0.1, min_size: int = 32, check: bool = True,
                 class_text: str = 'a photo of a {}', limit: int | None = None,
                 group_near_duplicates: bool | None = None):
        super().__init__(pipeline, seed)
        check_limit(limit)
        if split not in SPLITS:
            raise InputError(f'ImageFolder has no split `{split}`.{closest(split, SPLITS)} It has: '
                             f'{", ".join(SPLITS)}.')
        if isinstance(holdout, bool) or not isinstance(holdout, (int, float)) or not 0 < holdout < 1:
            raise InputError(f'`holdout` is a fraction of the images, between 0 and 1; got {holdout!r}.')
        if not isinstance(data_root, (str, os.PathLike)) or not os.fspath(data_root):
            raise InputError(f'`data_root` must be the folder that holds the images, got {data_root!r}.')
        self.data_root = find_root(Path(data_root).expanduser())
        self.split = split
        self.class_text = class_text
        self._flaw = Flaw(min_size) if check else accept_all
        if group_near_duplicates not in (None, True, False):
            raise InputError(f'`group_near_duplicates` is {group_near_duplicates!r}; expected True or False.')
        listing = list_images(self.data_root)
        self.note(*listing.notes)
        self._label_of, self._strays = {}, set()
        self.text_source, self._captions = self._find_texts(captions, listing.images, listing.others)
        self.note(*describe_suffixes(listing.others, texts=f'texts come from {self.text_source or "nowhere"}'))
        images = [image for image in listing.images if image.key not in self._strays]
        groups = self._group(images) if group_near_duplicates else None
        mine = self._usable(images if split == 'all' else divide(images, split, holdout, self._flaw, self.data_root,
                                                                 groups))
        mine = [mine[i] for i in choose_even_subset([self._label_of.get(image.key, -1) for image in mine], limit)]
        self.images, self.size = mine, len(mine)
        self.has_texts = any(self._captions.get(image.key) for image in mine)
        self._report(mine)

    def sample(self, index: int, rng: np.random.Generator) -> dict:
        """Return the image at `index` as in `PairDataset.sample`; training draws one of several captions."""
        image = self.images[index]
        text = pick_caption(self._captions.get(image.key, ()), rng if self.split == 'train' else None)
        return dict(image=read_image(image.path), text=text, label=self._label_of.get(image.key, -1), key=image.key,
                    set=self.split)

    def captions_of(self, key: str) -> tuple[str, ...]:
        """Return all captions of the image of a key."""
        return tuple(self._captions.get(key, ()))

    @property
    def keys(self) -> list[str]:
        """Keys of the samples, in order: paths relative to `data_root`."""
        return [image.key for image in self.images]

    @property
    def labels(self) -> list[int]:
        """Class index of each sample, -1 for none."""
        return [self._label_of.get(image.key, -1) for image in self.images]

    @property
    def sets(self) -> list[str]:
        """Sets of the samples (the split, for all of them), in order."""
        return [self.split] * len(self.images)

    @property
    def texts(self) -> list[str]:
        """Every text that may be drawn, sample by sample."""
        last = None if self.split == 'train' else 1
        return [text for image in self.images for text in self._captions.get(image.key, ())[:last]]

    def contents(self) -> Iterator:
        """As in PairDataset, and the size of each file."""
        yield from super().contents()
        yield from (os.path.getsize(image.path) for image in self.images)

    def _group(self, images):
        groups = group_near_duplicates([image.path for image in images])
        count = len(set(groups))
        if images[0].part:
            across = {p.part: {group for q, group in zip(images, groups) if q.part == p.part} for p in images}
            shared = len(set.intersection(*across.values())) if len(across) > 1 else 0
            if shared:
                self.note(f'near duplicates: {format_count(shared, "group", "lies")} on both sides of the division by '
                          'folders')
        elif count < len(images):
            print_log(f'ImageFolder {self.data_root}: {format_count(len(images), "image", "makes")} '
                      f'{format_count(count, "group")} of near duplicates, none of which is divided', 'current')
        return groups

    def _usable(self, images):
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            flaws = list(pool.map(self._flaw, images))
        bad = [(image.key, flaw) for image, flaw in zip(images, flaws) if flaw]
        self.flaws = [f'{key}: {flaw}' for key, flaw in bad]
        if bad:
            names = ', '.join(f'{key} ({flaw})' for key, flaw in bad[:10]) + (', ...' if len(bad) > 10 else '')
            print_log(f'ImageFolder {self.data_root}, {self.split}: skipped {len(bad)} of '
                      f'{format_count(len(images), "image")}: {names}',
                      'current', level=logging.WARNING)
        good = [image for image, flaw in zip(images, flaws) if not flaw]
        if not good:
            reason = f' None of {len(bad)} can be used, e.g. {bad[0][0]} ({bad[0][1]}).' if bad else ''
            raise InputError(f'{self.data_root} has no usable images for `{self.split}`.{reason} Add images.')
        return good

    def _find_texts(self, captions, images, others):
        """Return (where the texts come from, dict key -> captions); files of texts that are used are taken out of
        `others`, the counts of files that are no images."""
        if captions is False:
            return '', {}
        folder = next((self.data_root / p.key.split('/')[0] for p in images if p.part == self.split), self.data_root)
        if captions is None:
            path = find_captions(folder, self.data_root)
        else:
            tries = [base / captions for base in (folder, self.data_root, Path())]
            path = next((p for p in tries if p.is_file()), tries[1])
        if path is not None:
            inside = folder != self.data_root and path.parent == folder
            names = {p.key: _other_names(p, path) for p in images if not inside or p.part == self.split}
            matched, unused = match_captions(read_captions(path), names, path)
            if unused:
                self.note(f'{path}: {format_count(unused, "entry", "matches")} no image in {self.data_root}')
            parts = {self.data_root / image.key.split('/')[0] if image.part else self.data_root for image in images}
            others.subtract(p.suffix.lower() for p in {path, *(find_captions(part) for part in parts)}
                            if p is not None and p.is_relative_to(self.data_root))
            return path.name, matched
        beside = find_sidecars([p.path for p in images])
        texts = {p.key: read_sidecar(beside[p.path]) for p in images if p.path in beside}
        others['.txt'] -= len(set(beside.values()))
        if any(texts.values()) and all(hold_boxes(text) for some in texts.values() for text in some):
            self.note(f'the {len(texts):,} .txt files beside the images are left out: they hold rows of numbers, '
                      'such as boxes of objects, and no captions')
        elif texts:
            return '.txt files beside the images', texts
        strays, classes = find_strays(images)
        if classes and not strays:
            self.note(f'the folders {name_some(classes)} are not taken for classes, since many images lie beside them: '
                      'no labels, and no texts of class names')
        if strays:
            self.note(f'{format_count(len(strays), "image", "is")} left out, in no class folder: '
                      f'{name_some(image.key for image in strays)}')
            self._strays = {image.key for image in strays}
        self.classes, self._label_of = find_class_folders([image for image in images if image not in strays])
        if self.classes:
            return 'class folders', {key: [self.class_text.format(self.classes[i])]
                                     for key, i in self._label_of.items()}
        return '', {}

    def _report(self, mine):
        without = sum(not self._captions.get(image.key) for image in mine)
        note = f'; {format_count(without, "image", "has")} no caption' if self.text_source and without else ''
        texts = f'texts from {self.text_source}' if self.text_source else 'without texts'
        images = format_count(len(mine), 'image')
        print_log(f'ImageFolder {self.data_root}, {self.split}: {images}, {texts}{note}', 'current')


def _other_names(image, captions_path):
    """Return further names that a captions file may call an image by: seen from the split's folder, and from its
    own."""
    names = [image.key.split('/', 1)[1]] if image.part else []
    try:
        names.append(image.path.resolve().relative_to(captions_path.parent.resolve()).as_posix())
    except ValueError:
        pass
    return names + [str(image.path)]
