"""CIFAR-10 with a sentence for each image: 32 x 32 images of ten classes (Krizhevsky, 2009).

Two layouts are read: what torchvision leaves (`cifar-10-batches-py`), and WebDataset-style shards (`shards.py`).
"""
from __future__ import annotations

import codecs
import io
import pickle
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dtbox import distributed
from dtbox.counts import format_count
from dtbox.datasets.base import PairDataset, check_limit, choose_even_subset
from dtbox.datasets.left_out import describe_suffixes
from dtbox.datasets.read import read_image
from dtbox.datasets.shards import list_shards, read_shards
from dtbox.errors import InputError, closest, reason
from dtbox.registry import DATASETS

CLASSES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
"""Names of the classes, in the order of their indices."""

CLASS_TEXT = 'a photo of a {}'
"""The sentence of an image that has none of its own; it fits the zero-shot template of the same words."""

SIDE = 32
"""Pixels along each side of an image."""

PARTS = {'train': 'train', 'heldout': 'test', 'test': 'test'}
"""Split -> the part of the data that it reads, which is also the name of its set."""

BATCHES = 'cifar-10-batches-py'
IMAGES = ('jpg', 'jpeg', 'png', 'webp')
HOW = ('Fetch the data once with: python -c "import torchvision; torchvision.datasets.CIFAR10(\'PATH\', '
       'download=True)", then give data_root=PATH (tools: --cfg-options data_root=PATH).')


@DATASETS.register_module()
class CIFAR10(PairDataset):
    """CIFAR-10 with texts; images are PIL RGB, 32 x 32 pixels, and are kept in memory as uint8 (3 kB each).

    `data_root` holds shards `train-*.tar` and `test-*.tar` with members KEY.jpg (or png), KEY.cls (class index) and
    KEY.txt (text; without it the text is "a photo of a CLASS"), or `cifar-10-batches-py` (or is that folder), where all
    texts are "a photo of a CLASS".

    Keys of samples are FILE/KEY with the name of a shard or batch file, such as `test-000/000017` or
    `data_batch_1/00017`.

    Args:
        data_root: the folder.
        split: 'train', or 'heldout' (also called 'test'), whose set is named `test`.
        pipeline, seed: as in `PairDataset`.
        limit: take at most so many images, the classes as even as the data allow and the first of each class; None for
            all.
        download: let torchvision fetch the data (170 MB) into `data_root` where it holds none.

    Raises:
        InputError: no data_root, nothing to read there, a broken file or member, a class index outside 0 to 9, or an
            argument out of range.
    """

    def __init__(self, data_root: str | Path | None = None, split: str = 'train', pipeline: Sequence = (),
                 seed: int = 0, limit: int | None = None, download: bool = False):
        super().__init__(pipeline, seed)
        if split not in PARTS:
            raise InputError(f'CIFAR10 has no split `{split}`.{closest(split, PARTS)} It has: {", ".join(PARTS)}.')
        check_limit(limit)
        if not data_root or not isinstance(data_root, (str, Path)):
            raise InputError(f'CIFAR10 needs `data_root`, the folder that holds the data; got {data_root!r}. {HOW}')
        self.data_root = Path(data_root).expanduser()
        self.split = split
        self.classes = CLASSES
        self.part = PARTS[split]
        others = Counter()
        samples = _read(self.data_root, self.part, download, others)
        self.note(*describe_suffixes(others, 'those that are read (an image, .cls, .txt)', what='member'))
        if list_shards(self.data_root, self.part) and (self.data_root / BATCHES).is_dir():
            self.note(f'{self.data_root / BATCHES} is left out: the shards beside it are read')
        chosen = [samples[i] for i in choose_even_subset([label for _, _, label, _ in samples], limit)]
        self.keys, pixels, self.labels, self.texts = map(list, zip(*chosen))
        self.pixels = np.stack([_decode(image, key) for image, key in zip(pixels, self.keys)])
        self.size = len(self.keys)

    @property
    def sets(self) -> list[str]:
        """Sets of the samples (`train` or `test`, for all of them), in order."""
        return [self.part] * self.size

    def sample(self, index: int, rng: np.random.Generator) -> dict:
        """Return the image at `index` as in `PairDataset.sample`."""
        return dict(image=Image.fromarray(self.pixels[index]), text=self.texts[index], label=self.labels[index],
                    key=self.keys[index], set=self.part)


def _read(root, part, download, others):
    """Return [(key, image as `_decode` takes it, label, text)] of a part of what `root` holds; shards come first.
    `others` counts what of them is not used."""
    shards = list_shards(root, part)
    folder = root if root.name == BATCHES else root / BATCHES
    if download and not shards and not folder.is_dir():
        _download(folder.parent)
    if not root.is_dir():
        raise InputError(f'data_root {root} {"is a file, not a folder" if root.exists() else "does not exist"}. {HOW}')
    if shards:
        samples = [_from_shard(*sample) for sample in read_shards(shards, (*IMAGES, 'cls', 'txt'), others)]
        if not samples:
            raise InputError(f'the shards {part}-*.tar in {root} hold no samples; expected members KEY.jpg (or .png), '
                             'KEY.cls and KEY.txt.')
        return samples
    if folder.is_dir():
        return [sample for path in _batch_files(folder, part) for sample in _from_batch(path)]
    found = [f'{name}-*.tar' for name in ('train', 'test') if list_shards(root, name)]
    raise InputError(f'data_root {root} holds neither {BATCHES}/ nor shards '
                     f'{part}-*.tar{f"; it has {found[0]}" if found else ""}. {HOW}')


