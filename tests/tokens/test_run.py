"""`dtbox encode` and `dtbox decode` as a user runs them, with workers that are real processes."""
import json
import os
import shutil
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import dtbox
from dtbox.cli import decode as decode_cli
from dtbox.cli import encode as encode_cli
from dtbox.drawing.sheets import to_uint8
from dtbox.errors import InputError
from dtbox.token_shards.reading import list_shards, open_folder
from dtbox.tokens import schedule
from dtbox.tokens.engines import local, make_engine
from dtbox.tokens.engines import worker as workers
from dtbox.tokens.run import RECORD, Work, check_out, read_record
from dtbox.tokens.schedule import Limits
from tests.shard_data import write_set
from tests.tokens.kit import hashes, run_encode


def call(verb, *words):
    """Run a verb; returns its exit code."""
    try:
        verb.VERB.main([str(word) for word in words])
    except SystemExit as left:
        return left.code
    return 0


@pytest.fixture(scope='module')
def tars(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp('tars'), [5, 6, 3, 4])


@pytest.fixture(scope='module')
def whole(tiny_run, tars, tmp_path_factory):
    """What an uninterrupted run of one worker writes."""
    out = tmp_path_factory.mktemp('whole') / 'out'
    with pytest.MonkeyPatch.context() as patch:
        from tests.tokens.kit import ForkedWorker
        patch.setattr(local, 'launch', ForkedWorker)
        result = run_encode(tiny_run, tars, out)
    assert result.failed == {} and result.progress.images_done == 18
    return out


def test_number_of_workers_changes_no_bit(tiny_run, tars, whole, tmp_path, forks):
    run_encode(tiny_run, tars, tmp_path / 'out', Work(workers=3))
    assert hashes(tmp_path / 'out') == hashes(whole) and len(hashes(whole)) == 4


def test_tasks_without_a_coordinator(tiny_run, tars, whole, tmp_path, forks):
    for i in range(3):
        run_encode(tiny_run, tars, tmp_path / 'out', Work(workers=1, part=(i, 3)))
        assert len(hashes(tmp_path / 'out')) == (2, 3, 4)[i]
    assert hashes(tmp_path / 'out') == hashes(whole)


def test_two_drivers_in_one_folder_are_harmless(tiny_run, tars, whole, tmp_path, forks):
    """The second one writes, while the first one is at work, the files that this one is writing."""
    from concurrent.futures import ThreadPoolExecutor
    engine = make_engine  # both run in this process, so only one may have the signals
    assert engine
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(run_encode, tiny_run, tars, tmp_path / 'out') for _ in range(2)]:
            assert done.result().failed == {}
    assert hashes(tmp_path / 'out') == hashes(whole)


def test_leftovers_of_a_killed_worker_go(tiny_run, tars, whole, tmp_path, forks):
    (tmp_path / 'out' / '.dtbox').mkdir(parents=True)
    (tmp_path / 'out' / '.s-0-abcd.x1y2.part.parquet').write_bytes(b'half')
    (tmp_path / 'out' / RECORD).write_text('{}')
    run_encode(tiny_run, tars, tmp_path / 'out')
    assert hashes(tmp_path / 'out') == hashes(whole)


def test_a_worker_that_is_killed(tiny_run, tars, whole, tmp_path, forks, monkeypatch):
    """Each worker of slot 0 is killed when its first shard comes."""
    killed, send = [], local.LocalWorker.send

    def send_and_kill(self, value):
        send(self, value)
        if hasattr(value, 'place') and len(killed) < 2:
            time.sleep(0.02 * len(killed))
            os.kill(self.pid, signal.SIGKILL)
            killed.append(self.pid)
    monkeypatch.setattr(local.LocalWorker, 'send', send_and_kill)
    result = run_encode(tiny_run, tars, tmp_path / 'out', Work(workers=2))
    assert result.failed == {} and len(killed) == 2 and hashes(tmp_path / 'out') == hashes(whole)


