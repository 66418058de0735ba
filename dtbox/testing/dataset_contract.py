"""The contract of datasets (see `dtbox.datasets.base`).

Legend: H and W pixels.
"""
from __future__ import annotations

import pickle
from typing import Any, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dtbox.conversations import Conversation
from dtbox.counts import format_count
from dtbox.datasets.base import PairDataset
from dtbox.datasets.collate import collate
from dtbox.datasets.conversation_dataset import ConversationDataset
from dtbox.image_codes import ImageCodes
from dtbox.registry import DATASETS
from dtbox.testing.contract import Contract, index_by_name
from dtbox.testing.rank_group import Ranks
from dtbox.testing.subject import Subject, fail, require

MOST = 8
"""Samples that are looked at."""
PIPELINE = [dict(type='ResizeCrop', size=32), dict(type='PackImage')]
"""What ends the pipeline of a dataset whose config has none."""


class DatasetSubject(Subject):
    """A dataset under test.

    Attributes:
        some: positions of the samples that are looked at.
    """
    registry, base = DATASETS, PairDataset
    defaults = dict(pipeline=PIPELINE)

    def __init__(self, cfg: dict, plugins: str | Sequence[str] = (), ranks: Ranks | None = None):
        super().__init__(cfg, plugins, ranks)
        size = len(self.build())
        self.some = sorted({round(i * (size - 1) / (MOST - 1)) for i in range(MOST)}) if size else []


