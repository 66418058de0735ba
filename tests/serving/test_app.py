"""The application, spoken to in ASGI without a network: statuses, queues, times, clients that hang up."""
import asyncio
import json
import threading
import time
from types import SimpleNamespace

import pytest

from dtbox.errors import InputError
from dtbox.serving.access import Access
from dtbox.serving.app import build_app
from dtbox.serving.calls import MOST_PREVIEWS, Call
from dtbox.serving.jobs import Done, Gone
from dtbox.serving.limits import Limits
from dtbox.serving.service import Endpoint, Service
from dtbox.serving.work import Preview
from tests.serving.kit import take_mean

pytest.importorskip('fastapi')
MODEL = SimpleNamespace(image_size=(32, 32), model=SimpleNamespace(places=16),
                        tokenizer=SimpleNamespace(prepare=take_mean))
HEADERS = {'host': '127.0.0.1:8000', 'content-type': 'application/json'}
PATH = '/v1/chat/completions'


class Writer:
    """Writes results and events as they are."""

    def write(self, result):
        return dict(result=result)

    def begin(self):
        return 'begin '

    def tell(self, event):
        return f'{event} '

    def end(self, result):
        return f'end {result}'


class Served:
    """An application whose one address computes what a test says.

    Args:
        compute: (request, job) -> result.
        access, limits: of the service.
    """

    def __init__(self, compute, access=None, **limits):
        self.ended = []

        def watched(request, job):
            try:
                return compute(request, job)
            except BaseException as e:
                self.ended.append(type(e))
                raise
        service = Service(MODEL, 'tiny', Limits(**limits), access)
        service.endpoints = {PATH: Endpoint(lambda content: SimpleNamespace(**json.loads(content)), watched,
                                            lambda request: Writer())}
        self.app = build_app(service)

    async def call(self, body=b'{"stream": false}', path=PATH, method='POST', hang_up=None, take=None, **headers):
        """Send a request; returns (status, headers, body).

        Args:
            body: bytes, or a list of them, which come one after the other; None in it waits for ever.
            hang_up: an asyncio.Event: when the client goes.
            take: called with each part of the answer.
        """
        parts = list(body) if isinstance(body, list) else [body]
        found = dict(status=None, headers={}, body=b'')
        over = asyncio.Event()

        async def receive():
            if parts:
                part = parts.pop(0)
                if part is None:
                    await asyncio.Event().wait()
                return dict(type='http.request', body=part, more_body=bool(parts))
            await (hang_up or over).wait()
            return dict(type='http.disconnect')

        async def send(message):
            if message['type'] == 'http.response.start':
                found.update(status=message['status'], headers=dict(message['headers']))
            else:
                found['body'] += message.get('body', b'')
                if take is not None:
                    await take(message)
        given = {**HEADERS, **{name.replace('_', '-'): value for name, value in headers.items()}}
        scope = dict(type='http', method=method, path=path, raw_path=path.encode(), query_string=b'',
                     http_version='1.1', headers=[(name.encode(), value.encode()) for name, value in given.items()],
                     scheme='http', asgi=dict(version='3.0', spec_version='2.3'), client=('127.0.0.1', 1),
                     server=('127.0.0.1', 8000))
        try:
            await self.app(scope, receive, send)
        finally:
            over.set()
        return found['status'], found['headers'], found['body']


def run(coroutine):
    """Run a test of at most 20 seconds."""
    return asyncio.run(asyncio.wait_for(coroutine, 20))


def error(answer):
    """Return (status, error) of an answer."""
    return answer[0], json.loads(answer[2])['error']