def test_a_worker_that_is_stopped_hangs(tiny_run, tars, whole, tmp_path, forks, monkeypatch, capsys):
    stopped, send = [], local.LocalWorker.send

    def send_and_stop(self, value):
        if hasattr(value, 'place') and not stopped:
            os.kill(self.pid, signal.SIGSTOP)
            stopped.append(self.pid)
        send(self, value)
    monkeypatch.setattr(local.LocalWorker, 'send', send_and_stop)
    monkeypatch.setattr(schedule.Schedule, '_is_late', lambda self, heard, limit=[True]: bool(
        stopped and limit and time.monotonic() - heard > 1 and limit.pop()))
    result = run_encode(tiny_run, tars, tmp_path / 'out')
    assert result.failed == {} and hashes(tmp_path / 'out') == hashes(whole)
    assert f'(pid {stopped[0]}) is replaced: while it encoded s-0-' in capsys.readouterr().out


def test_a_broken_shard_is_named_and_the_rest_is_done(tiny_run, tars, whole, tmp_path, forks, capsys):
    src = shutil.copytree(tars, tmp_path / 'tars')
    path = os.path.join(src, 's-1.tar')
    content = open(path, 'rb').read()
    open(path, 'wb').write(b'no tar' * 200)
    words = [tiny_run, src, tmp_path / 'out', '--workers', 2, '--batch', 4]
    assert call(encode_cli, *words) == 1
    out, err = capsys.readouterr()
    assert 'failed: s-1-' in out and 'is not a tar file' in out and 'failed: 1 input shard is not done' in err
    assert len(hashes(tmp_path / 'out')) == 3
    open(path, 'wb').write(content)
    assert call(encode_cli, *words) == 0 and hashes(tmp_path / 'out') == hashes(whole)
    assert '1 input shard to encode, 3 done before' in capsys.readouterr().out


def test_a_folder_that_is_removed_meanwhile(tiny_run, tars, tmp_path, forks, monkeypatch):
    send = local.LocalWorker.send

    def send_and_remove(self, value):
        if hasattr(value, 'place'):
            shutil.rmtree(tmp_path / 'out', ignore_errors=True)
        send(self, value)
    monkeypatch.setattr(local.LocalWorker, 'send', send_and_remove)
    with pytest.raises(InputError, match='out is gone: something has removed it'):
        run_encode(tiny_run, tars, tmp_path / 'out')


def test_a_run_that_changes_meanwhile(tiny_run, tars, tmp_path, forks, monkeypatch):
    start = local.LocalEngine.start
    monkeypatch.setattr(local.LocalEngine, 'start', lambda self, slot: (
        setattr(self, 'start_message', replace(self.start_message, digest='0' * 16)), start(self, slot))[1])
    with pytest.raises(InputError, match='a worker has the fingerprint .*, the driver 0000000000000000'):
        run_encode(tiny_run, tars, tmp_path / 'out')


def test_append_on_the_command_line(tiny_run, tars, whole, tmp_path, forks, capsys):
    out = shutil.copytree(whole, tmp_path / 'out')
    other = write_set(tmp_path / 'more', [2])
    words = [tiny_run, other, out, '--workers', 1, '--batch', 4]
    assert call(encode_cli, *words) == 2 and '--append adds what is new' in capsys.readouterr().err
    assert call(encode_cli, *words, '--append') == 0 and len(hashes(out)) == 5
    assert {name: value for name, value in hashes(out).items() if name in hashes(whole)} == hashes(whole)


def test_decode_gives_the_images_of_the_codes(tiny_run, tars, whole, tmp_path, capsys):
    assert call(decode_cli, whole, '--out', tmp_path / 'png') == 0
    files = sorted(str(p.relative_to(tmp_path / 'png')) for p in (tmp_path / 'png').rglob('*.png'))
    assert len(files) == 18 and files[0] == 's-0/000000.png' and '18 images in' in capsys.readouterr().out
    shard = open_folder(whole)[1]
    tokenizer = dtbox.load(str(tiny_run))
    expected = to_uint8(tokenizer.decode({name: shard.codes(name).astype(np.int64) for name in tokenizer.streams}))
    keys = shard.column('key').to_pylist()
    for i in (0, 5):
        found = np.asarray(Image.open(tmp_path / 'png' / f'{keys[i]}.png')).astype(int)
        assert abs(found - expected[i]).max() <= 1  # other batches, so other last bits before rounding


