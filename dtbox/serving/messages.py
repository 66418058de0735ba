"""OpenAI's messages -> messages of `MultimodalModel.chat`, their images as tensors.

A drawing of the assistant stands in its text as an image of Markdown, `![drawing](data:image/png;base64,...)`, as
answers of this server have it: clients may send such an answer back as it is.
"""
from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dtbox.arguments import describe, iterate
from dtbox.arguments.plain import read_mapping
from dtbox.counts import format_count
from dtbox.errors import InputError, at, closest
from dtbox.serving.images import ImageReader

ROLES = dict(system='system', developer='system', user='user', assistant='assistant')
"""Role of OpenAI -> role of dtbox."""
PARTS = ('text', 'image_url')
_DRAWING = re.compile(r'!\[[^\]\n]*\]\((data:image/[a-zA-Z+.-]+;base64,[A-Za-z0-9+/=]+)\)')


def read_chat(messages: Any, reader: ImageReader) -> list[dict[str, Any]]:
    """Return messages as `MultimodalModel.chat` reads them.

    Args:
        messages: list of dicts `role` and `content`, a text or a list of parts: dict(type='text', text=...) and
            dict(type='image_url', image_url=dict(url=...)).
        reader: of the images.

    Raises:
        InputError: which message is wrong, and how; more texts or images than the limits allow.
    """
    plain: list[tuple[str, list[tuple[str, Any]]]] = []
    for i, message in enumerate(iterate(messages, 'a list of messages, dicts of `role` and `content`')):
        with at(str(i)):
            role, content = _read_role(message)
            with at('content'):
                plain.append((role, list(_read_parts(content, role))))
    if not plain:
        raise InputError('there are no messages; expected at least one, of the role `user`.')
    check_counts([part for _, parts in plain for part in parts], reader)
    read = []
    for i, (role, parts) in enumerate(plain):
        with at(f'{i}.content'):
            kind = 'image_gen' if role == 'assistant' else 'image'
            read.append(dict(role=role, content=[
                dict(type='text', text=value) if name == 'text' else dict(type=kind, image=reader.read(value))
                for name, value in parts]))
    return read


def check_counts(parts: list[tuple[str, Any]], reader: ImageReader) -> None:
    """Raise `InputError` for more images or characters than the limits allow, before any image is read."""
    images = sum(name != 'text' for name, _ in parts)
    if images > reader.limits.images:
        raise InputError(f'there are {format_count(images, "image")}; this server takes {reader.limits.images} of a '
                         f'request. Send '
                         'fewer.')
    check_characters([value for name, value in parts if name == 'text'], reader.limits.characters)


def check_characters(texts: list[str], most: int) -> None:
    """Raise `InputError` for texts that are too long together, or that UTF-8 cannot write."""
    count = sum(map(len, texts))
    if count > most:
        raise InputError(f'the texts have {format_count(count, "character")}; this server takes {most:,} of a '
                         f'request. Shorten them.')
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as e:
            raise InputError(f'the text {text[:60]!r} is not Unicode that can be written as UTF-8.') from e


def _read_role(message: Any) -> tuple[str, Any]:
    values = read_mapping(message, 'a message, a dict of `role` and `content`')
    role = values.get('role')
    if not isinstance(role, str) or role not in ROLES:
        hint = closest(role, ROLES) if isinstance(role, str) else ''
        raise InputError(f'a message has the role {describe(role)}.{hint} Roles are: {", ".join(ROLES)}.', 'role')
    for name in ('tool_calls', 'function_call', 'audio'):
        if values.get(name):
            raise InputError(f'a message has `{name}`, which this model does not read. Leave it out.', name)
    return ROLES[role], values.get('content')


def _read_parts(content: Any, role: str) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a content as ('text', text) or ('image_url', URL)."""
    if isinstance(content, str):
        yield from _split(content) if role == 'assistant' else [('text', content)]
        return
    for i, part in enumerate(iterate(content, 'a text, or a list of parts')):
        with at(str(i)):
            values = read_mapping(part, 'a part, a dict of `type` and what it holds')
            kind = values.get('type')
            if not isinstance(kind, str) or kind not in PARTS:
                raise InputError(f'a part has the type {describe(kind)}; expected one of {", ".join(PARTS)}.')
            value = values.get(kind)
            if kind == 'image_url':
                yield kind, value['url'] if isinstance(value, dict) and 'url' in value else value
            elif not isinstance(value, str):
                raise InputError(f'the text of a part is {describe(value)}; expected a string.')
            else:
                yield from _split(value) if role == 'assistant' else [('text', value)]


def _split(text: str) -> Iterator[tuple[str, str]]:
    """Yield the texts and drawings of what an assistant has said."""
    for i, piece in enumerate(_DRAWING.split(text)):
        if i % 2:
            yield 'image_url', piece
        elif piece.strip():
            yield 'text', piece
