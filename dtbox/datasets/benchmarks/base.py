"""What the datasets of benchmarks share: questions about images, each a conversation that ends with a question."""
from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dtbox.conversations import Conversation, ImagePart, Turn
from dtbox.counts import format_count
from dtbox.datasets.base import BrokenSample, check_limit
from dtbox.datasets.conversation_dataset import ConversationDataset
from dtbox.datasets.left_out import name_some
from dtbox.datasets.read import read_image
from dtbox.errors import InputError, at, closest
from dtbox.questions import Prompt, Question

PLAIN = '{question}'
"""The prompt of a benchmark without one of its own."""


class BenchmarkDataset(ConversationDataset):
    """Questions of a benchmark; a subclass reads them and calls `fill`.

    A sample is a conversation whose last turn is the question, its image before it. The right answers are in
    `questions`, not in the conversation.

    Args:
        prompt: how a question is worded, see `Prompt`; protocols set it.
        limit: take the questions of so many groups, the first ones; a question without a group counts as one; None for
            all.
        set: name of the set in the results; None takes that of the benchmark.
        pipeline, seed, broken: as in `PairDataset`; here also images that are missing.
        check_images: look for the image of each question now; not where answers alone are scored.

    Attributes:
        questions: list of Question, in order.
        benchmark: name of the benchmark.
    """
    benchmark = 'benchmark'
    split = 'test'

    def __init__(self, prompt: Any = PLAIN, limit: int | None = None, set: str | None = None, pipeline: Sequence = (),
                 seed: int = 0, broken: str = 'error', check_images: bool = True, **unknown: Any) -> None:
        for name in unknown:
            raise InputError(f'{type(self).__name__} takes no argument `{name}`.{closest(name, list_arguments(self))} '
                             f'It takes: {", ".join(list_arguments(self))}.')
        super().__init__(pipeline, seed, broken)
        check_limit(limit)
        self.limit, self.part = limit, set or self.benchmark
        self.check_images = check_images
        with at('prompt'):
            self.prompt = Prompt.read(prompt)
        self.questions: list[Question] = []
        self.root = Path()
        self._last: tuple[str, Image.Image] | None = None

    def fill(self, questions: Sequence[Question], source: str | os.PathLike, root: str | Path = '') -> None:
        """Take the questions.

        Args:
            questions: all of the file.
            source: the file, for messages.
            root: folder of the images.

        Raises:
            InputError: no questions, two of one id, an image that is missing, a question that the prompt does not fit.
        """
        self.root = Path(root)
        check_unique([question.key for question in questions], f'{source} has two questions with the id')
        if self.limit is not None:
            groups = dict.fromkeys(question.group or question.key for question in questions)
            kept = frozenset(list(groups)[:self.limit])
            questions = [question for question in questions if (question.group or question.key) in kept]
        self.questions = self._find_images(list(questions)) if self.check_images else list(questions)
        if not self.questions:
            raise InputError(f'{source} holds no question that can be asked. '
                             + (self.flaws[0] if self.flaws else 'It is empty.'), 'file')
        for question in self.questions:
            self.prompt.word(question)
        self.size, self.keys = len(self.questions), [question.key for question in self.questions]

    def _find_images(self, questions: list[Question]) -> list[Question]:
        names = {question.image for question in questions if question.image}
        missing = {name for name in names if not os.path.isfile(self.root / name)}
        if missing:
            lost = [question for question in questions if question.image in missing]
            sentence = (f'{format_count(len(missing), "image", "is")} missing in {self.root}: '
                        f'{name_some(sorted(missing))}')
            if self.broken == 'error':
                raise InputError(f'{sentence}. Check `data_root` and `images`, or leave their questions out with '
                                 "broken='skip'.", 'images')
            self.flaws += [f'{question.key}: its image {question.image} is missing' for question in lost]
            self.note(f'{sentence}; {format_count(len(lost), "question", "is")} left out')
        return [question for question in questions if question.image not in missing]

    def open_image(self, question: Question) -> Image.Image:
        """Return the image of a question as PIL RGB; `InputError` where it cannot be read."""
        return read_image(self.root / question.image)

    def sample(self, index: int, rng: np.random.Generator) -> dict:
        """Return the question at `index` as in `ConversationDataset`."""
        question = self.questions[index]
        try:
            image = self._open_once(question)
        except InputError as e:
            raise BrokenSample(question.key, f'{question.key}: {e}') from e
        turn = Turn('user', (ImagePart(0), self.prompt.word(question)))
        return dict(conversation=Conversation(question.key, 'question', (turn,), (image,)), key=question.key,
                    set=self.part)

    def _open_once(self, question: Question) -> Image.Image:
        """Return the image of a question; questions in a row about one image decode it once."""
        if self._last is None or not question.image or self._last[0] != question.image:
            self._last = question.image, self.open_image(question)
        return self._last[1].copy()

    @property
    def sets(self) -> list[str]:
        """Sets of the samples, in order."""
        return [self.part] * len(self)

    @property
    def texts(self) -> list[str]:
        """The questions as they are asked."""
        return [self.prompt.word(question) for question in self.questions]

    def contents(self) -> Iterator[str]:
        """Yield what tells the questions from others; the prompt is a setting of the protocol, and not among it."""
        for question in self.questions:
            yield '\t'.join(map(str, (question.key, question.image, question.text, question.answers,
                                      question.category, dict(question.options), question.hint)))


def list_arguments(dataset: BenchmarkDataset) -> list[str]:
    """Return the names of the arguments of a dataset, its own and those that all share."""
    own = [*inspect.signature(type(dataset).__init__).parameters.values(),
           *inspect.signature(BenchmarkDataset.__init__).parameters.values()]
    return list(dict.fromkeys(p.name for p in own if p.kind is not p.VAR_KEYWORD and p.name != 'self'))


def check_unique(names: Sequence[Any], message: str) -> None:
    """Raise `InputError`, the message with the first name that comes twice at its end, where one does."""
    seen = set()
    for name in names:
        if name in seen:
            raise InputError(f'{message} {name}. Ids must be unique: keep one of them.', 'file')
        seen.add(name)