def test_decode_some(whole, tmp_path, capsys):
    assert call(decode_cli, whole, '--out', tmp_path / 'a', '--keys', 's-1/*', '--view', 0) == 0
    assert len(list((tmp_path / 'a' / 's-1').iterdir())) == 6
    assert call(decode_cli, whole, '--out', tmp_path / 'a', '--keys', 's-1/*', '--limit', 2) == 0
    assert len(list((tmp_path / 'a' / 's-1').iterdir())) == 8  # nothing is overwritten
    assert call(decode_cli, whole, '--out', tmp_path / 'b', '--keys', 'none') == 2
    assert 'no row with codes' in capsys.readouterr().err


def test_decode_asks_for_the_tokenizer_of_the_codes(whole, tmp_path, capsys):
    out = shutil.copytree(whole, tmp_path / 'out')
    record = read_record(out)
    assert call(decode_cli, out, '--out', tmp_path / 'a', '--run', 'dtbox://dualtoken-twemoji') == 2
    assert 'its codes mean other images' in capsys.readouterr().err
    (out / RECORD).write_text(json.dumps(dict(record, run='/gone/run')))
    assert call(decode_cli, out, '--out', tmp_path / 'a') == 2
    assert 'was encoded with /gone/run, which is not here. Give it: --run RUN' in capsys.readouterr().err


@pytest.mark.parametrize('out, command', [
    ('s3://bucket/tokens', 'aws s3 sync tokens s3://bucket/tokens'),
    ('gs://bucket/tokens/', 'gcloud storage rsync -r tokens gs://bucket/tokens/'),
    ('hf://datasets/me/tokens', 'hf upload-large-folder me/tokens tokens --repo-type dataset'),
    ('webdav://there/x', 'rclone copy x webdav://there/x')])
def test_object_stores_are_refused_with_a_command(tiny_run, tars, out, command, capsys):
    assert call(encode_cli, tiny_run, tars, out) == 2
    err = capsys.readouterr().err
    assert err.startswith(f'error: OUT: {out} is an object store') and err.endswith(f'{command}\n')


@pytest.mark.parametrize('words, says', [
    (['--shard-of', '3/3'], '--shard-of: got \'3/3\'; expected I/N'), (['--shard-of', 'x'], '--shard-of'),
    (['--per-shard', '0'], '--per-shard: got 0'), (['--engine', 'slurm'], 'Expected one of local, ray'),
    (['--address', 'auto'], 'goes with --engine ray'), (['--workers', '0'], '`workers` is 0'),
    (['--tries', '0'], '--tries: got 0'), (['--views', '0'], 'the number of views of an image is 0')])
def test_what_cannot_be_asked(tiny_run, tars, tmp_path, capsys, words, says):
    assert call(encode_cli, tiny_run, tars, tmp_path / 'out', *words) == 2
    err = capsys.readouterr().err
    assert err.startswith('error: ') and says in err and not list_shards_or_none(tmp_path / 'out')


def list_shards_or_none(out):
    return list_shards(out) if out.exists() else []


def test_out_that_cannot_be(tmp_path):
    (tmp_path / 'file').touch()
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'mine.txt').touch()
    with pytest.raises(InputError, match='is a file; expected a folder'):
        check_out(str(tmp_path / 'file'))
    with pytest.raises(InputError, match='holds other files, such as mine.txt, and no token shards'):
        check_out(str(tmp_path / 'photos'))


def test_record_says_how_it_was_encoded(whole, tiny_run):
    record = read_record(whole)
    assert record['run'] == str(tiny_run) and record['batch'] == 4 and record['views']['count'] == 1
    assert 'trusted' not in record


def test_a_driver_that_goes_ends_its_worker(tmp_path):
    """The worker's end of the pipe raises EOFError, which ends it quietly."""
    from multiprocessing import Pipe
    here, there = Pipe()
    here.close()
    with pytest.raises(EOFError):
        workers.serve(there)


def test_default_limits():
    assert Limits() == Limits(3, 20, 600.0)
