"""`dtbox app`: what its options come to, and what it refuses before a page is there."""
import json
import socket
import sys

import pytest

from dtbox.app.page import serving


@pytest.fixture
def started(monkeypatch):
    """What would be served, without a server."""
    found = []
    monkeypatch.setattr(serving, 'run', lambda runs, listening, *args: found.append(
        (runs, listening.getsockname(), *args)))
    monkeypatch.delenv('DTBOX_TOKEN', raising=False)
    return found


def test_options(tiny_run, tmp_path, started, command):
    (tmp_path / 'grid').mkdir()
    (tmp_path / 'grid' / 'grid.json').write_text(json.dumps(dict(format=1, name='g')))
    assert command('app', tiny_run, 'dtbox://dualtoken-twemoji', tmp_path / 'grid', '--port', 0, '--images', tmp_path,
                   '--max-image-mb', 2)[0] == 0
    runs, address, access, grids, images, tokens, limits = started[0]
    assert runs.names == ['run', 'dualtoken-twemoji'] and not runs.trusted
    assert address[0] == '127.0.0.1' and access.token is None
    assert (grids, images, tokens, limits.image_bytes) == ([str(tmp_path / 'grid')], str(tmp_path), None, 2_000_000)


def test_a_token_for_other_machines(tiny_run, started, command, monkeypatch):
    assert command('app', tiny_run, '--port', 0, '--host', '0.0.0.0')[0] == 2
    monkeypatch.setenv('DTBOX_TOKEN', 'secret')
    assert command('app', tiny_run, '--port', 0, '--host', '0.0.0.0', '--trust-remote-code')[0] == 0
    assert started[0][2].token == 'secret' and started[0][0].trusted


def test_a_port_in_use(tiny_run, started, command):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        code, _, err = command('app', tiny_run, '--port', taken.getsockname()[1])
    assert code == 2 and 'cannot be listened to' in err and 'Give another --port' in err and not started


@pytest.mark.parametrize('words, says', [
    (('gone',), 'the run gone does not exist'), (('RUN', 'RUN'), 'came twice'),
    (('RUN', '--images', 'gone'), '--images: gone is not a folder'),
    (('RUN', '--tokens', 'gone'), '--tokens: gone is not a folder'),
    (('RUN', '--max-image-mb', 0), '--max-image-mb.image_bytes: got 0; expected a whole number from 1'),
    (('GRID',), 'only folders of grids came')])
def test_refusals(tiny_run, tmp_path, started, command, words, says):
    (tmp_path / 'grid.json').write_text('{"format": 1, "name": "g"}')
    table = dict(RUN=tiny_run, GRID=tmp_path)
    code, _, err = command('app', *[table.get(word, word) for word in words], '--port', 0)
    assert code == 2 and says in err and len(err.splitlines()) == 1 and not started


def test_a_package_that_is_missing(tiny_run, tmp_path, monkeypatch):
    from dtbox.app.opened import Runs
    from dtbox.errors import InputError
    from dtbox.serving.access import Access
    monkeypatch.setitem(sys.modules, 'gradio', None)
    with pytest.raises(InputError, match=r'dtbox app needs the package `gradio`.*pip install "dtbox\[app\]"'):
        serving.build_app(serving.make_sources(Runs([str(tiny_run)]), [], str(tmp_path)), Access())
