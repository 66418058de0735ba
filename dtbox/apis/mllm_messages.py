"""Messages of a chat as a caller hands them in: OpenAI's content lists, images anywhere.

    [{"role": "user", "content": [{"type": "image", "image": "cat.png"}, {"type": "text", "text": "what is it?"}]}]
"""
from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dtbox.arguments import describe, iterate
from dtbox.arguments.plain import read_mapping
from dtbox.conversations import ROLES, Conversation, ImagePart, Turn
from dtbox.counts import format_count
from dtbox.datasets import read_image
from dtbox.errors import InputError, at, closest

TYPES = ('text', 'image', 'image_url', 'image_gen')
"""Kinds of parts in a content list."""
KEY = 'of these messages'
"""What messages call the conversation."""


def read_messages(messages: Any, prepare: Callable[[Any], Tensor]) -> tuple[Conversation, Tensor | None]:
    """Return messages as a conversation that ends with a question, and its images.

    Args:
        messages: list of dicts `role` ('system', 'user', 'assistant') and `content`: a text, or a list of texts and of
            dicts `type` 'text' (`text`), 'image' (`image`: a PIL image, an array uint8 [H,W,3], a path, a tensor
            [3,H,W]), 'image_url' (`url`: a path or data:) and 'image_gen', an image that the assistant has drawn, as
            all of its images are.
        prepare: images -> tensor [M,3,H,W].

    Returns:
        (Conversation, images [M,3,H,W] or None where there are none).

    Raises:
        InputError: which message is wrong, and how.
    """
    images: list[Tensor] = []
    turns = []
    for i, message in enumerate(iterate(messages, 'a list of messages, dicts of `role` and `content`')):
        with at(str(i)):
            turns.append(_read_message(message, images, prepare))
    if turns and turns[-1].role == 'assistant':
        raise InputError('the last message is the assistant\'s; expected a question of the user there.')
    return Conversation(KEY, 'chat', tuple(turns)), torch.cat(images) if images else None


def _read_message(message: Any, images: list[Tensor], prepare: Callable[[Any], Tensor]) -> Turn:
    values = read_mapping(message, 'a message, a dict of `role` and `content`')
    if 'role' not in values or 'content' not in values:
        raise InputError(f'a message has the keys {", ".join(values)[:80] or "none"}; expected `role` and `content`.')
    role = values['role']
    if not isinstance(role, str) or role not in ROLES:
        hint = closest(role, ROLES) if isinstance(role, str) else ''
        raise InputError(f'a message has the role {describe(role)}.{hint} Roles are: {", ".join(ROLES)}.')
    content = values['content']
    given = [content] if isinstance(content, str) else iterate(content, 'a text, or a list of texts and images')
    parts: list[str | ImagePart] = []
    for part in given:
        found = part if isinstance(part, str) else _read_part(part)
        if isinstance(found, str):
            parts.append(str(found))
            continue
        value = found.value
        with at('image'):
            ready = prepare([value] if isinstance(value, Tensor) and value.ndim == 3 else value)
        if len(ready) != 1:
            raise InputError(f'a part of a message holds {format_count(len(ready), "image")}; expected one. Use a '
                             'part for each.')
        parts.append(ImagePart(len(images), role == 'assistant' or found.generated))
        images.append(ready)
    tidy = [part.strip() if isinstance(part, str) and len(parts) > 1 else part for part in parts]
    tidy = [part for part in tidy if part != '']
    if not any(isinstance(part, ImagePart) or part.strip() for part in tidy):
        raise InputError(f'the message of the role {role!r} is empty; expected a text or an image.')
    return Turn(role, tuple(tidy))


class _Given:
    """An image as it came, and whether it was drawn."""

    def __init__(self, value: Any, generated: bool) -> None:
        self.value, self.generated = value, generated


def _read_part(part: Any) -> str | _Given:
    values = read_mapping(part, f'a text, or a dict whose `type` is one of {", ".join(TYPES)}')
    kind = values.get('type')
    if not isinstance(kind, str) or kind not in TYPES:
        raise InputError(f'a part of a message has the type {describe(kind)}; expected one of {", ".join(TYPES)}.')
    name = 'image' if kind == 'image_gen' else kind
    if values.get(name) is None:
        raise InputError(f'a part of the type `{kind}` has no `{name}`; it has {", ".join(values)[:80]}.')
    value = values[name]
    if kind == 'text':
        if not isinstance(value, str):
            raise InputError(f'a part of the type `text` has the text {describe(value)}; expected a string.')
        return value
    if kind == 'image_url':
        value = _read_url(value['url'] if isinstance(value, dict) and 'url' in value else value)
    return _Given(value, kind == 'image_gen')


def _read_url(url: Any) -> Any:
    """Return the image of a `data:` URL, or the path of a file."""
    if not isinstance(url, str) or not url.startswith(('data:', 'http:', 'https:')):
        return url.removeprefix('file://') if isinstance(url, str) else url
    if not url.startswith('data:'):
        raise InputError(f'the image {url[:80]} lies on the network, from where dtbox fetches nothing. Save it, and '
                         'give its path.')
    try:
        content = base64.b64decode(url.partition('base64,')[2], validate=True)
    except (binascii.Error, ValueError) as e:
        raise InputError(f'the image {url[:40]}... is not written in base64 ({e}).') from e
    return read_image(io.BytesIO(content))
