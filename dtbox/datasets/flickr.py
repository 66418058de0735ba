"""Flickr8k, Flickr30k and COCO with several captions an image: Karpathy's JSON, and the original token files."""
from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log

from dtbox.counts import format_count
from dtbox.datasets.base import hash_fraction
from dtbox.datasets.captions import tidy_text
from dtbox.datasets.folder_listing import SUFFIXES
from dtbox.datasets.image_files import ImageFiles, find, find_data_folder
from dtbox.datasets.left_out import describe_unnamed
from dtbox.errors import InputError, closest, reason
from dtbox.files import parse_json
from dtbox.registry import DATASETS
from dtbox.values import PositiveNumber

HOW = 'configs/_base_/datasets/README.md says where it comes from and what the folder looks like.'
SPLITS = ('train', 'val', 'test')
KARPATHY = ('dataset_flickr30k.json', 'dataset_flickr8k.json', 'dataset_coco.json', 'dataset.json')
TOKENS = ('results_20130124.token', 'Flickr8k.token.txt', 'results.csv', 'captions.txt')
LISTS = ('Flickr_8k.{split}Images.txt', '{split}.txt', 'flickr30k_{split}.txt')
"""Files that name the images of a split; Flickr8k calls val `dev`."""
UNPIPED = re.compile(r'([^|]+)\| *\d+ +(.+)')
"""A row of Kaggle's results.csv that has lost its second bar; the published one has `2199200615.jpg| 4   A dog`."""
FOLDERS = ('flickr30k-images', 'flickr30k_images', 'Flicker8k_Dataset', 'Flickr8k_Dataset', 'Images', 'images', '.')


@DATASETS.register_module()
class Captions(ImageFiles):
    """Images with about five captions each, as the retrieval papers divide them (Karpathy and Li, arXiv 1412.2306).

    `data_root` holds the images and either Karpathy's `dataset_*.json` (Flickr8k, Flickr30k, COCO), or the original
    token file (`results_20130124.token`, `Flickr8k.token.txt`; Kaggle's `results.csv` or `captions.txt`) with a list of
    images for each split (`Flickr_8k.testImages.txt`, or `test.txt` as Flickr30k Entities has them). Of COCO, `train`
    takes `restval` along.

    Args:
        data_root: the folder.
        split: 'train', 'val' or 'test'; 'all' for everything.
        annotations: JSON or token file, relative to `data_root`; None looks for the published names.
        images: folder of the images, relative to `data_root`; None looks for the published ones.
        holdout: where no list names the images of a split (Kaggle's Flickr8k), the fraction that a hash of the name
            puts into `test`, all others being for training; None asks for the lists.
        pipeline, seed, set, limit, broken: as in `ImageFiles`.

    Raises:
        InputError: no such files, a file in another form, or a split without images.
    """

    def __init__(self, data_root: str | Path | None = None, split: str = 'train', annotations: str | None = None,
                 images: str | None = None, pipeline: Sequence = (), seed: int = 0, set: str | None = None,
                 limit: int | None = None, broken: str = 'error', holdout: PositiveNumber | None = None):
        super().__init__(pipeline, seed, split, set, limit, broken)
        if holdout is not None and not holdout < 1:
            raise InputError(f'`holdout` is {holdout!r}; expected a fraction between 0 and 1, or None.', 'holdout')
        if split not in (*SPLITS, 'all'):
            raise InputError(f'`split` is {split!r}.{closest(split, SPLITS)} Expected train, val, test or '
                             'all.', 'split')
        root = find_data_folder(data_root, 'Captions', HOW)
        self.source = find(root, [annotations] if annotations else [*KARPATHY, *TOKENS], 'file of captions', HOW)
        if self.source.suffix == '.json':
            rows, named = _karpathy(self.source, split)
        else:
            named = _tokens(self.source)
            hashed = holdout is not None and split in ('train', 'test') and not _has_lists(root)
            rows = _of_hash(named, split, holdout) if hashed else _of_split(named, root, split, self.source)
            if hashed:
                print_log(f'Captions {root}: no list of images; a hash of the names puts {holdout:.0%} of them into '
                          '`test`', 'current')
        if not rows:
            raise InputError(f'{self.source} has no images of the split `{split}`.', 'split')
        folder = root / images if images else _folder(root, next(iter(rows)))
        if not folder.is_dir():
            raise InputError(f'the folder {folder} of the images does not exist.', 'images')
        self.note(*describe_unnamed(folder, named, SUFFIXES, self.source) if folder != root else ())
        without = sum(not texts for texts in rows.values())
        if without:
            has = 'has' if without == 1 else 'have'
            self.note(f'{self.source}: {without} of {format_count(len(rows), "image")} {has} no caption')
        self.fill(folder, list(rows), list(rows.values()))


