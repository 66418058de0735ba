"""Token shards as conversations: a language model trains on codes that were made once, without images and without the
tokenizer's encoder."""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dtbox.conversations import Conversation, ImagePart, Turn
from dtbox.counts import format_count
from dtbox.datasets.base import check_limit, pick_caption
from dtbox.datasets.conversation_dataset import ConversationDataset
from dtbox.datasets.image_files import find_data_folder
from dtbox.datasets.sampler import order_in_windows
from dtbox.errors import InputError, closest
from dtbox.image_codes import ImageCodes
from dtbox.registry import DATASETS
from dtbox.token_shards.cache import TokenCache
from dtbox.values import Fraction, Positive

TASKS = ('draw', 'caption', 'image')
CAPTION = 'caption'
WITHOUT_TEXT = len('[]')
"""Bytes of the texts of an image that has none."""


@DATASETS.register_module()
class TokenShards(ConversationDataset):
    """Conversations over the images of token shards (`dtbox encode`), one for each image, with codes in the place of
    pixels.

    A folder has one fingerprint; a model with another tokenizer than that of the shards refuses the first batch. Codes
    come from a memory-mapped cache that is built once (`dtbox.token_shards.cache`). As of `Shards`, each sample comes
    exactly once an epoch on any number of ranks and workers, and a run resumes at any iteration without reading what
    went before; an epoch's order shuffles the shards, then the samples of `window` shards at a time.

    Images that were broken when they were encoded, and those without a text where the task needs one, are left out and
    counted in `notes`.

    Args:
        data_root: folder of the shards.
        task: 'draw': a text, then the image, drawn; 'caption': the image with a question, then a text; 'image': the
            image alone, drawn without a prompt.
        split: 'train', or 'heldout': a fraction `holdout` of the images.
        holdout: fraction of the images that is held out, by the hash of their files, so that equal files are on one
            side; 0 holds out none: `train` and `heldout` are both the whole folder.
        set: name of the set in the results; None takes the split's.
        views: 'epoch': view number `epoch % views` of an image, in `heldout` its first one; 'all': each view is a
            sample of its own.
        question: that asks for a text.
        fingerprint: digest (16 hex digits) that the shards must have; None takes that of the first shard.
        window: shards whose samples are shuffled together.
        limit: take at most so many images, the first ones; None for all.
        cache: folder of the cache; None takes `.cache` in `data_root`.
        seed: of the choice among several texts of an image; training draws one, `heldout` takes the first.

    Raises:
        InputError: no shards, damaged ones, another fingerprint, or no image that the task can use.
    """

    def __init__(self, data_root: str, task: str = 'draw', split: str = 'train', holdout: Fraction = 0.0,
                 set: str | None = None, views: str = 'epoch', question: str = 'what is it?',
                 fingerprint: str | None = None, window: Positive = 16, limit: int | None = None,
                 cache: str | None = None, seed: int = 0) -> None:
        super().__init__(seed=seed)
        check_limit(limit)
        for name, value, known in (('task', task, TASKS), ('split', split, ('train', 'heldout')),
                                   ('views', views, ('epoch', 'all'))):
            if value not in known:
                raise InputError(f'`{name}` is {value!r}.{closest(value, known)} It is one of {", ".join(known)}.',
                                 name)
        folder = find_data_folder(data_root, 'TokenShards', 'It is the folder of the token shards of `dtbox encode`.')
        self.cache = TokenCache(folder, cache)
        self.tokenizer = self.cache.meta.fingerprint
        if fingerprint is not None and fingerprint != self.tokenizer.digest:
            raise InputError(f'the shards of {folder} have the fingerprint {self.tokenizer.digest}; expected '
                             f'{fingerprint}. Take the folder that this tokenizer made, or encode again.',
                             'fingerprint')
        self.task, self.question = task, question
        self.views, self.window = views, window
        self.split, self.part = split, set or split
        self.folder = str(folder)
        self.streams = [stream.name for stream in self.cache.meta.streams]
        self._first, self._count = self._choose(holdout, limit)
        self.size = len(self._first)
        self._ends = np.asarray(np.searchsorted(self._first, self.cache.ends))

    def _choose(self, holdout: float, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the first row and the number of rows (views) of each sample."""
        cache = self.cache
        first, count = self._group()
        if cache.broken:
            self.note(f'{format_count(cache.broken, "row", "is")} left out: the image was broken when it was encoded')
        chosen = np.ones(len(first), bool)
        if holdout:
            drawn = cache.numbers('hash')[first] < np.uint64(min(holdout * 2 ** 64, 2 ** 64 - 1))
            chosen = drawn if self.split == 'heldout' else ~drawn
        if not chosen.any():
            raise InputError(f'{self.folder} has no image for `{self.split}`: {format_count(len(first), "image")} with '
                             f'codes, and the fraction {holdout:g} of them is held out. Change `holdout`.', 'holdout')
        if self.task != 'image':
            there = cache.lengths_of_texts()[first] > WITHOUT_TEXT
            without = int((chosen & ~there).sum())
            chosen &= there
            if not chosen.any():
                raise InputError(f'no image of {self.folder} has a text, which the task {self.task!r} needs. Encode a '
                                 "source with captions, or take task='image' (--data tokens_without_texts).", 'task')
            if without:
                self.note(f'{format_count(without, "image", "is")} left out: without a text, which the task '
                          f'{self.task!r} needs')
        if self.split == 'heldout' and self.task == 'draw':
            self.note('token shards hold no pixels: drawings are compared with the reconstructions of the images')
        return first[chosen][:limit], count[chosen][:limit]

    def _group(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the first row of each image and the number of its views; with views='all' each row is one."""
        rows = len(self.cache)
        if self.views == 'all':
            return np.arange(rows), np.ones(rows, np.int64)
        index, new = self.cache.numbers('index'), np.ones(rows, bool)
        new[1:] = index[1:] != index[:-1]
        starts = self.cache.ends[:-1]
        back = np.flatnonzero(index[1:] < index[:-1]) + 1
        new[starts[starts < rows]] = True
        if len(wrong := np.setdiff1d(back, starts)):
            shard = self.cache.shards[self.cache.find(int(wrong[0]))]
            raise InputError(f'the rows of {self.folder}/{shard.name} are not in the order of its images, so the views '
                             "of an image cannot be told together. Encode its input shard again, or take views='all'.")
        first = np.flatnonzero(new)
        return first, np.diff(first, append=rows)

    # ---- order and reading ------------------------------------------------------------------------------------------

    def order(self, rng: np.random.Generator) -> np.ndarray:
        """Return a permutation of the indices [size] for one epoch, as `Shards.order`."""
        return order_in_windows(self._ends, self.window, rng)

    def row_of(self, index: int, epoch: int = 0) -> int:
        """Return the row of the cache that a sample shows in an epoch."""
        if not 0 <= index < self.size:
            raise IndexError(f'sample {index} of {self.size}')
        view = epoch % int(self._count[index]) if self.split == 'train' else 0
        return int(self._first[index]) + view

    def sample(self, index: int, rng: np.random.Generator) -> dict:
        """See `ConversationDataset`: the sample of the first epoch."""
        return self.sample_of_epoch(0, index, rng)

    def sample_of_epoch(self, epoch: int, index: int, rng: np.random.Generator) -> dict:
        """See `PairDataset`."""
        row = self.row_of(index, epoch)
        codes = {name: self.cache.read(name, [row])[0] for name in self.streams}
        image = ImageCodes(codes, self.tokenizer.weights, self.folder)
        text = ''
        if self.task != 'image':
            text = pick_caption(self.cache.texts(row), rng if self.split == 'train' else None)
        return dict(conversation=make_conversation(self.name(row), self.task, text, self.question, image),
                    set=self.part)

    def name(self, row: int) -> str:
        """Return a name of a row that no other one has: its input shard and key; its place, where the key repeats; its
        view, where each view is a sample."""
        shard = self.cache.shards[self.cache.find(row)]
        key = self.cache.key(row)
        repeated = f'#{self.cache.number("index", row)}' if key in shard.repeated else ''
        view = f'@{self.cache.number("view", row)}' if self.views == 'all' else ''
        return f'{shard.source}/{key}{repeated}{view}'

    @property
    def keys(self) -> list[str]:
        """Names of the samples, in order."""
        return [self.name(int(row)) for row in self._first]

    @property
    def sets(self) -> list[str]:
        """Sets of the samples, in order."""
        return [self.part] * self.size

    @property
    def texts(self) -> list[str]:
        """Every text."""
        asked = [self.question] if self.task == CAPTION else []
        return [*asked, *(text for row in self._first for text in self.cache.texts(int(row)))]

    def contents(self) -> Iterator[str]:
        """Yield names and seals of the shards, and what is chosen of them."""
        for shard in self.cache.shards:
            yield f'{shard.name} {shard.seal}'
        yield f'{self.task}, {self.views}, {self.question}, {self.size} of {len(self.cache)}'
        yield str(int(self._first.sum()))


def make_conversation(key: str, task: str, text: str, question: str, image: ImageCodes) -> Conversation:
    """Return the conversation of a task over one image."""
    if task == 'draw':
        turns = (Turn('user', (text,)), Turn('assistant', (ImagePart(0, True),), 'draw'))
        return Conversation(key, 'draw', turns, (image,))
    if task == CAPTION:
        turns = (Turn('user', (ImagePart(0), question)), Turn('assistant', (text,), CAPTION))
        return Conversation(key, 'question', turns, (image,))
    return Conversation(key, 'text', (Turn('assistant', (ImagePart(0, True),)),), (image,))
