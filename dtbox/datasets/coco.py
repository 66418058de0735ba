"""COCO's annotation files: captions and object masks (Lin et al., arXiv 1405.0312), and LVIS v1, which has the same
form (Gupta et al., arXiv 1908.03195)."""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dtbox.counts import format_count
from dtbox.datasets.base import BrokenSample
from dtbox.datasets.captions import read_texts
from dtbox.datasets.folder_listing import SUFFIXES
from dtbox.datasets.image_files import ImageFiles, find, find_data_folder
from dtbox.datasets.left_out import describe_unnamed
from dtbox.datasets.masks import decode_mask, describe_left_out, is_crowd, place_annotations, read_area, read_size
from dtbox.datasets.read import read_turn
from dtbox.errors import InputError
from dtbox.files import parse_json
from dtbox.registry import DATASETS
from dtbox.structures import Regions

HOW = 'Get it from cocodataset.org; configs/_base_/datasets/README.md shows what the folder looks like.'
SPLITS = ('train', 'val')
SMALL, LARGE = 32 ** 2, 96 ** 2
"""Pixels of the image below which an object is small, and from which on it is large (COCO's evaluation)."""


def read_coco(path: str | Path, content: str) -> dict:
    """Read an annotation file.

    Args:
        path: of the JSON file.
        content: what an annotation holds beside `image_id`: 'caption', or 'segmentation'.

    Returns:
        dict with the lists `images` (with `id`) and `annotations`, and whatever else is there.

    Raises:
        InputError: no JSON, or not in COCO's form.
    """
    try:
        data = parse_json(Path(path).read_text(encoding='utf-8-sig'))
    except OSError as e:
        raise InputError(f'the annotations {path} cannot be read ({e.strerror or e}).', 'annotations') from e
    except ValueError as e:
        raise InputError(f'the annotations {path} are not valid JSON ({e}): cut short, or another file.',
                         'annotations') from e
    for name, keys in (('images', ('id',)), ('annotations', ('image_id', content))):
        rows = data.get(name) if isinstance(data, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            has = ', '.join(list(data)[:6]) if isinstance(data, dict) else f'a {type(data).__name__}'
            raise InputError(f'{path} is not in COCO\'s form: expected lists `images` and `annotations`, it has '
                             f'{has}.', 'annotations')
        incomplete = next((i for i, row in enumerate(rows) if not all(k in row for k in keys)
                           or not isinstance(row[keys[0]], (int, str, type(None)))), None)
        if incomplete is not None:
            raise InputError(f'{path} is not in COCO\'s form: entry {incomplete} of `{name}` has '
                             f'{", ".join(map(str, rows[incomplete])) or "nothing"}; expected '
                             f'{" and ".join(keys)}, the first a number.', 'annotations')
    if not data['images']:
        raise InputError(f'{path} names no images.', 'annotations')
    return data


def read_image_name(image: dict, path: str | Path) -> str:
    """Return the file of an entry of `images`: `file_name`, or, in LVIS, the end of `coco_url`
    (`train2017/000000391895.jpg`)."""
    if isinstance(image.get('file_name'), str):
        return image['file_name']
    if isinstance(image.get('coco_url'), str):
        return '/'.join(image['coco_url'].split('/')[-2:])
    raise InputError(f'{path}: the image {image["id"]} has neither `file_name` nor `coco_url`.', 'annotations')


class CocoFiles(ImageFiles):
    """Images of a COCO annotation file.

    Args:
        data_root: the folder.
        split: 'train' or 'val'.
        annotations: JSON file, relative to `data_root`; None takes the published name.
        images: folder of the images, relative to `data_root`; None looks for the published ones.
        pipeline, seed, set, limit, broken: as in `ImageFiles`.
    """
    content = 'caption'
    published: Sequence[str] = ('annotations/captions_{split}2017.json',)

    def __init__(self, data_root: str | Path | None = None, split: str = 'train', annotations: str | None = None,
                 images: str | None = None, pipeline: Sequence = (), seed: int = 0, set: str | None = None,
                 limit: int | None = None, broken: str = 'error'):
        super().__init__(pipeline, seed, split, set, limit, broken)
        if annotations is None and split not in SPLITS:
            raise InputError(f'`split` is {split!r}; expected train or val, or name `annotations` and '
                             '`images`.', 'split')
        root = find_data_folder(data_root, type(self).__name__, HOW)
        names = [annotations] if annotations else [name.format(split=split) for name in self.published]
        self.source = find(root, names, 'annotation file', HOW)
        data = read_coco(self.source, self.content)
        self.folder = find(root, [images] if images else [f'{split}2017', f'images/{split}2017', 'images', '.'],
                           'folder of images', HOW)
        names = [self._place(read_image_name(image, self.source)) for image in data['images']]
        number = {image['id']: i for i, image in enumerate(data['images'])}
        if len(number) < len(names):
            twice = next(k for k, n in Counter(image['id'] for image in data['images']).items() if n > 1)
            raise InputError(f'{self.source} has two images with the id {twice}.', 'annotations')
        lost = [note['image_id'] for note in data['annotations'] if note['image_id'] not in number]
        if lost:
            self.note(f'{self.source}: {format_count(len(lost), "annotation", "is")} left out, of no image ({lost[0]})')
        if self.folder != root:
            self.note(*describe_unnamed(self.folder, names, SUFFIXES, self.source))
        notes = [[] for _ in names]
        for note in data['annotations']:
            if note['image_id'] in number:
                notes[number[note['image_id']]].append(note)
        self.take(data, names, notes)

    def _place(self, name):
        """LVIS names images with their folder, COCO without."""
        if '/' in name and not (self.folder / name).exists() and (self.folder.parent / name).exists():
            return f'../{name}'
        return name

    def take(self, data: dict, names: list[str], notes: list[list[dict]]) -> None:
        """Take images and the annotations of each."""
        raise NotImplementedError(f'{type(self).__name__} must write take(data, names, notes).')


@DATASETS.register_module()
class CocoCaptions(CocoFiles):
    """COCO 2017 with its captions, five an image: `annotations/captions_{train,val}2017.json`, `{train,val}2017/`.

    Arguments as in `CocoFiles`. Images without captions stay, with none.
    """

    def take(self, data: dict, names: list[str], notes: list[list[dict]]) -> None:
        where = f'{self.source}, image'
        texts = [[t for n in some for t in read_texts(n['caption'], f'{where} {n["image_id"]}')] for some in notes]
        if without := sum(not some for some in texts):
            has = 'has' if without == 1 else 'have'
            self.note(f'{self.source}: {without} of {format_count(len(names), "image")} {has} no caption')
        self.fill(self.folder, names, texts)


@DATASETS.register_module()
class CocoObjects(CocoFiles):
    """COCO 2017 with the masks of its objects: `annotations/instances_{train,val}2017.json` and `{train,val}2017/`.

    Samples carry `masks`, a list of PIL images of mode L (255 inside) that the pipeline resizes along, and `regions`,
    what is known of each. Crowds are left out. Masks that are empty or lie outside of the image are left out, and named
    in `flaws` of their sample.

    Masks follow a file that has another size than the annotations name, and sizes of objects count its pixels. An image
    that EXIF turns is left as it is stored where that is what was annotated, by its size. Masks of an image of other
    proportions, or whose size does not tell which way it was annotated, are left out and named.

    Arguments as in `CocoFiles`, and
        most: objects of an image that are taken, the largest ones; None for all.
    """
    content = 'segmentation'
    published: Sequence[str] = ('annotations/instances_{split}2017.json',)

    def __init__(self, *args: Any, most: int | None = None, **kwargs: Any):
        self.most = most
        super().__init__(*args, **kwargs)

    def take(self, data: dict, names: list[str], notes: list[list[dict]]) -> None:
        categories = data.get('categories')
        if not isinstance(categories, list) or not all(isinstance(c, dict) and 'name' in c
                                                       and isinstance(c.get('id'), (int, str)) for c in categories):
            raise InputError(f'{self.source} has no list `categories` with id and name of each.', 'annotations')
        self.classes = tuple(self.class_name(c) for c in categories)
        self.number = {c['id']: i for i, c in enumerate(categories)}
        self.frequency = [self.frequency_of(c) for c in categories]
        self.fill(self.folder, names)
        self.annotated = notes[:self.size]
        self.sizes = [read_size(im) for im in data['images'][:self.size]]
        self.note(*describe_left_out(self.annotated, self.most))

    def class_name(self, category: dict) -> str:
        """Return the name of a category for people and text towers: 'bow_(weapon)' -> 'bow (weapon)'."""
        return str(category['name']).replace('_', ' ')

    def frequency_of(self, category: dict) -> str:
        """Return 'rare', 'common' or 'frequent' where the set grades its categories, else ''."""
        return ''

    def sample(self, index: int, rng: np.random.Generator) -> dict:
        """Return the sample at `index` with `masks`, `regions` and `flaws`."""
        placement = self._place_annotations(index)
        sample = self.describe(index, self.read(index, placement.upright))
        regions = self._regions(index, sample['image'].size, placement.why)
        sample['masks'], sample['regions'], sample['flaws'] = regions
        return sample

    def _place_annotations(self, index):
        try:
            return place_annotations(self.sizes[index], *read_turn(self.root / self.key(index)))
        except InputError as e:
            raise BrokenSample(self.key(index), str(e)) from e

    def _regions(self, index, size, why):
        masks, rows = [], []
        flaws = []
        notes = [n for n in self.annotated[index] if not is_crowd(n)]
        notes.sort(key=read_area, reverse=True)
        if why and notes:
            flaws, notes = [f'{self.key(index)}: its {format_count(len(notes), "mask", "is")} left out: {why}'], []
        annotated = self.sizes[index] if all(self.sizes[index]) else size
        scale = size[0] * size[1] / (annotated[0] * annotated[1])
        for note in notes[:self.most]:
            try:
                mask = decode_mask(note, size, annotated)
                number = self.number[note.get('category_id')]
            except Exception as e:  # pycocotools raises anything
                flaws.append(self._flaw(index, note, f'cannot be read ({type(e).__name__}: {e})'))
                continue
            if not mask.any():
                flaws.append(self._flaw(index, note, f'is empty or lies outside of the image of {size[0]} x {size[1]} '
                                                     'pixels'))
                continue
            area = read_area(note) * scale or mask.sum()
            masks.append(Image.fromarray(mask * np.uint8(255)))
            rows.append((number, 'small' if area < SMALL else 'medium' if area < LARGE else 'large',
                         self.frequency[number], str(note.get('id', len(rows)))))
        categories, sizes, frequencies, ids = map(list, zip(*rows)) if rows else ([], [], [], [])
        return masks, Regions(categories=categories, sizes=sizes, frequencies=frequencies, ids=ids), flaws

    def _flaw(self, index, note, what):
        return f'{self.key(index)}: the mask of annotation {note.get("id")} {what}; it is left out'


@DATASETS.register_module()
class LVIS(CocoObjects):
    """LVIS v1: COCO's images with objects of 1,203 categories that are rare, common or frequent:
    `lvis_v1_{train,val}.json` (in `data_root` or `annotations/`) and the folders `train2017/` and `val2017/`. Arguments
    as in `CocoObjects`."""
    published = ('lvis_v1_{split}.json', 'annotations/lvis_v1_{split}.json')
    GRADES = dict(r='rare', c='common', f='frequent')

    def frequency_of(self, category: dict) -> str:
        """Return LVIS's grade."""
        grade = self.GRADES.get(category.get('frequency'))
        if grade is None:
            raise InputError(f'{self.source}: the category {category["name"]} has the frequency '
                             f'{category.get("frequency")!r}; expected r, c or f. Is it LVIS v1?', 'annotations')
        return grade
