"""Conversations over the classes of photographs: names that are drawn, named and asked about.

Drawings and names are one text, "a photo of a NAME", so that a model's caption of its own drawing compares with its
prompt. Each photograph is asked two yes/no questions, one of each answer; the wrong name is that of another photograph
of the set, so that a name is about as often right as wrong and tells nothing by itself. Questions of held-out sets
depend on the keys alone, whatever the seed, so that scores of several runs compare.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dtbox.conversations import Conversation, ImagePart, Turn
from dtbox.counts import format_count
from dtbox.datasets.base import check_limit, choose_even_subset, hash_fraction
from dtbox.datasets.emoji_questions import CAPTION, CAPTION_QUESTION, NO, YES
from dtbox.datasets.photo_talk import PhotoConversations
from dtbox.errors import InputError
from dtbox.registry import DATASETS
from dtbox.values import Positive

DRAW = 'draw'
IS_IT = 'is_it'
"""Kind of the yes/no questions."""
IS_IT_QUESTION = 'is it a {}?'
NAMED = 'a photo of a {}'


class ClassConversations(PhotoConversations):
    """Base of conversations over the classes of photographs; those without a class are left out.

    Args:
        photographs, pipeline, seed, broken: see `PhotoConversations`.
        each: photographs of a class at most, the first ones; None for all.
        limit: photographs at most, the first of each class and the classes as even as they allow.
        text: made of a class name: the prompt of a drawing, the caption of a photograph.

    Raises:
        InputError: photographs without class names, or what their data set says.
    """

    def __init__(self, photographs: Mapping[str, Any], pipeline: Sequence = (), seed: int = 0, broken: str = 'error',
                 each: Positive | None = None, limit: int | None = None, text: str = NAMED) -> None:
        super().__init__(photographs, pipeline, seed, broken)
        check_limit(limit)
        if text.count('{}') != 1:
            raise InputError(f'`text` is {text!r}; expected a text with {{}} in it, once.', 'text')
        self.text, self.classes = text, tuple(self.photographs.classes)
        self.labels = self._choose(each, limit)

    def _choose(self, each: int | None, limit: int | None) -> np.ndarray:
        """Take the photographs that count; return their classes [n]."""
        labels = read_labels(self.photographs)
        known = np.flatnonzero(labels >= 0)
        if len(known) < len(labels):
            self.note(f'{format_count(len(labels) - len(known), "photograph", "is")} left out: of no class')
        seen: dict[int, int] = {}
        rows = []
        for row in known.tolist():
            label = int(labels[row])
            seen[label] = seen.get(label, 0) + 1
            if each is None or seen[label] <= each:
                rows.append(row)
        rows = [rows[i] for i in choose_even_subset([int(labels[row]) for row in rows], limit)]
        self.take(rows)
        return labels[rows]

    @property
    def texts(self) -> list[str]:
        """Every text that may occur: what a text tokenizer is trained on."""
        return [self.text.format(name) for name in self.classes]

    def contents(self) -> Iterator:
        """See `PairDataset.contents`."""
        yield from super().contents()
        yield self.text


@DATASETS.register_module()
class ClassDraw(ClassConversations):
    """Conversations of the kind 'draw': the name of a photograph's class, then the photograph as a drawn image.

    Args:
        photographs, pipeline, seed, broken, each, limit, text: see `ClassConversations`.
    """

    def sample(self, index: int, rng: np.random.Generator) -> dict:
        """See `ConversationDataset`."""
        shown = self.photographs.sample(int(self.rows[index]), rng)
        prompt = self.text.format(self.classes[int(self.labels[index])])
        turns = Turn('user', (prompt,)), Turn('assistant', (ImagePart(0, generated=True),), DRAW)
        return dict(conversation=Conversation(shown['key'], 'draw', turns, (shown['image'],)), set=shown['set'])


@DATASETS.register_module()
class ClassTalk(ClassConversations):
    """A photograph with independent pairs of question and answer: its class, and two questions for yes and no.

    Args:
        photographs, pipeline, seed, broken, each, limit, text: see `ClassConversations`.
        yes_no: whether it is asked for yes and no; photographs of one class alone never are.
    """

    def __init__(self, photographs: Mapping[str, Any], pipeline: Sequence = (), seed: int = 0, broken: str = 'error',
                 each: Positive | None = None, limit: int | None = None, text: str = NAMED,
                 yes_no: bool = True) -> None:
        super().__init__(photographs, pipeline, seed, broken, each, limit, text)
        self.yes_no = yes_no

    @property
    def texts(self) -> list[str]:
        """See `ClassConversations`."""
        asked = [IS_IT_QUESTION.format(name) for name in self.classes]
        return [*super().texts, CAPTION_QUESTION, *([*asked, YES, NO] if self.yes_no else [])]

    def contents(self) -> Iterator:
        """See `PairDataset.contents`."""
        yield from super().contents()
        yield f'yes_no: {self.yes_no}'

    def choose_wrong(self, index: int, chance: float) -> str | None:
        """Return the class of another photograph of another class; None where there is none.

        Args:
            index: of the photograph that is asked about.
            chance: number in [0, 1) that chooses the other one.
        """
        others = self.labels[self.labels != self.labels[index]]
        return self.classes[int(others[int(chance * len(others))])] if len(others) else None

    def sample(self, index: int, rng: np.random.Generator) -> dict:
        """See `ConversationDataset`."""
        shown = self.photographs.sample(int(self.rows[index]), rng)
        name = self.classes[int(self.labels[index])]
        turns = [Turn('user', (ImagePart(0), CAPTION_QUESTION)),
                 Turn('assistant', (self.text.format(name),), CAPTION)]
        chance = float(rng.random()) if self.is_training() else hash_fraction('is it', shown['key'])
        wrong = self.choose_wrong(index, chance) if self.yes_no else None
        for asked, answer in ((name, YES), (wrong, NO)) if wrong is not None else ():
            turns += [Turn('user', (IS_IT_QUESTION.format(asked),)), Turn('assistant', (answer,), IS_IT)]
        return dict(conversation=Conversation(shown['key'], 'question', tuple(turns), (shown['image'],),
                                              shared_prefix=True), set=shown['set'])


def read_labels(dataset: Any) -> np.ndarray:
    """Return the class of each sample of a data set of images [n] int64, -1 for none; no image is read.

    Raises:
        InputError: a data set without class names.
    """
    labels = getattr(dataset, 'labels', None)
    if labels is None or not dataset.classes:
        raise InputError('the photographs have no classes with names; expected class folders, Caltech-101, or shards '
                         'with members .cls and a classes.txt beside them.', 'photographs')
    return np.asarray(labels, dtype=np.int64)
