"""Who may call: this machine, or whoever knows the token."""
import socket

import pytest

from dtbox.errors import InputError
from dtbox.serving.access import Access, choose_token, is_local
from dtbox.serving.refusals import Refusal
from dtbox.serving.server import open_socket


@pytest.mark.parametrize('host, local', [('127.0.0.1', True), ('localhost', True), ('::1', True), ('127.9.9.9', True),
                                         ('0.0.0.0', False), ('::', False), ('192.168.1.2', False), ('box', False)])
def test_addresses(host, local, monkeypatch):
    monkeypatch.delenv('DTBOX_TOKEN', raising=False)
    assert is_local(host) == local
    if local:
        assert choose_token(host, None) is None
    else:
        with pytest.raises(InputError, match='others can reach the address .* a token is required: set the env'):
            choose_token(host, None)
        monkeypatch.setenv('DTBOX_TOKEN', 'secret')
        assert choose_token(host, None) == 'secret' and choose_token(host, 'other') == 'other'


@pytest.mark.parametrize('token', ['', 'two words', 'é', 'a\n'])
def test_tokens_that_a_header_cannot_hold(token):
    with pytest.raises(InputError, match='--token: the token is empty, or has characters'):
        choose_token('127.0.0.1', token)


@pytest.mark.parametrize('header', ['', 'Bearer', 'Bearer wrong', 'secret', 'Basic secret', 'Bearer secretsecret'])
def test_a_wrong_token(header):
    with pytest.raises(Refusal, match='the token is missing or wrong') as error:
        Access('secret').check('anywhere', header)
    assert error.value.status == 401 and error.value.headers == {'WWW-Authenticate': 'Bearer'}


@pytest.mark.parametrize('scheme', ['Bearer', 'bearer'])
def test_the_token(scheme):
    """The scheme in any case, the token in its own."""
    assert Access('secret').check('anywhere', f'{scheme} secret') is None
    with pytest.raises(Refusal, match='the token is missing or wrong'):
        Access('secret').check('anywhere', f'{scheme} Secret')


@pytest.mark.parametrize('host, fine', [('127.0.0.1:8000', True), ('localhost', True), ('[::1]:8000', True),
                                        ('[::1]', True), ('evil.example:8000', False), ('', False)])
def test_pages_of_browsers_stay_out(host, fine):
    """A name that somebody lets point to this machine is not this machine."""
    if fine:
        Access().check(host, '')
    else:
        with pytest.raises(Refusal, match='without a token this server answers to localhost'):
            Access().check(host, '')


def test_addresses_that_cannot_be_listened_to():
    with open_socket('127.0.0.1', 0) as taken:
        port = taken.getsockname()[1]
        for host, number in (('127.0.0.1', port), ('127.0.0.1', 99999), ('203.0.113.7', 0)):
            with pytest.raises(InputError, match=f'the address {host}:{number} cannot be listened to'):
                open_socket(host, number)
        assert socket.create_connection(('127.0.0.1', port), 5).close() is None
