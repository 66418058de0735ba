"""Class names in the place of texts: a text tower whose joint space are the logits of a classifier of ImageNet-1k.

A text is embedded as the axis of the class that it names, so that the cosine of logits and a name ranks the classes as
the logits do. A name that several classes share (crab, piano) is the mean of their axes.

Legend: T texts, L ids of a text, E classes.
"""
from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError, Remark
from dtbox.imagenet_classes import COUNT, list_class_names, list_words
from dtbox.registry import TEXT_TOKENIZERS, TEXTS
from dtbox.texts.tokenizers import TextTokenizer, keep_words
from dtbox.texts.towers import TextTower
from dtbox.values import Positive

PAD, UNKNOWN = 0, 1
"""Ids of padding, and of a text that names no class."""
FIRST = 2
"""Id of class 0."""
LONGEST_NAME = 6
"""Words of a name at most."""


@TEXT_TOKENIZERS.register_module()
class ImageNetNames(TextTokenizer):
    """The classes of ImageNet-1k that a text names: "a photo of a giant panda" is the id of class 388.

    The longest name in a text counts, the first of equally long ones: a name that CLIP uses, else one of WordNet's
    words for a class, else the last words of some of these ("crab" is every class that ends so). Plurals are also
    tried as singulars.

    Args:
        context_length: ids per text; of a name that more classes share the first ones count.
    """

    def __init__(self, context_length: Positive = 16) -> None:
        self.context_length, self.vocab_size = context_length, FIRST + COUNT
        self.unknown_id = UNKNOWN
        self.names: dict[str, list[int]] = {}
        self.endings: dict[str, list[int]] = {}
        for names in ([[name] for name in list_class_names()], list_words()):
            fresh: dict[str, list[int]] = {}
            for number, several in enumerate(names):
                for name in several:
                    _note(fresh, keep_words(name), number)
            for name, numbers in fresh.items():
                self.names.setdefault(name, numbers)
        for name, numbers in self.names.items():
            words = name.split()
            for i in range(1, len(words)):
                for number in numbers:
                    _note(self.endings, ' '.join(words[i:]), number)

    def find(self, text: str) -> list[int]:
        """Return the classes that a text names, [] where it names none."""
        words = keep_words(text).split()
        for table in (self.names, self.endings):
            for length in range(min(LONGEST_NAME, len(words)), 0, -1):
                for start in range(len(words) - length + 1):
                    for name in _forms(words[start:start + length]):
                        if name in table:
                            return table[name]
        return []

    def ids(self, text: str) -> list[int]:
        """Return the ids of one text."""
        return [FIRST + number for number in self.find(text)[:self.context_length]] or [UNKNOWN]

    def find_unknown(self, text: str) -> list[str]:
        """Return the text where it names no class."""
        return [] if self.find(text) else [text]

    def _warn_of_unknown(self, unknown: Counter, count: int) -> None:
        """Name the first texts that name no class."""
        self.warned_of_unknown = True
        named = ', '.join(f'"{text[:60]}"' for text in list(unknown)[:5]) + (', ...' if len(unknown) > 5 else '')
        warnings.warn(f'{len(unknown)} of {format_count(count, "text")} name no class of ImageNet-1k, as may later '
                      f'ones: {named}. Their embedding is 0: zero-shot classification never answers with them.', Remark,
                      stacklevel=4)

    def pack(self, ids: list[int]) -> list[int]:
        """Pad at the end, or cut, to `context_length`."""
        return (ids + [PAD] * self.context_length)[:self.context_length]


@TEXTS.register_module()
class ClassNames(TextTower):
    """Texts as classes of ImageNet-1k, beside a head that gives logits; nothing in it learns.

    A text that names no class has the embedding 0, which is as far from every image as from every other.

    Args:
        tokenizer: config of the tokenizer; `ImageNetNames` unless given.
    """

    def __init__(self, tokenizer: dict | None = None) -> None:
        super().__init__(tokenizer or dict(type='ImageNetNames'))
        self.pooled_dim = COUNT
        self.requires_grad_(False)

    def limits(self) -> tuple[int, int]:
        """Return (longest text in tokens, number of token ids)."""
        if self.tokenizer is None or self.tokenizer.vocab_size != FIRST + COUNT:
            raise InputError('ClassNames reads the ids of ImageNetNames; leave `tokenizer` out.', 'tokenizer')
        return self.tokenizer.context_length, self.tokenizer.vocab_size

    def forward(self, ids: Tensor) -> Tensor:
        """ids [T, L] int64 -> [T, E]: the mean of the axes of the classes, 0 where there are none."""
        counts = F.one_hot(ids, FIRST + COUNT)[..., FIRST:].sum(1).to(self.logit_scale.dtype)
        return counts / counts.sum(1, keepdim=True).clamp(min=1)


def _note(table: dict[str, list[int]], name: str, number: int) -> None:
    numbers = table.setdefault(name, [])
    if name and number not in numbers:
        numbers.append(number)


def _forms(words: list[str]) -> Iterator[str]:
    """Yield some words as one name, then with the last one in the singular."""
    last = words[-1]
    yield ' '.join(words)
    for ending, singular in (('ies', 'y'), ('es', ''), ('s', '')):
        if last.endswith(ending) and len(last) > len(ending) + 1:
            yield ' '.join([*words[:-1], last[:-len(ending)] + singular])
