"""`dtbox serve`: what its options come to, and what it refuses before a model is opened."""
import sys

import pytest

from dtbox.cli.main import main
from dtbox.serving import server


def run(capsys, *words):
    """Run `dtbox serve WORDS`; returns (exit code, stdout, stderr)."""
    code = 0
    try:
        main(['serve', *(str(word) for word in words)])
    except SystemExit as stopped:
        code = stopped.code or 0
    return code, *capsys.readouterr()


@pytest.fixture
def started(monkeypatch):
    """What would be served, without a server."""
    found = []
    monkeypatch.setattr('dtbox.errors.need_package', lambda *names: None)
    monkeypatch.setattr(server, 'run', lambda service, listening: found.append((service, listening.getsockname())))
    monkeypatch.delenv('DTBOX_TOKEN', raising=False)
    return found


def test_options(mllm_run, tmp_path, started, capsys):
    assert run(capsys, mllm_run, '--port', 0, '--max-images', 3, '--max-image-mb', 1.5, '--max-request-mb', 4,
               '--max-characters', 50, '--max-n', 2, '--queue', 0, '--timeout', 9, '--images-root', tmp_path)[0] == 0
    service, (host, port) = started[0]
    limits = service.limits
    assert (host, service.name, service.size) == ('127.0.0.1', 'run', '32x32') and port > 0
    assert (limits.images, limits.image_bytes, limits.request_bytes) == (3, 1_500_000, 4_000_000)
    assert (limits.characters, limits.choices, limits.waiting, limits.seconds) == (50, 2, 0, 9.0)
    assert service.access.token is None and service.reader.root == str(tmp_path.resolve())
    assert server.say_start(service, host, 8000) == (
        'serving run at http://127.0.0.1:8000/v1; callers on this machine need no token. Ctrl-C ends it.')


def test_a_token_from_the_environment(mllm_run, started, capsys, monkeypatch):
    monkeypatch.setenv('DTBOX_TOKEN', 'secret')
    assert run(capsys, mllm_run, '--port', 0, '--host', '0.0.0.0', '--name', 'emoji')[0] == 0
    service, _ = started[0]
    assert (service.name, service.access.token) == ('emoji', 'secret')
    said = server.say_start(service, '0.0.0.0', 80)
    assert 'clients send the token of --token or DTBOX_TOKEN' in said and 'secret' not in said


@pytest.mark.parametrize('words, says', [
    (('RUN', '--host', '0.0.0.0'), '--host: others can reach the address 0.0.0.0, so a token is required'),
    (('RUN', '--port', 0, '--max-images', 0), 'images: got 0; expected a whole number from 1'),
    (('RUN', '--port', 99999), 'the address 127.0.0.1:99999 cannot be listened to'),
    (('RUN', '--port', 0, '--images-root', 'gone'), 'images_root: gone is not a folder'),
    (('gone', '--port', 0), 'gone does not exist'),
    (('TOKENIZER', '--port', 0), 'a tokenizer; expected a multimodal language model')])
def test_refusals(mllm_run, tiny_run, started, capsys, words, says):
    table = dict(RUN=mllm_run, TOKENIZER=tiny_run)
    code, out, err = run(capsys, *[table.get(word, word) for word in words])
    assert code == 2 and says in err and len(err.splitlines()) == 1 and not started


def test_a_package_that_is_missing(mllm_run, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'fastapi', None)
    code, _, err = run(capsys, mllm_run)
    assert code == 2 and 'dtbox serve needs the package `fastapi`' in err and 'pip install "dtbox[serve]"' in err
