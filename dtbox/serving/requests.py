"""Bodies of requests -> dataclasses. What would change an answer and is not supported is refused by name."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from dtbox.arguments import allow_none, describe, read_choice, read_count, read_flag, read_number
from dtbox.arguments.plain import read_mapping
from dtbox.errors import InputError, at, closest
from dtbox.files import parse_json
from dtbox.serving.images import ImageReader
from dtbox.serving.messages import check_characters, read_chat
from dtbox.serving.refusals import NOT_FOUND, Refusal

IGNORED = ('user', 'metadata', 'store', 'service_tier', 'safety_identifier', 'prompt_cache_key', 'parallel_tool_calls',
           'model')
"""Entries that change no answer, and `model`, which is checked by itself."""
NEUTRAL: dict[str, tuple[Any, ...]] = dict(
    frequency_penalty=(0,), presence_penalty=(0,), logit_bias=({},), logprobs=(False,), top_logprobs=(0,),
    stop=([], ''), tools=([],), tool_choice=('none', 'auto'), functions=([],), function_call=('none', 'auto'),
    response_format=({'type': 'text'},), audio=(), prediction=(), reasoning_effort=('none',), web_search_options=())
"""Entry that is not supported -> its values that change nothing; null is one of each."""
NEUTRAL_IMAGES: dict[str, tuple[Any, ...]] = dict(
    quality=('auto', 'standard'), style=(), background=('auto', 'opaque'), moderation=('auto', 'low'),
    output_format=('png',), output_compression=(100,), response_format=('b64_json',))
TEXT, IMAGE = 'text', 'image'
"""Modalities of an answer."""
READERS: dict[str, Callable[[Any], Any]] = dict(
    max_tokens=read_count(), max_completion_tokens=read_count(), temperature=read_number(0),
    top_p=read_number(0, 1, above=True), top_k=read_count(), seed=read_count(0), stream=read_flag, scale=read_number())


@dataclass(frozen=True)
class ChatRequest:
    """A request of /v1/chat/completions.

    Attributes:
        messages: as `MultimodalModel.chat` reads them.
        settings: `max_tokens`, `temperature`, `top_k`, `top_p`, where they are given.
        seed: of the first answer; answer i has seed + i.
        n: number of answers.
        modalities: of the answer: text, text and image where the model begins one, or one image.
        stream: send the answer while it is generated.
        include_usage: end a stream with the counts.
    """
    messages: list[dict[str, Any]]
    settings: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    n: int = 1
    modalities: frozenset[str] = frozenset((TEXT, IMAGE))
    stream: bool = False
    include_usage: bool = False


@dataclass(frozen=True)
class ImageRequest:
    """A request of /v1/images/generations.

    Attributes:
        prompt: text.
        settings: `scale`, `temperature`, `top_k`, `top_p`, where they are given.
        seed: of all drawings.
        n: number of drawings.
        stream: send the drawings while they grow.
        partial_images: previews of each drawing in a stream; None for one after each place.
    """
    prompt: str
    settings: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    n: int = 1
    stream: bool = False
    partial_images: Optional[int] = None


def parse_body(content: bytes, model: str) -> dict[str, Any]:
    """Return the JSON object of a request to a model of a name.

    Raises:
        InputError: no JSON object.
        Refusal: it names another model.
    """
    try:
        body = parse_json(content)
    except ValueError as e:
        raise InputError(f'the request is not JSON ({str(e)[:160]}).') from e
    values = read_mapping(body, 'a JSON object')
    if values.get('model', model) != model:
        raise Refusal(NOT_FOUND, f'this server has no model {describe(values["model"])}; it has {model!r}.', 'model',
                      'model_not_found')
    return values


def parse_chat(body: Mapping[str, Any], reader: ImageReader) -> ChatRequest:
    """Return a request of /v1/chat/completions; `InputError` for what is wrong with it."""
    given = _read(body, ('max_tokens', 'max_completion_tokens', 'temperature', 'top_p', 'top_k', 'seed', 'stream'),
                  NEUTRAL, ('messages', 'n', 'modalities', 'stream_options'))
    limits = reader.limits
    longest = given.pop('max_completion_tokens', None)
    if longest is not None and given.setdefault('max_tokens', longest) != longest:
        raise InputError(f'`max_tokens` is {given["max_tokens"]} and `max_completion_tokens` {longest}; expected one '
                         'of them.', 'max_tokens')
    with at('n'):
        n = allow_none(read_count(1, limits.choices))(body.get('n')) or 1
    with at('modalities'):
        modalities = _read_modalities(body.get('modalities'))
    with at('stream_options'):
        usage = _read_stream_options(body.get('stream_options'))
    if body.get('messages') is None:
        raise InputError('the request has no messages.', 'messages')
    with at('messages'):
        messages = read_chat(body['messages'], reader)
        if modalities == {IMAGE}:
            _find_prompt(messages)
    own = dict(seed=given.pop('seed', 0), stream=given.pop('stream', False))
    return ChatRequest(messages, given, n=n, modalities=modalities, include_usage=usage, **own)


def parse_images(body: Mapping[str, Any], size: str, places: int, reader: ImageReader) -> ImageRequest:
    """Return a request of /v1/images/generations; `InputError` for what is wrong with it.

    Args:
        body: of the request.
        size: WIDTHxHEIGHT of the model's drawings.
        places: of a drawing.
        reader: whose limits hold.
    """
    given = _read(body, ('scale', 'temperature', 'top_p', 'top_k', 'seed', 'stream'), NEUTRAL_IMAGES,
                  ('prompt', 'n', 'size', 'partial_images'))
    limits = reader.limits
    with at('n'):
        n = allow_none(read_count(1, limits.choices))(body.get('n')) or 1
    with at('size'):
        allow_none(read_choice('auto', size))(body.get('size'))
    with at('partial_images'):
        partial = allow_none(read_count(0, places - 1))(body.get('partial_images'))
    prompt = body.get('prompt')
    with at('prompt'):
        if not isinstance(prompt, str) or not prompt.strip():
            raise InputError(f'the prompt is {describe(prompt)}; expected a text.')
        check_characters([prompt], limits.characters)
    own = dict(seed=given.pop('seed', 0), stream=given.pop('stream', False))
    return ImageRequest(prompt, given, n=n, partial_images=partial, **own)


def find_prompt(request: ChatRequest) -> str:
    """Return the text that a request whose answer is one image asks to draw."""
    return _find_prompt(request.messages)


def _find_prompt(messages: list[dict[str, Any]]) -> str:
    parts = messages[-1]['content']
    if len(messages) != 1 or messages[0]['role'] != 'user' or any(part['type'] != 'text' for part in parts):
        raise InputError('the modality `image` alone draws one text; expected one message, of the role `user`, without '
                         'images. Leave `modalities` out for a conversation.')
    return '\n'.join(part['text'] for part in parts)


def _read(body: Mapping[str, Any], names: tuple[str, ...], neutral: Mapping[str, tuple[Any, ...]],
          others: tuple[str, ...]) -> dict[str, Any]:
    """Return the entries `names` that are given, read; `InputError` for entries that are not supported."""
    known = (*names, *others, *neutral, *IGNORED)
    for name, value in body.items():
        if name not in known:
            raise InputError(f'there is no such entry.{closest(name, known)}', name[:80])
        if name in neutral and value is not None and value not in neutral[name]:
            allowed = f'; expected {" or ".join(map(repr, neutral[name]))}' if neutral[name] else ''
            raise InputError(f'got {describe(value)}, which this model cannot follow{allowed}. Leave it out.', name)
    found = {}
    for name in names:
        if body.get(name) is not None:
            with at(name):
                found[name] = READERS[name](body[name])
    return found


def _read_modalities(value: Any) -> frozenset[str]:
    if value is None:
        return frozenset((TEXT, IMAGE))
    if not isinstance(value, list) or not value or any(one not in (TEXT, IMAGE) for one in value):
        raise InputError(f'got {describe(value)}; expected a list of {TEXT!r} and {IMAGE!r}.')
    return frozenset(value)


def _read_stream_options(value: Any) -> bool:
    if value is None:
        return False
    options = read_mapping(value, 'a dict')
    with at('include_usage'):
        return bool(allow_none(read_flag)(options.get('include_usage')))
