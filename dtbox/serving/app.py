"""The FastAPI application: addresses, bodies of requests, streams. What they hold is in the other modules."""
from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from dtbox.errors import InputError, need_package
from dtbox.serving.answers import describe_model, list_models, write_error
from dtbox.serving.calls import Admission, Call, HungUp, make_timeout
from dtbox.serving.jobs import Done, Worker
from dtbox.serving.refusals import NOT_FOUND, TOO_LARGE, WRONG_MEDIA, Refusal, explain
from dtbox.serving.service import Endpoint, Service

JSON, EVENTS = 'application/json', 'text/event-stream'
PARSERS = 2
"""Requests that are parsed at a time."""
DISCARDED = 10
"""A request that is too large is read to its end, that its client reads the answer: up to so many times the limit."""
PATIENCE = 5
"""Seconds that answers have to end once the server is stopped."""
CLOSED = 499
"""Status that nobody reads: the client has gone."""


def build_app(service: Service) -> Any:
    """Return the FastAPI application of a service.

    Raises:
        InputError: FastAPI is not installed.
    """
    fastapi = need_package('fastapi', 'serve', 'dtbox serve')
    from starlette.exceptions import HTTPException

    server = Server(service)
    app = fastapi.FastAPI(title='dtbox', docs_url=None, redoc_url=None, openapi_url=None, lifespan=server.live)
    app.add_route('/v1/models', server.list_models, methods=['GET'])
    app.add_route('/v1/models/{name:path}', server.describe_model, methods=['GET'])
    for path, endpoint in service.endpoints.items():
        app.add_route(path, partial(server.answer, endpoint), methods=['POST'])
    for kind in (Refusal, InputError, Exception):
        app.add_exception_handler(kind, server.refuse)
    app.add_exception_handler(HTTPException, server.refuse_address)
    return app


class Server:
    """The handlers of a service.

    Args:
        service: the service.
    """

    def __init__(self, service: Service) -> None:
        self.service, self.limits = service, service.limits
        self.worker = Worker()
        self.admission = Admission(self.limits.waiting)
        self.parsers = asyncio.Semaphore(PARSERS)

    @contextlib.asynccontextmanager
    async def live(self, app: Any) -> AsyncIterator[None]:
        """Let the worker end with the application."""
        try:
            yield
        finally:
            self.worker.stop()
            await asyncio.to_thread(self.worker.thread.join, PATIENCE)  # torch must not compute in a process that ends

    def check(self, request: Any) -> None:
        """Raise `Refusal` for a caller that may not call."""
        self.service.access.check(request.headers.get('host', ''), request.headers.get('authorization', ''))

    async def list_models(self, request: Any) -> Any:
        """Answer /v1/models."""
        self.check(request)
        return write_json(list_models(self.service.name, self.service.created))

    async def describe_model(self, request: Any) -> Any:
        """Answer /v1/models/NAME."""
        self.check(request)
        if request.path_params['name'] != self.service.name:
            raise Refusal(NOT_FOUND, f'this server has no model {request.path_params["name"]!r:.80}; it has '
                          f'{self.service.name!r}.', 'model', 'model_not_found')
        return write_json(describe_model(self.service.name, self.service.created))

    async def answer(self, endpoint: Endpoint, request: Any) -> Any:
        """Answer an address that computes."""
        from starlette.requests import ClientDisconnect
        from starlette.responses import Response
        self.check(request)
        if request.headers.get('content-type', '').partition(';')[0].strip().lower() != JSON:
            raise Refusal(WRONG_MEDIA, f'the request has the type {request.headers.get("content-type", "")[:60]!r}; '
                          f'expected the header `Content-Type: {JSON}`.')
        self.admission.enter()
        handed_on = False
        try:
            call, asked = await self.begin(endpoint, request)
            writer = endpoint.make_writer(asked)
            self.worker.submit(call.job)
            try:
                if not asked.stream:
                    return write_json(writer.write(await call.result(request.receive)))
                first = await call.next_unless_gone(request.receive)
                handed_on = True
                return make_stream(call, writer, first, self.admission.leave)
            finally:
                if not handed_on:
                    call.close()
        except (HungUp, ClientDisconnect):
            return Response(status_code=CLOSED)
        finally:
            if not handed_on:
                self.admission.leave()

    async def begin(self, endpoint: Endpoint, request: Any) -> tuple[Call, Any]:
        """Return the call of a request, which was read and parsed, and the parsed request."""
        asked: Any = None
        call = Call(lambda job: endpoint.compute(asked, job), self.limits.seconds)
        try:
            async with asyncio.timeout_at(call.end):
                content = await read_body(request, self.limits.request_bytes)
                async with self.parsers:
                    asked = await asyncio.to_thread(endpoint.parse, content)
        except TimeoutError:
            raise make_timeout(self.limits.seconds) from None
        return call, asked

    async def refuse(self, request: Any, error: Exception) -> Any:
        """Answer a request that cannot be answered."""
        refusal = explain(error)
        return write_json(refusal.to_json(), refusal.status, refusal.headers)

    async def refuse_address(self, request: Any, error: Any) -> Any:
        """Answer a request to an address or by a method that there is not."""
        known = ', '.join(('/v1/models', *self.service.endpoints))
        refusal = Refusal(error.status_code, f'{request.method} {request.url.path[:80]} is not answered here '
                          f'({error.detail}). There are: {known}.')
        return write_json(refusal.to_json(), refusal.status, dict(error.headers or {}))


def write_json(values: dict[str, Any], status: int = 200, headers: Any = None) -> Any:
    """Return a response of JSON."""
    from starlette.responses import JSONResponse
    return JSONResponse(values, status, headers=headers)


async def read_body(request: Any, most: int) -> bytes:
    """Return the body of a request; `Refusal` for one of more than `most` bytes."""
    refusal = Refusal(TOO_LARGE, f'the request has more than {most:,} bytes, the most that this server takes. Send '
                      'fewer or smaller images.')
    length = request.headers.get('content-length', '')
    announced = int(length) if length.isdecimal() else 0
    if announced > most * DISCARDED or announced > most and 'expect' in request.headers:
        raise refusal
    content, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most * DISCARDED:
            raise refusal
        if size <= most and announced <= most:
            content += chunk
        else:
            content.clear()
    if size > most:
        raise refusal
    return bytes(content)


def make_stream(call: Call, writer: Any, first: Any, leave: Any) -> Any:
    """Return a response that streams the events of a call.

    Args:
        call: its job runs.
        writer: of the events.
        first: event of the call.
        leave: called when all is over, however it ends.
    """
    from starlette.responses import StreamingResponse

    class Stream(StreamingResponse):
        """Ends with the time of its call, also where the client reads nothing."""

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(call.end + 1):
                        await super().__call__(scope, receive, send)
            finally:
                call.close()
                leave()
    return Stream(write_events(call, writer, first), media_type=EVENTS, headers={'Cache-Control': 'no-store'})


async def write_events(call: Call, writer: Any, event: Any) -> AsyncIterator[str]:
    """Yield the events of a stream from the first one on; an error ends it."""
    try:
        yield writer.begin()
        while not isinstance(event, Done):
            yield writer.tell(event)
            event = await call.next()
        yield writer.end(event.result)
    except Exception as e:
        yield write_error(explain(e))