def _from_shard(key, members):
    """Return (key, bytes of the image, label, text)."""
    image = next((members[suffix] for suffix in IMAGES if suffix in members), None)
    if image is None:
        raise InputError(f'sample {key} has no image; expected a member {key.split("/", 1)[1]}.jpg or .png.')
    if 'cls' not in members:
        raise InputError(f'sample {key} has no class; expected a member {key.split("/", 1)[1]}.cls with an index from '
                         '0 to 9.')
    label = _label(members['cls'].decode('ascii', 'replace').strip(), key)
    text = ' '.join(members.get('txt', b'').decode('utf-8', 'replace').split())
    return key, image, label, text or CLASS_TEXT.format(CLASSES[label])


def _label(value, key):
    digits = str(value)
    if not digits.isdecimal() or int(digits) >= len(CLASSES):
        raise InputError(f'sample {key} has the class {value!r}; expected an index from 0 to {len(CLASSES) - 1} '
                         f'({", ".join(CLASSES)}).')
    return int(digits)


def _decode(image, key):
    """Return an image, bytes of a file or uint8 values [3072] (planes), as uint8 [32, 32, 3]."""
    if isinstance(image, np.ndarray):
        return image.reshape(3, SIDE, SIDE).transpose(1, 2, 0)
    try:
        with Image.open(io.BytesIO(image)) as file:
            pixels = np.asarray(read_image(file))
    # SyntaxError and ValueError: what Pillow raises for damaged headers
    except (InputError, OSError, SyntaxError, ValueError) as e:
        raise InputError(f'the image of sample {key} cannot be decoded ({reason(e)}): broken or truncated. Write the '
                         'shard anew.') from e
    if pixels.shape != (SIDE, SIDE, 3):
        raise InputError(f'the image of sample {key} is {pixels.shape[1]}x{pixels.shape[0]} pixels; those of CIFAR-10 '
                         f'are {SIDE}x{SIDE}. For images of other sizes use ImageFolder.')
    return pixels


def _batch_files(folder, part):
    """Return the batch files of a part; all of them must be there."""
    files = [folder / name for name in ([f'data_batch_{i}' for i in range(1, 6)] if part == 'train'
                                        else ['test_batch'])]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise InputError(f'{folder} has no {", ".join(missing)}: the data are not whole. Remove the folder and fetch '
                         f'them again. {HOW}')
    return files


class _Unpickler(pickle.Unpickler):
    """Reads dicts, lists, strings and numpy arrays, and runs nothing else that a pickle may ask for."""
    SAFE = {'_reconstruct': np.empty(0).__reduce__()[0], 'ndarray': np.ndarray, 'dtype': np.dtype}

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle may name: the parts of a numpy array."""
        if module.split('.')[0] == 'numpy' and name in self.SAFE:
            return self.SAFE[name]
        if (module, name) == ('_codecs', 'encode'):
            return codecs.encode
        raise pickle.UnpicklingError(f'it names {module}.{name}, which no CIFAR-10 file does')


def _from_batch(path):
    """Return [(key, values [3072], label, text)] of one of torchvision's batch files."""
    try:
        with open(path, 'rb') as f:
            content = _Unpickler(f, encoding='latin1').load()
        data, labels = content['data'], content['labels']
    except Exception as e:  # a pickle may raise anything
        raise InputError(f'{path} cannot be read as a CIFAR-10 batch ({reason(e)}): broken or another file. '
                         f'{HOW}') from e
    if getattr(data, 'shape', None) != (len(labels), 3 * SIDE * SIDE) or data.dtype != np.uint8:
        raise InputError(f'{path} holds data of shape {getattr(data, "shape", None)} for '
                         f'{format_count(len(labels), "label")}; '
                         f'expected uint8 [{len(labels)}, {3 * SIDE * SIDE}]. {HOW}')
    samples = []
    for i, (values, label) in enumerate(zip(data, labels)):
        key = f'{path.name}/{i:05d}'
        label = _label(label, key)
        samples.append((key, values, label, CLASS_TEXT.format(CLASSES[label])))
    return samples


def _download(root):
    """Let torchvision fetch the data; rank 0 does it for all ranks."""
    def fetch():
        try:
            from torchvision.datasets import CIFAR10 as Fetcher
            Fetcher(str(root), download=True)
        except Exception as e:  # network, disk, a broken archive
            raise InputError(f'CIFAR-10 could not be fetched into {root} ({reason(e)}). Check the network and the '
                             'disk, or copy the data there by hand.') from e
    distributed.run_on_first_rank(fetch)
