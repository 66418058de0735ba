"""ImageNet-1k (ILSVRC 2012; Russakovsky et al., arXiv 1409.0575) with the standard order of classes and the names that
CLIP uses for them."""
from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dtbox.counts import format_count
from dtbox.datasets.folder_listing import SUFFIXES
from dtbox.datasets.image_files import ImageFiles, find, find_data_folder
from dtbox.datasets.left_out import describe_suffixes, get_suffix, name_some
from dtbox.errors import InputError, closest, reason
from dtbox.imagenet_classes import list_class_names, list_wnids
from dtbox.registry import DATASETS

HOW = ('Get it from image-net.org (an account is needed); '
       'configs/_base_/datasets/README.md shows what the folder looks like.')
SPLITS = ('train', 'val')
DEVKIT = ('ILSVRC2012_devkit_t12/data', 'devkit/data', 'data')
TRUTH = 'ILSVRC2012_validation_ground_truth.txt'
META = 'meta.mat'
SOLUTION = 'LOC_val_solution.csv'


@DATASETS.register_module()
class ImageNet(ImageFiles):
    """ImageNet-1k from its folders; keys are paths such as `n01440764/n01440764_10026.JPEG`.

    `data_root` holds `train/` and `val/` (or Kaggle's `ILSVRC/Data/CLS-LOC/train`, ...). Images lie in folders named by
    WordNet ids; those of `val` may lie flat beside each other, as they are published, if the devkit
    (`ILSVRC2012_devkit_t12/data` with `ILSVRC2012_validation_ground_truth.txt` and `meta.mat`) or Kaggle's
    `LOC_val_solution.csv` lies in `data_root`. Labels are the standard indices 0 to 999 also where only some classes
    are there.

    Args:
        data_root: the folder.
        split: 'train' or 'val'.
        pipeline, seed, set, limit, broken: as in `ImageFiles`.
        names: names of the 1,000 classes in the standard order: None for those of open_clip, a list, or the path of a
            file with one a line.
        class_text: caption made of a class name, such as 'a photo of a {}'; None for none.

    Raises:
        InputError: no such folder, no images, folders that are not classes, class names of another number, or truth
            that does not fit the images.
    """

    def __init__(self, data_root: str | Path | None = None, split: str = 'train', pipeline: Sequence = (),
                 seed: int = 0, set: str | None = None, limit: int | None = None, broken: str = 'error',
                 names: Sequence[str] | str | None = None, class_text: str | None = None):
        super().__init__(pipeline, seed, split, set, limit, broken)
        if split not in SPLITS:
            raise InputError(f'ImageNet has no split `{split}`.{closest(split, SPLITS)} It has: train, val (the test '
                             'part has no labels).', 'split')
        root = find_data_folder(data_root, 'ImageNet', HOW)
        self.classes = tuple(_class_names(names))
        folder = find(root, (split, f'Data/CLS-LOC/{split}', f'ILSVRC/Data/CLS-LOC/{split}'), f'folder of `{split}`',
                      HOW)
        others, loose = Counter(), []
        files, labels = _by_folder(folder, others, loose) or _flat(folder, root, others)
        self.note(*describe_suffixes(others))
        if loose:
            self.note(f'{format_count(len(loose), "image", "is")} left out in {folder}, in no class folder: '
                      f'{name_some(loose)}')
        absent = len(self.classes) - len(dict.fromkeys(labels))
        if absent:
            self.note(f'{absent} of {format_count(len(self.classes), "class")} have no images in {folder}')
        captions = None if class_text is None else [[class_text.format(self.classes[i])] for i in labels]
        self.fill(folder, files, captions, labels)