def is_equal(a: Any, b: Any) -> bool:
    """Whether two items are equal: dicts and lists by their entries, images and arrays by their values."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(is_equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(is_equal, a, b))
    if isinstance(a, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, Image.Image):
        return a.size == b.size and a.mode == b.mode and a.tobytes() == b.tobytes()
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, np.random.Generator):
        return a.bit_generator.state == b.bit_generator.state
    if hasattr(a, '__dataclass_fields__'):
        return all(is_equal(getattr(a, k), getattr(b, k)) for k in a.__dataclass_fields__)
    return bool(a == b)


def require_items(a: dict, b: dict, what: str) -> None:
    """Raise `Broken`, naming the entries, unless two items are equal."""
    wrong = sorted(k for k in a.keys() | b.keys() if k not in a or k not in b or not is_equal(a[k], b[k]))
    require(not wrong, f'{what}: the entries {", ".join(map(str, wrong))} differ.')


def length(subject: DatasetSubject) -> None:
    """`len` is the number of samples, at least 1; iteration ends after them; a negative position is an IndexError."""
    dataset = subject.build()
    require(type(len(dataset)) is int and len(dataset) > 0, f'`len` is {len(dataset)!r}; expected at least one sample.')
    if len(dataset) <= 64:
        count = sum(1 for _ in dataset)
        require(count == len(dataset), f'iteration gives {format_count(count, "sample")}, `len` says {len(dataset)}.')
    try:
        dataset[-1]
    except IndexError:
        return
    fail('position -1 is accepted; a position is epoch * len + index, never negative.')


def items(subject: DatasetSubject) -> None:
    """A sample has `image` (PIL, RGB), `text`, `label`, `key` and `set` before the pipeline, of these types; one of a
    ConversationDataset has a `conversation` with PIL images, and `set`."""
    dataset = subject.build()
    if isinstance(dataset, ConversationDataset):
        conversation_items(dataset, subject.some)
        return
    kinds = dict(image=Image.Image, text=str, label=int, key=str, set=str)
    for index in subject.some:
        sample = dataset.sample(index, np.random.default_rng(0))
        if 'captions' in sample:
            sample = {'text': '', **sample}
        for name, kind in kinds.items():
            require(name in sample, f'sample {index} has no `{name}`; it has {", ".join(sample)}.')
            value = sample[name]
            fits = isinstance(value, kind) or name == 'label' and isinstance(value, np.integer)
            require(fits and not isinstance(value, bool),
                    f'`{name}` of sample {index} is a {type(value).__name__}; expected {kind.__name__}.')
        mode = sample['image'].mode
        require(mode in ('RGB', 'RGBA'), f'the image of sample {index} has the mode {mode}; expected RGB.')


def conversation_items(dataset: ConversationDataset, some: Sequence[int]) -> None:
    """Raise `Broken` unless the samples are conversations with PIL images or codes."""
    for index in some:
        sample = dataset.sample(index, np.random.default_rng(0))
        talk = sample.get('conversation')
        if not isinstance(talk, Conversation):
            fail(f'`conversation` of sample {index} is a {type(talk).__name__}; expected a Conversation.')
        require(isinstance(sample.get('set'), str),
                f'`set` of sample {index} is {sample.get("set")!r}; expected a string.')
        modes = {getattr(image, 'mode', type(image).__name__) for image in talk.images
                 if not isinstance(image, ImageCodes)}
        require(modes <= {'RGB', 'RGBA'},
                f'sample {index} has images of the modes {", ".join(sorted(modes))}; expected PIL images, RGB, or '
                'ImageCodes.')


def batches(subject: DatasetSubject) -> None:
    """Items go into a batch, by the `collate` of the dataset where it has one: uint8 images [3,H,W] of one size, one
    text, label, key and set each."""
    dataset = subject.build()
    read = [dataset[i] for i in subject.some]
    if hasattr(dataset, 'collate'):
        batch = dataset.collate(read)
        require(len(batch) == len(read) and len(set(batch.keys)) == len(read) and batch.images.dtype == torch.uint8,
                f'the batch of {format_count(len(read), "sample")} holds {len(batch)} with the keys {batch.keys} and '
                f'{batch.images.dtype} images; expected uint8. End the pipeline with PackImage.')
        return
    for index, item in zip(subject.some, read):
        image = item.get('image')
        require(isinstance(image, Tensor) and image.dtype == torch.uint8 and image.ndim == 3 and image.shape[0] == 3,
                f'item {index} has the image {getattr(image, "dtype", type(image).__name__)} '
                f'{list(getattr(image, "shape", ()))}; expected '
                'uint8 [3, H, W]. End the pipeline with PackImage.')
    try:
        batch = collate(read)
    except Exception as e:
        fail(f'`collate` raises {type(e).__name__}: {e}')
    require(len(batch) == len(read) and batch.keys is not None and batch.sets is not None,
            'the batch lacks keys or sets.')


def seeded(subject: DatasetSubject) -> None:
    """An item depends on seed, epoch and index alone: not on what was read before, on the instance, or on global random
    states."""
    dataset = subject.build()
    for epoch in (0, 3):
        places = [epoch * len(dataset) + i for i in subject.some]
        first = [dataset[p] for p in places]
        for place, item in reversed(list(zip(places, first))):
            require_items(dataset[place], item, f'item {place}, read twice')
        torch.manual_seed(77), np.random.seed(77)
        other = subject.build(seed=77) if 'seed' not in subject.cfg else subject.build()
        other.set_seed(dataset.seed)
        for place, item in zip(places, first):
            require_items(other[place], item, f'item {place} of another instance with the same seed')


def seeds(subject: DatasetSubject) -> None:
    """`set_seed` takes whole numbers from 0 on and nothing else."""
    dataset = subject.build()
    dataset.set_seed(3)
    require(dataset.seed == 3, f'after set_seed(3) the seed is {dataset.seed!r}.')
    for wrong in (-1, 1.5, 'a', None):
        try:
            dataset.set_seed(wrong)
        except Exception:
            continue
        fail(f'`set_seed` accepts {wrong!r}.')


def pickles(subject: DatasetSubject) -> None:
    """The dataset can be pickled, as workers need, and gives the same items after it."""
    dataset = subject.build()
    try:
        copy = pickle.loads(pickle.dumps(dataset))
    except Exception as e:
        fail(f'the dataset cannot be pickled: {type(e).__name__}: {e}')
    for index in subject.some:
        require_items(copy[index], dataset[index], f'item {index} of the pickled dataset')


def metainfo(subject: DatasetSubject) -> None:
    """`metainfo` has `classes` (a tuple of names) and `texts` (whether samples have texts); labels and texts agree with
    it."""
    dataset = subject.build()
    info = dataset.metainfo
    require({'classes', 'texts'} <= set(info), f'`metainfo` has {sorted(info)}; expected classes and texts.')
    classes = info['classes']
    require(isinstance(classes, tuple) and all(isinstance(c, str) for c in classes),
            f'`classes` is {classes!r}; expected a tuple of names.')
    require(type(info['texts']) is bool, f'`texts` of metainfo is {info["texts"]!r}; expected True or False.')
    for index in subject.some:
        item = dataset[index]
        label = int(item.get('label', -1))
        require(-1 <= label and (not classes or label < len(classes)),
                f'item {index} has the label {label}; there are {format_count(len(classes), "class")}.')
        require(info['texts'] or not item.get('text'),
                f'item {index} has the text {item.get("text")!r}, but `metainfo` says that there are none.')


def keys(subject: DatasetSubject) -> None:
    """Keys tell samples apart, stay from epoch to epoch, and are those of the list `keys` where there is one."""
    dataset = subject.build()
    names = [dataset[i]['key'] for i in subject.some]
    require(len(set(names)) == len(names), f'two samples have one key, among {names}.')
    for index, key in zip(subject.some, names):
        later = dataset[2 * len(dataset) + index]['key']
        require(later == key, f'sample {index} is called {key!r} in the first epoch and {later!r} in the third.')
    listed = getattr(dataset, 'keys', None)
    if listed is not None:
        require([listed[i] for i in subject.some] == names,
                '`keys` lists the samples in another order than they are read in.')


def fingerprint(subject: DatasetSubject) -> None:
    """`fingerprint` is 16 hex digits, the same for two instances, whatever the seed."""
    one, other = subject.build(), subject.build()
    other.set_seed(9)
    text = one.fingerprint()
    require(isinstance(text, str) and len(text) == 16 and not set(text) - set('0123456789abcdef'),
            f'`fingerprint` is {text!r}; expected 16 '
            'hex digits.')
    require(text == other.fingerprint(), 'two instances have different fingerprints.')


DATASET = Contract('dataset', 'datasets', DatasetSubject, index_by_name(
    length, items, batches, seeded, seeds, pickles, metainfo, keys, fingerprint))