async def until(condition):
    """Wait for a condition."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError('it did not come about')


def test_addresses():
    async def check():
        served = Served(lambda request, job: request.x * 2)
        status, _, body = await served.call(path='/v1/models', method='GET')
        assert status == 200 and json.loads(body)['data'][0]['id'] == 'tiny'
        assert (await served.call(path='/v1/models/tiny', method='GET'))[0] == 200
        assert error(await served.call(path='/v1/models/gpt', method='GET'))[1]['code'] == 'model_not_found'
        status, said = error(await served.call(path='/v1/embeddings'))
        assert status == 404 and 'There are: /v1/models, /v1/chat/completions' in said['message']
        assert error(await served.call(path=PATH, method='GET'))[0] == 405
        assert (await served.call(b'{"stream": false, "x": 4}'))[2] == b'{"result":8}'
    run(check())


@pytest.mark.parametrize('access, headers, status, says', [
    (None, dict(content_type='text/plain'), 415, "has the type 'text/plain'; expected the header"),
    (None, dict(host='evil.example'), 403, 'without a token this server answers to localhost'),
    (Access('secret'), {}, 401, 'the token is missing or wrong'),
    (Access('secret'), dict(authorization='Bearer no'), 401, 'the token is missing or wrong'),
    (Access('secret'), dict(authorization='Bearer secret', host='box'), 200, '')])
def test_who_may_call(access, headers, status, says):
    async def check():
        served = Served(lambda request, job: 1, access)
        answer = await served.call(**headers)
        assert answer[0] == status and says in answer[2].decode()
        assert (await served.call(path='/v1/models', method='GET', **headers))[0] == (200 if status == 415 else status)
    run(check())


@pytest.mark.parametrize('body, headers', [
    (b'{"stream": false, "x": "' + b'a' * 100 + b'"}', {}), ([b'{"x": "', *[b'a' * 40] * 20, b'"}'], {}),
    ([b'a' * 50] * 3, dict(content_length='150')), ([b'a' * 90] * 90, {}),
    ([None], dict(content_length='150', expect='100-continue')), ([None], dict(content_length='5000'))])
def test_large_requests(body, headers):
    """Announced or not; one that waits to be asked for its body, or is far too large, is refused before it comes."""
    async def check():
        served = Served(lambda request, job: 1, request_bytes=100)
        status, said = error(await served.call(body, **headers))
        assert status == 413 and said['message'].startswith('the request has more than 100 bytes')
        assert (await served.call())[0] == 200
    run(check())


def test_a_full_queue():
    """One is answered, one waits, the third hears of it at once; then there is a place again."""
    async def check():
        go_on = threading.Event()
        served = Served(lambda request, job: go_on.wait(10), waiting=1)
        first, second = (asyncio.ensure_future(served.call()) for _ in range(2))
        await asyncio.sleep(0.05)
        answer = await served.call()
        status, said = error(answer)
        assert status == 429 and said['message'].startswith('the queue of this server is full: it holds 1 requests')
        assert answer[1][b'retry-after'] == b'1' and said['type'] == 'rate_limit_error'
        go_on.set()
        assert [(await call)[0] for call in (first, second)] == [200, 200]
        assert (await served.call())[0] == 200
    run(check())


def wait_until_gone(request, job):
    """Work until nobody waits any more."""
    for _ in range(5000):
        job.check()
        time.sleep(0.002)


@pytest.mark.parametrize('body', [b'{"stream": false}', b'{"stream": true}'])
def test_an_answer_that_takes_too_long(body):
    async def check():
        served = Served(wait_until_gone, seconds=0.1)
        status, said = error(await served.call(body))
        assert status == 408 and 'was not complete after 0.1 seconds' in said['message']
        await until(lambda: served.ended == [Gone])
    run(check())


def test_a_request_that_takes_too_long():
    async def check():
        served = Served(lambda request, job: 1, seconds=0.1)
        assert error(await served.call([b'{', None]))[0] == 408
        assert (await served.call())[0] == 200
    run(check())


@pytest.mark.parametrize('stream', ['true', 'false'])
def test_a_client_that_hangs_up(stream):
    """Its work ends, and its place is free."""
    async def check():
        started, gone = threading.Event(), asyncio.Event()

        def work(request, job):
            if request.last:
                return 1
            job.tell('told')
            started.set()
            wait_until_gone(request, job)
        served = Served(work, waiting=0)
        call = asyncio.ensure_future(served.call(f'{{"stream": {stream}, "last": false}}'.encode(), hang_up=gone))
        await until(started.is_set)
        await asyncio.sleep(0.02)
        assert not call.done()
        gone.set()
        await call
        await until(lambda: served.ended == [Gone])
        assert (await served.call(b'{"stream": false, "last": true}'))[0] == 200
    run(check())


def test_a_client_that_hangs_up_before_its_turn():
    """Its work is never begun."""
    async def check():
        go_on, gone = threading.Event(), asyncio.Event()
        begun = []

        def work(request, job):
            begun.append(request.name)
            go_on.wait(10)
        served = Served(work)
        first = asyncio.ensure_future(served.call(b'{"stream": false, "name": "first"}'))
        await until(lambda: begun)
        second = asyncio.ensure_future(served.call(b'{"stream": false, "name": "second"}', hang_up=gone))
        await asyncio.sleep(0.02)
        gone.set()
        await second
        go_on.set()
        await first
        assert (await served.call(b'{"stream": false, "name": "third"}'))[0] == 200 and begun == ['first', 'third']
    run(check())


def test_a_stream():
    def work(request, job):
        job.tell('a')
        job.tell('b')
        return 'c'

    async def check():
        status, headers, body = await Served(work).call(b'{"stream": true}')
        assert (status, body) == (200, b'begin a b end c')
        assert headers[b'content-type'].startswith(b'text/event-stream') and headers[b'cache-control'] == b'no-store'
    run(check())


@pytest.mark.parametrize('failure, status, says', [
    (InputError('too long', 'messages'), 400, 'messages: too long'),
    (RuntimeError('secret'), 500, 'the server failed at this request; its log says why.')])
def test_failures(failure, status, says, caplog):
    """Before a stream has begun they are statuses, later the last event; faults are in the log, not in the answer."""
    def work(request, job):
        if request.late:
            job.tell('a')
        raise failure

    async def check():
        served = Served(work)
        for body in (b'{"stream": false, "late": false}', b'{"stream": true, "late": false}'):
            found, said = error(await served.call(body))
            assert (found, said['message']) == (status, says)
        late = await served.call(b'{"stream": true, "late": true}')
        assert late[0] == 200 and late[2].startswith(b'begin a data: {"error"') and says.encode() in late[2]
        assert b'secret' not in late[2]
    run(check())
    assert len(caplog.records) == (3 if status == 500 else 0)


def test_a_body_that_is_wrong():
    async def check():
        service = Service(MODEL, 'tiny')
        served = Served(lambda request, job: 1)
        served.app = build_app(service)
        status, said = error(await served.call(b'{"messages": [{"role": "bot", "content": ""}]}'))
        assert status == 400 and said['param'] == 'messages.0.role'
        assert error(await served.call(b'{'))[0] == 400
        assert error(await served.call(b'{"model": "gpt"}'))[0] == 404
    run(check())


def test_a_client_that_reads_nothing():
    """The connection ends with the time of the answer."""
    async def check():
        async def never(message):
            await asyncio.Event().wait()

        def work(request, job):
            job.tell('a')
            return 1
        served = Served(work, seconds=0.2, waiting=0)
        start = time.monotonic()
        await served.call(b'{"stream": true}', take=never)
        assert 1 < time.monotonic() - start < 5
        assert (await served.call())[0] == 200
    run(check())


def test_previews_do_not_pile_up():
    """Those that a slow client has not read are bounded; the end comes all the same."""
    async def check():
        call = Call(lambda job: [job.tell(Preview(0, i, b'')) or time.sleep(0.001) for i in range(50)] and 'end', 5)
        await asyncio.to_thread(call.job.run)
        events = [await call.next() for _ in range(call.events.qsize())]
        assert events[-1] == Done('end') and len(events) <= MOST_PREVIEWS + 2
        assert [event.number for event in events[:3]] == [0, 1, 2]
    run(check())
