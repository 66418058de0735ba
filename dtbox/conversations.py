"""Conversations: turns of texts and images, as datasets give them and sequences render them.

Shapes: M images of a batch, H and W pixels.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Tuple, Union

from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError, closest
from dtbox.image_codes import BatchCodes

ROLES = ('system', 'user', 'assistant')
KINDS = ('draw', 'caption', 'question', 'chat', 'text')


@dataclass(frozen=True)
class ImagePart:
    """An image within a turn.

    Attributes:
        image: index into the images of the conversation; within a `ConversationBatch`, into those of the batch.
        generated: whether the assistant draws it, so that its codes are targets; otherwise it is given.
    """
    image: int
    generated: bool = False


Part = Union[str, ImagePart]


@dataclass(frozen=True)
class Turn:
    """What one role says.

    Attributes:
        role: 'system', 'user' or 'assistant'.
        parts: texts and images, in order.
        kind: name of the task of an assistant's turn, for scores ('caption', 'skin_tone', ...).
        others: further right answers beside that of an assistant's turn, for scores; they are not learnt.

    Raises:
        InputError: an unknown role, an answer without content, a drawn image outside an answer.
    """
    role: str
    parts: Tuple[Part, ...]
    kind: str = ''
    others: Tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, 'parts', tuple(self.parts))
        object.__setattr__(self, 'others', tuple(self.others))
        if self.role not in ROLES:
            raise InputError(f'a turn has the role {self.role!r}.{closest(self.role, ROLES)} Roles are: '
                             f'{", ".join(ROLES)}.')
        if self.role == 'assistant' and not self.images and not self.text.strip():
            raise InputError('an answer is empty; expected a text or an image. Fill it, or leave its question out.')
        if self.role != 'assistant' and any(part.generated for part in self.images):
            raise InputError(f'a turn of the role {self.role!r} has an image that is drawn; only the assistant draws.')

    @property
    def images(self) -> list[ImagePart]:
        """The images of the turn, in order."""
        return [part for part in self.parts if isinstance(part, ImagePart)]

    @property
    def text(self) -> str:
        """The texts of the turn, joined; '' where it has none."""
        return ''.join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True)
class Conversation:
    """One sample.

    After an optional turn of the system, turns of user and assistant alternate and begin with the user. The kind 'text'
    is the exception: one turn of the assistant, all of which is learnt.

    Attributes:
        key: name of the sample.
        kind: 'draw' (a text, then an image), 'caption', 'question', 'chat' or 'text'.
        turns: in order; the last one may be a question.
        images: uint8 tensors [3, H, W], or `ImageCodes` of images that are known by their codes; empty within a
            `ConversationBatch`, which holds them.
        shared_prefix: one given image in the first question, then independent pairs of question and answer: each sees
            the image and itself only.

    Raises:
        InputError: turns out of order, or an index of an image out of range.
    """
    key: str
    kind: str
    turns: Tuple[Turn, ...]
    images: Tuple[Any, ...] = ()
    shared_prefix: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, 'turns', tuple(self.turns))
        object.__setattr__(self, 'images', tuple(self.images))
        if self.kind not in KINDS:
            raise InputError(f'the conversation {self.key} is of the kind {self.kind!r}.{closest(self.kind, KINDS)} '
                             f'Kinds are: {", ".join(KINDS)}.')
        self._check_order()
        if self.images:
            self._check_images()
        if self.shared_prefix:
            self._check_shared()

    @property
    def parts(self) -> list[ImagePart]:
        """The images of all turns, in order."""
        return [part for turn in self.turns for part in turn.images]

    def questions(self) -> Iterator[Conversation]:
        """Yield each pair of question and answer of a shared prefix as a conversation of its own, the image in each."""
        head, first, *rest = _divide_head(self.turns)
        cut = 1 + next(i for i, part in enumerate(first.parts) if isinstance(part, ImagePart))
        asked = [replace(first, parts=first.parts[cut:]), *rest]
        for question, answer in zip(asked[::2], asked[1::2]):
            turns = (*head, replace(question, parts=(*first.parts[:cut], *question.parts)), answer)
            yield replace(self, turns=turns, shared_prefix=False)

    def renumber(self, number: Mapping[int, int]) -> Conversation:
        """Return the conversation without its own images, its image i under the number `number[i]`."""
        turns = [replace(turn, parts=tuple(replace(part, image=number[part.image]) if isinstance(part, ImagePart)
                                           else part for part in turn.parts)) for turn in self.turns]
        return replace(self, turns=tuple(turns), images=())

    def _check_order(self) -> None:
        roles = [turn.role for turn in self.turns]
        if self.kind == 'text':
            if roles != ['assistant']:
                raise InputError(f'the conversation {self.key} of the kind \'text\' has the turns {roles}; expected '
                                 'one of the assistant.')
            return
        talk = roles[1:] if roles[:1] == ['system'] else roles
        if not talk or talk != [('user', 'assistant')[i % 2] for i in range(len(talk))]:
            raise InputError(f'the conversation {self.key} has the turns {", ".join(roles) or "none"}; expected user '
                             'and assistant in turn, the user first, after an optional system turn.')

    def _check_images(self) -> None:
        used = [part.image for part in self.parts]
        wrong = [i for i in used if not 0 <= i < len(self.images)]
        if wrong:
            raise InputError(f'the conversation {self.key} refers to the image {wrong[0]}, but has '
                             f'{len(self.images)}; the first one is 0.')
        unused = sorted(set(range(len(self.images))) - set(used))
        if unused:
            raise InputError(f'the conversation {self.key} has {format_count(len(self.images), "image")}, but no turn '
                             f'shows image {unused[0]}. Leave it out, or refer to it.')

    def _check_shared(self) -> None:
        parts, turns = self.parts, _divide_head(self.turns)[1:]
        if len(parts) != 1 or parts[0].generated or not turns[0].images:
            raise InputError(f'the conversation {self.key} shares a prefix; expected one given image, in its first '
                             f'question, got {format_count(len(parts), "image")}.')
        if len(turns) % 2:
            raise InputError(f'the conversation {self.key} shares a prefix, and its last question has no answer.')


def _divide_head(turns: tuple[Turn, ...]) -> tuple[Any, ...]:
    """Return (the system's turns, user's turn, assistant's turn, ...)."""
    system = 1 if turns[0].role == 'system' else 0
    return turns[:system], *turns[system:]


@dataclass(frozen=True)
class ConversationBatch:
    """Conversations on their way to the model.

    Attributes:
        images: uint8 [M, 3, H, W], those of all conversations in order; nothing is to be seen on one that is known by
            its codes.
        conversations: without images of their own; `ImagePart.image` counts the images of the batch.
        keys: name of each conversation.
        sets: name of the held-out set of each, or of the part of a mixture.
        epoch_index: (epoch, index) of each: what its random draws depend on, beside `seed`.
        seed: of the dataset.
        broken: a sentence for each sample that could not be read and is not in the batch, or None.
        flaws: a sentence for each part of a sample that was left out, or None.
        placeholder: whether the batch stands for none: a rank without samples takes part in a step that all ranks make.
        codes: of the images that are known by their codes, or None.

    Raises:
        InputError: an index of an image out of range.
    """
    images: Tensor
    conversations: list[Conversation]
    keys: list[str]
    sets: list[str]
    epoch_index: list[tuple[int, int]]
    seed: int = 0
    broken: list[str] | None = None
    flaws: list[str] | None = None
    placeholder: bool = False
    codes: BatchCodes | None = None

    def __post_init__(self) -> None:
        for conversation in self.conversations:
            for part in conversation.parts:
                if not 0 <= part.image < len(self.images):
                    raise InputError(f'the conversation {conversation.key} refers to the image {part.image} of a batch '
                                     f'of {format_count(len(self.images), "image")}.')

    def __len__(self) -> int:
        return len(self.conversations)

    def select(self, rows: Sequence[int]) -> ConversationBatch:
        """Return some conversations with their images; sentences on broken samples stay behind."""
        chosen = [self.conversations[row] for row in rows]
        used = sorted({part.image for conversation in chosen for part in conversation.parts})
        number = {image: i for i, image in enumerate(used)}
        codes = None if self.codes is None else self.codes.select(used)
        return replace(self, images=self.images[used], codes=codes, keys=[self.keys[row] for row in rows],
                       sets=[self.sets[row] for row in rows], epoch_index=[self.epoch_index[row] for row in rows],
                       conversations=[conversation.renumber(number) for conversation in chosen],
                       broken=None, flaws=None)

    @property
    def texts(self) -> list[str]:
        """What is said in each conversation, a turn a line."""
        return ['\n'.join(turn.text for turn in conversation.turns) for conversation in self.conversations]