def _class_names(names):
    if names is None:
        return list_class_names()
    if isinstance(names, (str, os.PathLike)):
        try:
            names = [line.strip() for line in Path(names).read_text(encoding='utf-8-sig').splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as e:
            raise InputError(f'the class names in {names} cannot be read ({reason(e)}).', 'names') from e
    if len(names) != 1000:
        raise InputError(f'{len(names)} class names came; expected 1,000, one for each class in the order of the '
                         'WordNet ids.', 'names')
    return names


def _images(folder, others):
    """Return the names of the images of a folder; other files are counted in `others`, folders by their names."""
    try:
        with os.scandir(folder) as entries:
            found = [(e.name, e.is_dir()) for e in entries]
    except OSError as e:
        raise InputError(f'the folder {folder} cannot be read ({e.strerror or e}).', 'data_root') from e
    images = [name for name, inner in found if not inner and not name.startswith('.')
              and os.path.splitext(name)[1].lower() in SUFFIXES]
    taken = set(images)
    others.update(get_suffix(name) for name, inner in found if not inner and name not in taken)
    return sorted(images)


def _by_folder(folder, others, loose):
    """Return (paths, labels) of images in class folders, or None where the images lie flat; `loose` gets the images
    beside the class folders."""
    number = {wnid: i for i, wnid in enumerate(list_wnids())}
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith('.'))
    strange = [name for name in names if name not in number]
    if names and strange:
        raise InputError(f'in {folder}, {format_count(len(strange), "folder", "is")} not named as a class of '
                         f'ImageNet-1k, such as {strange[0]}; expected WordNet samples such as n01440764. For folders '
                         'of other classes use ImageFolder.', 'data_root')
    if not names:
        return None
    loose += _images(folder, others)
    samples = [(f'{name}/{file}', number[name]) for name in names for file in _images(folder / name, others)]
    if not samples:
        raise InputError(f'the class folders in {folder} hold no images. {HOW}', 'data_root')
    return tuple(map(list, zip(*samples)))


def _flat(folder, root, others):
    """Return (paths, labels) of images beside each other, labels from devkit or Kaggle's table."""
    files = _images(folder, others)
    if not files:
        raise InputError(f'{folder} holds neither class folders nor images. {HOW}', 'data_root')
    devkit = next((root / d for d in DEVKIT if (root / d / TRUTH).is_file()), None)
    table = next((p for p in (root / SOLUTION, root.parent / SOLUTION, folder.parent / SOLUTION) if p.is_file()), None)
    if devkit is None and table is None:
        raise InputError(f'the images in {folder} lie in no class folders, and {root} has neither the devkit '
                         f'({DEVKIT[0]}/{TRUTH}) nor {SOLUTION} to tell their classes. {HOW}', 'data_root')
    of = _from_devkit(devkit) if devkit else _from_kaggle(table)
    lost = [f for f in files if os.path.splitext(f)[0] not in of]
    if lost:
        raise InputError(f'{len(lost)} of {format_count(len(files), "image")} in {folder} have no class in '
                         f'{devkit or table}, such as '
                         f'{lost[0]}; expected names such as ILSVRC2012_val_00000001.JPEG.', 'data_root')
    return files, [of[os.path.splitext(f)[0]] for f in files]


def _from_devkit(folder):
    """Return dict stem of a validation image -> label; the devkit numbers classes in an order of its own."""
    from scipy.io import loadmat
    number = {wnid: i for i, wnid in enumerate(list_wnids())}
    try:
        synsets = loadmat(folder / META, squeeze_me=True)['synsets']
        label_of = {int(row['ILSVRC2012_ID']): number[str(row['WNID'])] for row in synsets if int(row['num_children'])
                    == 0}
        truth = [int(line) for line in (folder / TRUTH).read_text().split()]
        return {f'ILSVRC2012_val_{i:08d}': label_of[v] for i, v in enumerate(truth, 1)}
    except Exception as e:  # scipy raises anything for a spoilt file
        raise InputError(f'the devkit in {folder} cannot be read ({reason(e)}); expected {META} with 1,000 synsets '
                         f'and {TRUTH} with a number a line.', 'data_root') from e


def _from_kaggle(path):
    number = {wnid: i for i, wnid in enumerate(list_wnids())}
    try:
        with open(path, newline='', encoding='utf-8-sig') as f:
            return {row['ImageId']: number[row['PredictionString'].split()[0]] for row in csv.DictReader(f)}
    except (OSError, KeyError, IndexError, AttributeError, csv.Error, UnicodeDecodeError) as e:
        raise InputError(f'{path} cannot be read ({reason(e)}); expected the columns ImageId and PredictionString (a '
                         'WordNet id and boxes).',
                         'data_root') from e
