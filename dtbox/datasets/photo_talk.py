"""Conversations over photographs of any data set: what they share, and captions."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from dtbox.conversations import Conversation, ImagePart, Turn
from dtbox.counts import format_count
from dtbox.datasets.base import BrokenSample, check_limit
from dtbox.datasets.conversation_dataset import ConversationDataset
from dtbox.datasets.emoji_questions import CAPTION
from dtbox.errors import InputError
from dtbox.registry import DATASETS

DESCRIBE = 'describe the photo'


class PhotoConversations(ConversationDataset):
    """Base of conversations over photographs, one for each.

    Args:
        photographs: config of the data set of the images, without a pipeline.
        pipeline, seed, broken: as in `PairDataset`.
    """

    def __init__(self, photographs: Mapping[str, Any], pipeline: Sequence = (), seed: int = 0,
                 broken: str = 'error') -> None:
        super().__init__(pipeline, seed, broken)
        if photographs.get('pipeline'):
            raise InputError(f'`photographs` has a pipeline, which would not run. Give it to {type(self).__name__}.',
                             'photographs.pipeline')
        self.photographs = DATASETS.build(dict(photographs), where='photographs')
        if isinstance(self.photographs, ConversationDataset):
            raise InputError(f'`photographs` is {type(self.photographs).__name__}, which holds conversations; expected '
                             'a data set of images.', 'photographs')
        self.split = self.photographs.split
        self.notes, self.flaws = list(self.photographs.notes), list(self.photographs.flaws)
        self.take(range(len(self.photographs)))

    def take(self, rows: Sequence[int]) -> None:
        """Take some of the photographs, by their numbers."""
        self.rows, self.size = np.asarray(rows, dtype=np.int64), len(rows)

    def contents(self) -> Iterator:
        """See `PairDataset.contents`."""
        yield self.photographs.fingerprint()
        yield from self.rows.tolist()

    def is_training(self) -> bool:
        """Return whether what is asked differs from epoch to epoch."""
        return self.split == 'train'


@DATASETS.register_module()
class CaptionTalk(PhotoConversations):
    """A photograph and one of its captions: in training another one each time, in evaluation the first, the others
    beside it as right answers.

    Args:
        photographs, pipeline, seed, broken: see `PhotoConversations`; a photograph without a caption is a
            `BrokenSample`, or left out where its data set knows the captions beforehand.
        limit: photographs at most, the first ones.
        question: that asks for a caption.

    Raises:
        InputError: photographs without captions, or what their data set says.
    """

    def __init__(self, photographs: Mapping[str, Any], pipeline: Sequence = (), seed: int = 0, broken: str = 'error',
                 limit: int | None = None, question: str = DESCRIBE) -> None:
        super().__init__(photographs, pipeline, seed, broken)
        check_limit(limit)
        if not self.photographs.has_texts:
            raise InputError('the photographs have no captions; expected a data set with captions.', 'photographs')
        self.question = question
        known = getattr(self.photographs, 'captions', None)
        rows = [i for i in range(len(self.photographs)) if known is None or known[i]]
        if len(rows) < len(self.photographs):
            self.note(f'{format_count(len(self.photographs) - len(rows), "photograph", "is")} left out: without a '
                      'caption')
        self.take(rows[:limit])

    @cached_property
    def texts(self) -> list[str]:
        """Every text that may occur: what a text tokenizer is trained on."""
        data = self.photographs
        if hasattr(data, 'texts_of'):
            return [self.question, *(text for row in self.rows.tolist() for text in data.texts_of(row))]
        known = getattr(data, 'captions', None)
        told = data.texts if known is None else [text for row in self.rows.tolist() for text in known[row]]
        return [self.question, *told]

    def contents(self) -> Iterator:
        """See `PairDataset.contents`."""
        yield from super().contents()
        yield self.question

    def sample(self, index: int, rng: np.random.Generator) -> dict:
        """See `ConversationDataset`."""
        shown = self.photographs.sample(int(self.rows[index]), rng)
        captions = self._list_captions(shown)
        if not captions:
            raise BrokenSample(shown['key'], f'the photograph {shown["key"]} has no caption. Give it one, or leave it '
                                             "out: broken='skip'.")
        first = int(rng.integers(len(captions))) if self.is_training() else 0
        others = () if self.is_training() else tuple(captions[1:])
        turns = (Turn('user', (ImagePart(0), self.question)),
                 Turn('assistant', (captions[first],), CAPTION, others))
        return dict(conversation=Conversation(shown['key'], 'caption', turns, (shown['image'],)), set=shown['set'])

    def _list_captions(self, shown: Mapping[str, Any]) -> list[str]:
        if 'captions' in shown:
            return [text for text in shown['captions'] if text.strip()]
        known = getattr(self.photographs, 'captions_of', None)
        return [text for text in (known(shown['key']) if known else [shown['text']]) if text.strip()]
