"""Who may look at the page."""
import asyncio

import pytest

from dtbox.app.page import serving
from dtbox.serving.access import Access


def request(gate, path='/', query='', **headers):
    """Send a request; returns (status, headers, body)."""
    sent = []

    async def send(message):
        sent.append(message)
    fields = [(key.replace('_', '-').encode(), value.encode()) for key, value in headers.items()]
    scope = dict(type='http', path=path, query_string=query.encode(), headers=fields)
    asyncio.run(gate(scope, None, send))
    return sent[0]['status'], {k.decode(): v.decode() for k, v in sent[0]['headers']}, sent[1]['body'].decode()


async def page(scope, receive, send):
    await serving.answer(send, 200, 'the page')


LOCAL = '127.0.0.1:7860'


@pytest.mark.parametrize('headers, status', [
    (dict(host=LOCAL), 200), (dict(host='localhost:1'), 200), (dict(host='evil.example'), 403), ({}, 403),
    (dict(host=LOCAL, origin=f'http://{LOCAL}'), 200), (dict(host=LOCAL, origin='http://evil.example'), 403),
    (dict(host=LOCAL, origin='null'), 403)])
def test_without_a_token(headers, status):
    """This machine alone, by its name; no page of somebody else."""
    assert request(serving.Gate(page, Access()), **headers)[0] == status


def test_with_a_token():
    """Its address sets a cookie and leaves the token out; the cookie and the header let in, nothing else does."""
    gate = serving.Gate(page, Access('secret'))
    status, headers, _ = request(gate, '/a', 'token=secret&view=1', host='machine:1')
    assert (status, headers['location']) == (303, '/a?view=1')
    assert headers['set-cookie'] == 'dtbox_token=secret; HttpOnly; SameSite=Strict; Path=/'
    assert request(gate, host='machine:1', cookie='a=b; dtbox_token=secret')[0] == 200
    assert request(gate, host='machine:1', authorization='Bearer secret')[0] == 200
    for query, more in (('', {}), ('token=wrong', {}), ('', dict(cookie='dtbox_token=wrong'))):
        status, _, body = request(gate, query=query, host='machine:1', **more)
        assert status == 401 and 'token is missing or wrong' in body and '?token=TOKEN' in body


def test_a_browser_asks_no_other_host():
    """Every page forbids it; one with a policy of its own keeps that."""
    _, headers, _ = request(serving.Gate(page, Access()), host=LOCAL)
    policy = headers['content-security-policy']
    assert policy.startswith("default-src 'self'") and 'http' not in policy

    async def own(scope, receive, send):
        await serving.answer(send, 200, '', [('content-security-policy', serving.SANDBOX)])
    _, headers, _ = request(serving.Gate(own, Access()), host=LOCAL)
    assert headers['content-security-policy'] == serving.SANDBOX


def test_the_first_line():
    assert serving.say_start(Access(), '::1', 7860) == (
        'the page is at http://[::1]:7860/; whoever works on this machine can look. Ctrl-C ends it.')
    said = serving.say_start(Access('secret'), '0.0.0.0', 80)
    assert 'open it with ?token=' in said and 'secret' not in said
