"""Conversations over Twemoji: names that are drawn, and emoji that are named and asked about.

Drawing takes the plain view alone: the name says nothing about background, place and size. Understanding takes several
views of an emoji, of which these three are asked (`emoji_questions`, `emoji_views`). Held-out sets have one fixed view
and fixed questions, whatever the seed, so that scores of several runs compare.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache

import numpy as np

from dtbox.conversations import Conversation, ImagePart, Turn
from dtbox.datasets.base import pick_caption
from dtbox.datasets.conversation_dataset import ConversationDataset
from dtbox.datasets.emoji_canvas import fill_canvas
from dtbox.datasets.emoji_questions import (
    CAPTION,
    CAPTION_QUESTION,
    QUESTIONS,
    answer_from_name,
    choose_yes_no,
)
from dtbox.datasets.emoji_views import View, balance_views, draw_view, render_view
from dtbox.datasets.twemoji import Emoji, Twemoji, find_split, load_pairs
from dtbox.errors import InputError, closest
from dtbox.registry import DATASETS
from dtbox.values import Positive

DRAW = 'draw'
BLANK = (128, 128, 128)
"""Colour of the image that shows nothing."""


class EmojiConversations(ConversationDataset):
    """Base of conversations over emoji, one for each.

    Args:
        split: as in `Twemoji`.
        seed: of everything random.
        limit: as in `Twemoji`.
        aliases: call an emoji by its name or one of its aliases, drawn from (seed, epoch, index); for training.
        size: side of the images in pixels.
    """

    def __init__(self, split: str, seed: int, limit: int | None, aliases: bool, size: Positive) -> None:
        super().__init__([dict(type='PackImage')], seed)
        self.emoji = Twemoji(split, limit=limit, aliases=aliases)
        self.split, self.aliases = split, aliases
        self.size, self.image_size = len(self.emoji), size

    @property
    def keys(self) -> list[str]:
        """Keys of the emoji, in order."""
        return self.emoji.keys

    @property
    def sets(self) -> list[str]:
        """Sets of the emoji, in order."""
        return self.emoji.sets

    @property
    def texts(self) -> list[str]:
        """Every text that may occur: what a text tokenizer is trained on."""
        return self.emoji.texts

    def contents(self) -> Iterator:
        """See `PairDataset.contents`."""
        yield from super().contents()
        yield f'{self.image_size} pixels'

    def name_of(self, emoji: Emoji, rng: np.random.Generator) -> str:
        """Return what an emoji is called in this sample."""
        return pick_caption(emoji.captions, rng if self.aliases else None)


@DATASETS.register_module()
class TwemojiDraw(EmojiConversations):
    """Conversations of the kind 'draw': the name of an emoji, then its plain view as a drawn image.

    Args:
        split, seed, limit, aliases, size: see `EmojiConversations`.
        shuffled: give each image the name of another emoji, always the same other one: a control, from which nothing
            about names can be learnt.
    """

    def __init__(self, split: str = 'train', seed: int = 0, limit: int | None = None, aliases: bool = False,
                 size: Positive = 64, shuffled: bool = False) -> None:
        super().__init__(split, seed, limit, aliases, size)
        self.shuffled = shuffled
        self._named = _derange(self.size) if shuffled else list(range(self.size))

    def contents(self) -> Iterator:
        """See `PairDataset.contents`."""
        yield from super().contents()
        yield f'shuffled: {self.shuffled}'

    def sample(self, index: int, rng: np.random.Generator) -> dict:
        """See `ConversationDataset`."""
        part, emoji = self.emoji.samples[index]
        prompt = self.name_of(self.emoji.samples[self._named[index]][1], rng)
        turns = Turn('user', (prompt,)), Turn('assistant', (ImagePart(0, generated=True),), DRAW)
        image = render_view(emoji.path, None, self.image_size)
        return dict(conversation=Conversation(emoji.key, 'draw', turns, (image,)), set=part)


@DATASETS.register_module()
class TwemojiTalk(EmojiConversations):
    """One view of an emoji with independent pairs of question and answer: its name, and what `QUESTIONS` lists.

    In training the view is number `epoch % views` of the emoji. Each view has the same pixels whenever it is shown.

    Args:
        split, seed, limit, aliases, size: see `EmojiConversations`.
        views: different views of an emoji in training.
        questions: most questions about an emoji beside its name; where more apply, training draws among them, and
            evaluation takes the first ones of `kinds`.
        kinds: names of the questions that may be asked; None for all of `QUESTIONS`.
        plain: whether views are plain: on white, centred, of full size. None: the first view in training is, no
            held-out one is; True: all are; False: none is. A plain view is not asked about.
        blank: show a grey image instead of the view: a control, whose answers are worth the majority answer.

    Attributes:
        answers: kind -> answer of the questions that a name answers, of each emoji.

    Raises:
        InputError: an unknown kind, or what `Twemoji` says.
    """

    def __init__(self, split: str = 'train', seed: int = 0, limit: int | None = None, aliases: bool = False,
                 size: Positive = 64, views: Positive = 4, questions: int = 7, kinds: Sequence[str] | None = None,
                 plain: bool | None = None, blank: bool = False) -> None:
        super().__init__(split, seed, limit, aliases, size)
        self.views, self.questions = views, questions
        self.kinds = tuple(QUESTIONS) if kinds is None else tuple(kinds)
        self.plain, self.blank = plain, blank
        unknown = [kind for kind in self.kinds if kind not in QUESTIONS]
        if unknown:
            raise InputError(f'there is no kind of question `{unknown[0]}`.{closest(unknown[0], QUESTIONS)} There are: '
                             f'{", ".join(QUESTIONS)}.', 'kinds')
        if questions < 0:
            raise InputError(f'`questions` is {questions}, the most questions about an emoji; expected an int >= 0.',
                             'questions')

    @property
    def texts(self) -> list[str]:
        """See `EmojiConversations`."""
        asked = [QUESTIONS[kind] for kind in self.kinds]
        return [*self.emoji.texts, CAPTION_QUESTION, *(text for q in asked for text in (q.text, *q.answers))]

    def contents(self) -> Iterator:
        """See `PairDataset.contents`."""
        yield from super().contents()
        yield f'{self.views} views, {self.questions} questions, plain: {self.plain}, blank: {self.blank}'

    @cached_property
    def answers(self) -> list[dict[str, str]]:
        """See the class."""
        found = [answer_from_name(emoji.captions[0]) for _, emoji in self.emoji.samples]
        known = [emoji.captions[0] for emoji in load_pairs()]
        for part in dict.fromkeys(self.sets):
            names = {emoji.key: emoji.captions[0] for name, emoji in self.emoji.samples if name == part}
            places = {key: i for i, key in enumerate(self.keys)}
            for kind, asked in choose_yes_no(names, known).items():
                for key, answer in asked.items():
                    found[places[key]][kind] = answer
        return found

    def view_of(self, index: int, epoch: int) -> View | None:
        """Return the view of an emoji in an epoch; None for the plain one."""
        (part, emoji), training = self.emoji.samples[index], self.split == 'train'
        number = epoch % self.views if training else 0
        if self.plain or self.plain is None and training and number == 0:
            return None
        if training:
            return draw_view(emoji.key, number, self.seed)
        return draw_view(emoji.key, number, names=_balance_set(part)[emoji.key])

    def sample(self, index: int, rng: np.random.Generator) -> dict:
        """See `ConversationDataset`: the sample of the first epoch."""
        return self.sample_of_epoch(0, index, rng)

    def sample_of_epoch(self, epoch: int, index: int, rng: np.random.Generator) -> dict:
        """See `PairDataset`."""
        part, emoji = self.emoji.samples[index]
        view = self.view_of(index, epoch)
        answers = {**self.answers[index], **(view.answers if view else {})}
        asked = [kind for kind in self.kinds if kind in answers]
        if len(asked) > self.questions:
            chosen = rng.permutation(len(asked)) if self.split == 'train' else np.arange(len(asked))
            asked = [asked[i] for i in chosen[:self.questions]]
        name = self.name_of(emoji, rng)
        turns = [Turn('user', (ImagePart(0), CAPTION_QUESTION)), Turn('assistant', (name,), CAPTION)]
        for kind in asked:
            turns += [Turn('user', (QUESTIONS[kind].text,)), Turn('assistant', (answers[kind],), kind)]
        size = self.image_size
        image = fill_canvas(size, BLANK) if self.blank else render_view(emoji.path, view, size)
        return dict(conversation=Conversation(emoji.key, 'question', tuple(turns), (image,), shared_prefix=True),
                    set=part)


@lru_cache(maxsize=None)
def _balance_set(part: str) -> dict[str, tuple[str, str, str]]:
    """Names of the views of a whole set, whatever part of it is read."""
    return balance_views([emoji.key for emoji in load_pairs() if find_split(emoji) == part])


def _derange(size: int) -> list[int]:
    """Return a fixed permutation of `size` numbers that leaves none in its place, where there are two or more."""
    order = np.random.default_rng(size).permutation(size)
    partner = np.empty(size, dtype=np.int64)
    partner[order] = np.roll(order, 1)
    return partner.tolist()
