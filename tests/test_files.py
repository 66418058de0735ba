"""Files are whole or not there; folders are moved aside, never overwritten."""
import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dtbox.files import find_unused_path, is_disk_full, move_aside, remove_leftovers, replacing, write_atomic
from tests.child_processes import start_child


def test_replacing_puts_the_new_file_in_place(tmp_path):
    path = tmp_path / 'new' / 'weights.pth'
    with replacing(path) as temporary:
        assert os.path.dirname(temporary) == str(path.parent) and temporary.endswith('.part.pth')
        with open(temporary, 'w') as f:
            f.write('one')
        assert not path.exists()
    assert path.read_text() == 'one' and os.listdir(path.parent) == ['weights.pth']


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_an_exception_keeps_the_old_file(tmp_path, error):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(error):
        with replacing(path) as temporary:
            with open(temporary, 'w') as f:
                f.write('half')
            raise error
    assert path.read_text() == 'old' and os.listdir(tmp_path) == ['a.txt']


def test_permissions_are_those_of_any_new_file(tmp_path):
    umask = os.umask(0o022)
    try:
        write_atomic(tmp_path / 'a.txt', 'é')
    finally:
        os.umask(umask)
    assert stat.S_IMODE(os.stat(tmp_path / 'a.txt').st_mode) == 0o644
    assert (tmp_path / 'a.txt').read_text(encoding='utf-8') == 'é'


def test_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_atomic('a', '1')
    assert os.listdir(tmp_path) == ['a']


def test_move_aside_takes_the_next_free_number(tmp_path):
    run = tmp_path / 'run'
    assert move_aside(run) is None
    run.mkdir()
    assert move_aside(run) is None and run.is_dir()  # nothing in it that could be lost
    (tmp_path / 'run.1').mkdir()
    for number in (2, 3):
        (run / 'file').write_text(str(number))
        assert move_aside(f'{run}/') == f'{run}.{number}'
        assert not run.exists() and (tmp_path / f'run.{number}' / 'file').read_text() == str(number)
        run.mkdir()


def test_unused_path(tmp_path):
    path = str(tmp_path / 'a.b.png')
    assert find_unused_path(path) == path
    for name in ('a.b.png', 'a.b.1.png'):
        (tmp_path / name).write_text('')
    assert find_unused_path(path) == str(tmp_path / 'a.b.2.png')


def test_what_a_full_disk_looks_like(tmp_path):
    def caught(raise_it):
        with pytest.raises(Exception) as found:
            raise_it()
        return found.value

    def in_disguise():
        try:
            raise OSError(errno.EDQUOT, 'Disk quota exceeded')
        except OSError as e:
            raise ValueError('cannot write results') from e
    assert is_disk_full(caught(in_disguise)) and not is_disk_full(caught(lambda: open(tmp_path / 'none')))
    assert not is_disk_full(RuntimeError('CUDA out of memory'))


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full here')
def test_full_disk_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    """A checkpoint for which there is no room says so, and the old one stays."""
    from dtbox.training import checkpoint
    path = str(tmp_path / 'checkpoint.pth')
    checkpoint.save(dict(state_dict=dict(a=torch.ones(3))), path)
    monkeypatch.setattr('dtbox.training.checkpoint.open', lambda *a: open('/dev/full', 'wb'), raising=False)
    with pytest.raises(OSError) as found:
        checkpoint.save(dict(state_dict=dict(a=torch.zeros(10 ** 6))), path)
    assert is_disk_full(found.value) and os.listdir(tmp_path) == ['checkpoint.pth']
    assert checkpoint.load(path)['state_dict']['a'].equal(torch.ones(3))


HALF = '''
import sys, time
from dtbox.files import replacing
with replacing(sys.argv[1]) as temporary:
    open(temporary, 'w').write('half')
    print(temporary, flush=True)
    time.sleep(60)
'''


def test_what_a_killed_write_leaves(tmp_path):
    """The next write of the same file takes it away, and so does the next start in the folder; the unfinished file of a
    living process stays."""
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    path = tmp_path / 'results.json'
    with start_child([sys.executable, '-c', HALF, path], stdout=subprocess.PIPE, text=True, env=env) as child:
        half = Path(child.stdout.readline().strip())
        write_atomic(path, 'whole')
        remove_leftovers(tmp_path)
        assert half.read_text() == 'half' and path.read_text() == 'whole'
        child.kill()
    (tmp_path / '.other.abc.part.json').write_text('of another file')
    write_atomic(path, 'again')
    assert sorted(os.listdir(tmp_path)) == ['.other.abc.part.json', 'results.json']
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ['results.json']