def _folder(root, name):
    """Return the folder under which an image lies."""
    folder = next((root / f for f in FOLDERS if (root / f / name).is_file()), None)
    if folder is None:
        raise InputError(f'{root} does not hold the image {name}; looked for it in {", ".join(FOLDERS)}. '
                         f'Name the folder by `images`. {HOW}', 'images')
    return folder


def _karpathy(path, split):
    """Return (dict file -> captions of a split of Karpathy's JSON, the files that it names at all)."""
    try:
        images = parse_json(path.read_text(encoding='utf-8-sig'))['images']
        wanted = {'train', 'restval'} if split == 'train' else {split}
        chosen = [im for im in images if split == 'all' or im['split'] in wanted]
        captions_of: dict[str, list[str]] = {}
        for im in chosen:  # one that comes again adds its captions
            captions_of.setdefault('/'.join(filter(None, (im.get('filepath', ''), im['filename']))), []).extend(
                text for s in im['sentences'] if (text := tidy_text(s['raw'])))
        return captions_of, [im['filename'] for im in images]
    except (OSError, ValueError) as e:
        raise InputError(f'{path} cannot be read as JSON ({reason(e)}): cut short, or another file.',
                         'annotations') from e
    except (KeyError, TypeError, AttributeError) as e:
        raise InputError(f'{path} is not in Karpathy\'s form ({reason(e)}): expected `images`, each with filename, '
                         'split and sentences with `raw`.',
                         'annotations') from e


def _tokens(path):
    """Return dict file -> captions of a token file: FILE#N, tab, caption; or one of Kaggle's tables."""
    try:
        content = path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f'{path} cannot be read ({reason(e)}).', 'annotations') from e
    captions_of = {}
    for i, line in enumerate(content.split('\n'), 1):  # splitlines would also end a line at U+2028, within a caption
        line = line.rstrip('\r')
        if not line.strip() or i == 1 and line.replace(' ', '').lower() in ('image,caption',
                                                                            'image_name|comment_number|comment'):
            continue
        if '\t' in line:
            name, text = line.split('\t', 1)
            name = name.rsplit('#', 1)[0]
        elif line.count('|') >= 2 and path.suffix == '.csv':
            name, _, text = line.split('|', 2)
        elif path.suffix == '.csv' and (row := UNPIPED.fullmatch(line)):
            name, text = row[1], row[2]
        elif ',' in line and path.name == 'captions.txt':
            name, text = line.split(',', 1)
            if text.lstrip().startswith('"'):  # quoted: a table; otherwise the caption is all behind the first comma
                text = next(csv.reader([text.lstrip()]))[0]
        else:
            form = 'FILE,CAPTION on one line' if path.name == 'captions.txt' else 'FILE#N, a tab and the caption'
            form = 'FILE| N| CAPTION on one line' if path.suffix == '.csv' else form
            raise InputError(f'{path}, line {i}: {line[:60]!r} is not a caption; expected {form}.', 'annotations')
        captions_of.setdefault(name.strip(), []).extend(filter(None, [tidy_text(text)]))
    return captions_of


def _has_lists(root):
    return any((root / pattern.format(split=split)).exists() for pattern in LISTS for split in (*SPLITS, 'dev'))


def _of_hash(captions_of, split, holdout):
    """Return the images that a hash of their names puts into a split."""
    return {name: texts for name, texts in captions_of.items()
            if (hash_fraction('heldout', name) < holdout) == (split == 'test')}


def _of_split(captions_of, root, split, source):
    """Return the images of a split by its list."""
    if split == 'all':
        return captions_of
    names = [pattern.format(split='dev' if split == 'val' and pattern.startswith('Flickr_8k') else split)
             for pattern in LISTS]
    path = find(root, names, f'list of the images of `{split}` (which {source.name} does not tell; split=\'all\' '
                             'takes everything)', HOW)
    listed = [line.strip() for line in Path(path).read_text(encoding='utf-8-sig').split('\n') if line.strip()]
    listed = [name if '.' in name else f'{name}.jpg' for name in listed]  # Entities lists the numbers alone
    lost = [name for name in listed if name not in captions_of]
    if lost:
        raise InputError(f'of the images that {path} names, {format_count(len(lost), "image", "has")} no caption '
                         f'in {source.name}, such as {lost[0]}.', 'split')
    return {name: captions_of[name] for name in listed}
