"""Results as JSON and as server-sent events, in OpenAI's form."""
from __future__ import annotations

import json
import time
import uuid
from typing import Any, Optional

from dtbox.serving.images import write_base64
from dtbox.serving.refusals import Refusal
from dtbox.serving.work import Completion, Delta, Drawings, Places, Preview

DONE = 'data: [DONE]\n\n'
OBJECT = 'chat.completion'


def write_event(values: dict[str, Any], name: str = '') -> str:
    """Return an event of a stream."""
    head = f'event: {name}\n' if name else ''
    return f'{head}data: {json.dumps(values, ensure_ascii=False)}\n\n'


def write_error(refusal: Refusal) -> str:
    """Return the event that ends a stream which cannot be completed."""
    return write_event(refusal.to_json())


def list_models(name: str, created: int) -> dict[str, Any]:
    """Return the answer of /v1/models."""
    return dict(object='list', data=[describe_model(name, created)])


def describe_model(name: str, created: int) -> dict[str, Any]:
    """Return the answer of /v1/models/NAME."""
    return dict(id=name, object='model', created=created, owned_by='dtbox')


def count_usage(result: Completion) -> dict[str, int]:
    """Return the counts of a completion: places, of which a text token takes one and an image as many as it has."""
    return dict(prompt_tokens=result.given, completion_tokens=result.generated,
                total_tokens=result.given + result.generated)


class CompletionWriter:
    """Writes the answer to one request of a chat.

    Args:
        model: its name.
        n: number of answers.
        include_usage: end a stream with the counts.
    """

    def __init__(self, model: str, n: int = 1, include_usage: bool = False) -> None:
        self.n, self.include_usage = n, include_usage
        self.head = dict(id=f'chatcmpl-{uuid.uuid4().hex}', created=int(time.time()), model=model)

    def write(self, result: Completion) -> dict[str, Any]:
        """Return the whole answer."""
        choices = [dict(index=i, message=dict(role='assistant', content=choice.content, refusal=None), logprobs=None,
                        finish_reason=_name_end(choice.ended)) for i, choice in enumerate(result.choices)]
        return dict(self.head, object=OBJECT, choices=choices, usage=count_usage(result))

    def begin(self) -> str:
        """Return the first events of a stream."""
        return ''.join(self._chunk(i, dict(role='assistant', content='')) for i in range(self.n))

    def tell(self, event: Any) -> str:
        """Return the event of a `Delta`; a comment, which clients skip, of `Places`."""
        if isinstance(event, Delta):
            return self._chunk(event.choice, dict(content=event.text))
        assert isinstance(event, Places)
        return f': place {event.done} of {event.total}\n\n'

    def end(self, result: Completion) -> str:
        """Return the last events of a stream."""
        events = [self._chunk(i, {}, _name_end(choice.ended)) for i, choice in enumerate(result.choices)]
        if self.include_usage:
            events.append(write_event(self._wrap([], count_usage(result))))
        return ''.join(events) + DONE

    def _chunk(self, index: int, delta: dict[str, Any], end: Optional[str] = None) -> str:
        return write_event(self._wrap([dict(index=index, delta=delta, logprobs=None, finish_reason=end)], None))

    def _wrap(self, choices: list[dict[str, Any]], usage: Optional[dict[str, int]]) -> dict[str, Any]:
        values = dict(self.head, object=f'{OBJECT}.chunk', choices=choices)
        return dict(values, usage=usage) if self.include_usage else values


def _name_end(ended: bool) -> str:
    return 'stop' if ended else 'length'


class DrawingsWriter:
    """Writes the answer to one request of drawings.

    Args:
        size: WIDTHxHEIGHT of the drawings.
    """

    def __init__(self, size: str) -> None:
        self.size = size
        self.created = int(time.time())
        self.about = dict(output_format='png', size=size, quality='auto', background='opaque')

    def write(self, result: Drawings) -> dict[str, Any]:
        """Return the whole answer."""
        return dict(created=self.created, data=[dict(b64_json=write_base64(png)) for png in result.images],
                    output_format='png', size=self.size, usage=self._count(result))

    def begin(self) -> str:
        """Return the first events of a stream: none."""
        return ''

    def tell(self, event: Any) -> str:
        """Return the event of a `Preview`."""
        assert isinstance(event, Preview)
        return self._event('partial_image', event.png, partial_image_index=event.number, image_index=event.image)

    def end(self, result: Drawings) -> str:
        """Return the last events of a stream, one for each drawing."""
        events = [self._event('completed', png, usage=self._count(result), image_index=i)
                  for i, png in enumerate(result.images)]
        return ''.join(events) + DONE

    def _event(self, kind: str, png: bytes, **more: Any) -> str:
        name = f'image_generation.{kind}'
        return write_event(dict(self.about, type=name, b64_json=write_base64(png), created_at=self.created, **more),
                           name)

    def _count(self, result: Drawings) -> dict[str, Any]:
        return dict(input_tokens=result.given, output_tokens=result.generated,
                    total_tokens=result.given + result.generated,
                    input_tokens_details=dict(image_tokens=0, text_tokens=result.given),
                    output_tokens_details=dict(image_tokens=result.generated, text_tokens=0))
