"""Rows of conversation files: LLaVA's `conversations`, OpenAI's `messages`, and plain `text`."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dtbox.arguments import describe
from dtbox.conversations import Conversation, ImagePart, Turn
from dtbox.counts import format_count
from dtbox.errors import InputError, closest

MARK = '<image>'
ROLES = dict(human='user', user='user', gpt='assistant', assistant='assistant', system='system')
"""Role in a file -> role of a turn."""
TYPES = ('text', 'image', 'image_url', 'image_gen')
"""Kinds of parts in a content list."""
IMAGE_KEYS = ('image', 'path', 'image_url', 'image_gen', 'url')
"""Where a part of a content list may name its image."""


@dataclass(frozen=True)
class Row:
    """What a row of a file says.

    Attributes:
        conversation: without images.
        paths: of the images, as the file writes them, in the order in which the conversation counts them.
    """
    conversation: Conversation
    paths: list[str]


def parse_conversation(row: Any, key: str, independent: bool = False) -> Row:
    """Read a row.

    - LLaVA: {"id", "image": path | [paths] | absent, "conversations": [{"from": "human" | "gpt" | "system", "value"}]},
      also "images"; `<image>` in a text stands for the next image, and in the words of "gpt" for one to draw.
    - OpenAI: {"messages": [{"role", "content"}]}, content a text as above or a list of {"type": "text", "text"},
      {"type": "image", "image": path} and {"type": "image_gen", "image": path}; images without a path are the next of
      "images".
    - {"text"}: all of it is learnt.

    White space around an image, and half surrogate pairs, are tidied.

    Args:
        row: the parsed JSON.
        key: of the conversation.
        independent: pairs of question and answer about one image do not see each other (a shared prefix).

    Raises:
        InputError: what is wrong with it.
    """
    if not isinstance(row, Mapping):
        raise InputError(f'expected an object with `conversations`, `messages` or `text`, got {describe(row)}.')
    found = [name for name in ('conversations', 'messages', 'text') if row.get(name) is not None]
    if len(found) != 1:
        raise InputError(f'expected one of `conversations`, `messages` and `text`; got {" and ".join(found) or "none"} '
                         f'among {", ".join(map(str, row)) or "no keys"}.')
    images = _Images(row)
    if found == ['text']:
        turns = [_make_turn('assistant', _read_content(row['text'], 'assistant', images), 1)]
        kind = 'text'
    else:
        names = ('from', 'value') if found == ['conversations'] else ('role', 'content')
        turns = [_read_turn(turn, names, images, i) for i, turn in enumerate(_as_list(row[found[0]], found[0]), 1)]
        kind = ''
    images.check_all_used()
    parts = [part for turn in turns for part in turn.images]
    if not any(turn.role == 'assistant' for turn in turns):
        raise InputError(f'its {format_count(len(turns), "turn")} hold no answer. Add one, or leave it out.')
    pairs = [turn for turn in turns if turn.role != 'system']
    shared = (independent and len(parts) == 1 and bool(pairs[0].images) and len(pairs) > 2 and len(pairs) % 2 == 0
              and not kind)
    conversation = Conversation(key, kind or _find_kind(pairs, shared), tuple(turns), shared_prefix=shared)
    return Row(conversation, images.used)


class _Images:
    """The images of a row, handed out in the order in which its turns show them."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        both = [name for name in ('image', 'images') if row.get(name) is not None]
        if len(both) > 1:
            raise InputError('it has both `image` and `images`. Keep one.')
        value = row[both[0]] if both else []
        self.listed = [_read_path(path) for path in (value if isinstance(value, list) else [value])]
        self.used: list[str] = []
        self.marks = 0

    def take(self, path: str | None, generated: bool) -> ImagePart:
        """Return the next image, that of the list where `path` is None."""
        if path is None:
            self.marks += 1
            path = self.listed[self.marks - 1] if self.marks <= len(self.listed) else ''
        self.used.append(path)
        return ImagePart(len(self.used) - 1, generated)

    def check_all_used(self) -> None:
        """Raise `InputError` unless the turns show as many images as the list names."""
        if self.marks != len(self.listed):
            raise InputError(f'it names {format_count(len(self.listed), "image")} and shows {self.marks} ({MARK} in a '
                             'text, or a part without a path). Make them agree.')


def _read_turn(turn: Any, names: tuple[str, str], images: _Images, number: int) -> Turn:
    if not isinstance(turn, Mapping) or not set(names) <= set(turn):
        raise InputError(f'turn {number} is {describe(turn)}; expected an object with `{names[0]}` and `{names[1]}`.')
    said, content = (turn[name] for name in names)
    role = ROLES.get(said) if isinstance(said, str) else None
    if role is None:
        raise InputError(f'turn {number} has the role {said!r}.{closest(said, ROLES)} Roles are: {", ".join(ROLES)}.')
    return _make_turn(role, _read_content(content, role, images), number)


def _make_turn(role: str, parts: list[str | ImagePart], number: int) -> Turn:
    try:
        return Turn(role, tuple(parts))
    except InputError as e:
        raise InputError(f'turn {number}: {e}') from e


def _read_content(content: Any, role: str, images: _Images) -> list[str | ImagePart]:
    """Return the parts of a turn; texts around an image lose the white space there, empty ones are left out."""
    parts: list[str | ImagePart] = []
    if isinstance(content, str):
        for i, text in enumerate(content.split(MARK)):
            parts += [images.take(None, role == 'assistant')] if i else []
            parts.append(text)
    else:
        parts = [_read_part(part, images) for part in _as_list(content, 'content')]
    if any(isinstance(part, ImagePart) for part in parts):
        parts = [part.strip() if isinstance(part, str) else part for part in parts]
    return [part.encode('utf-8', 'replace').decode() if isinstance(part, str) else part for part in parts if part != '']


def _read_part(part: Any, images: _Images) -> str | ImagePart:
    kind = part.get('type') if isinstance(part, Mapping) else None
    if kind not in TYPES:
        raise InputError(f'a content list holds {describe(part)}; expected objects whose `type` is one of '
                         f'{", ".join(TYPES)}.')
    if kind == 'text':
        if not isinstance(part.get('text'), str):
            raise InputError(f'a part of the type \'text\' has the text {describe(part.get("text"))}; expected a '
                             'string.')
        return part['text']
    place = next((part[name] for name in IMAGE_KEYS if part.get(name) is not None), None)
    place = place.get('url') if isinstance(place, Mapping) else place
    return images.take(None if place is None else _read_path(place), kind == 'image_gen')


def _read_path(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(f'an image is {describe(value)}; expected the path of a file.')
    if value.startswith(('http://', 'https://', 'data:')):
        raise InputError(f'the image {value[:60]} is not a file. Save it, and give its path.')
    return value


def _as_list(value: Any, name: str) -> list:
    if not isinstance(value, list):
        raise InputError(f'`{name}` is {describe(value)}; expected a list.')
    return value


def _find_kind(pairs: list[Turn], shared: bool) -> str:
    """Return the kind of a conversation, without the system's turn."""
    if len(pairs) == 2 and not pairs[0].images and pairs[1].images and not pairs[1].text:
        return 'draw'
    return 'question' if shared or len(pairs) == 2 and pairs[0].images and not pairs[1].images else 'chat'
