"""A model and how it is served: what each address of the server parses, computes and writes. HTTP is in `app.py`."""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Optional

from dtbox.arguments import read_name
from dtbox.errors import InputError, at
from dtbox.serving import work
from dtbox.serving.access import Access
from dtbox.serving.answers import CompletionWriter, DrawingsWriter
from dtbox.serving.images import ImageReader
from dtbox.serving.limits import Limits
from dtbox.serving.requests import parse_body, parse_chat, parse_images


@dataclass(frozen=True)
class Endpoint:
    """An address that computes.

    Attributes:
        parse: content of a request -> ChatRequest or ImageRequest.
        compute: (request, Watch) -> Completion or Drawings.
        make_writer: request -> CompletionWriter or DrawingsWriter.
    """
    parse: Callable[[bytes], Any]
    compute: Callable[[Any, work.Watch], Any]
    make_writer: Callable[[Any], Any]


class Service:
    """A model that is served.

    Args:
        model: MultimodalModel.
        name: that clients call it by.
        limits: see `Limits`.
        access: who may call.
        images_root: folder whose images requests may name; None allows none.

    Attributes:
        endpoints: path -> Endpoint.
        created: seconds since 1970.
    """

    def __init__(self, model: Any, name: str, limits: Optional[Limits] = None, access: Optional[Access] = None,
                 images_root: Optional[str] = None) -> None:
        with at('name'):
            self.name = read_name(name)
            if not self.name or not self.name.isprintable():
                raise InputError(f'the name of the model is {name!r}; expected one that can be printed.')
        self.model, self.limits = model, limits or Limits()
        self.access = access or Access()
        self.created = int(time.time())
        height, width = model.image_size
        self.size = f'{width}x{height}'
        with at('images_root'):
            self.reader = ImageReader(self.limits, model.tokenizer.prepare, images_root)
        self.endpoints = {
            '/v1/chat/completions': Endpoint(
                lambda content: parse_chat(parse_body(content, self.name), self.reader),
                lambda request, watch: work.complete(model, request, watch),
                lambda request: CompletionWriter(self.name, request.n, request.include_usage)),
            '/v1/images/generations': Endpoint(
                lambda content: parse_images(parse_body(content, self.name), self.size, model.model.places,
                                             self.reader),
                lambda request, watch: work.draw(model, request, watch),
                lambda request: DrawingsWriter(self.size))}
