"""Files are whole or not there; folders are moved aside, never overwritten."""
import contextlib
import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dtbox.apis.evaluation import choose_images_folder
from dtbox.errors import InputError
from dtbox.files import (
    check_writable,
    explain_writing,
    find_unused_path,
    is_disk_full,
    move_aside,
    remove_leftovers,
    renaming,
    replacing,
    replacing_files,
    write_atomic,
)
from dtbox.rows import read_rows
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


@pytest.mark.parametrize('write', [replacing, renaming, lambda path: replacing_files(path.parent, 'export')])
def test_half_of_a_file_is_never_in_its_place(tmp_path, write):
    """While it is written, and after the writing has failed."""
    path = tmp_path / 'a.png'
    for fails in (True, False):
        with pytest.raises(OSError) if fails else contextlib.nullcontext(), write(path) as temporary:
            place = os.path.join(temporary, 'a.png') if os.path.isdir(temporary) else temporary
            Path(place).write_text('whole')
            assert not path.exists()
            if fails:
                raise OSError(errno.ENOSPC, 'No space left on device')
        assert os.listdir(tmp_path) == ([] if fails else ['a.png'])
    assert path.read_text() == 'whole'


def test_leftovers_are_swept_where_asked_for(tmp_path):
    """What a killed process left of the same file goes with the next write, and stays without the sweep."""
    left = tmp_path / '.a.xyz.part.txt'
    for sweep in (False, True):
        left.touch()
        with replacing(tmp_path / 'a.txt', sweep=sweep) as temporary:
            Path(temporary).write_text('new')
        assert left.exists() is not sweep and (tmp_path / 'a.txt').read_text() == 'new'


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


# ---- records ---------------------------------------------------------------------------------------------------------


def test_good_lines_are_kept_and_bad_ones_counted(tmp_path, monkeypatch):
    """A line cut short, other bytes, other JSON, a row without what is needed: the others stay."""
    said = []
    monkeypatch.setattr('mmengine.logging.print_log', lambda text, *_, **__: said.append(text))
    path = tmp_path / 'history.jsonl'
    bad = [b'{"iteration": 2, "to', b'{"iteration": 3, "t\xfftal": 1}', b'[1]', b'{"total": 1}', b'\0' * 40,
           b'{"iteration": "4"}', b'{"iteration": NaN}', b'{"iteration": 5, "total": "x"}', b'[' * 5000,
           b'{"iteration": 6}']
    good = [b'{"iteration": 1, "total": 0.5}', b'{"iteration": 9, "total": null}']
    path.write_bytes(b'\n'.join([good[0], *bad, good[1]]) + b'\n\n')
    assert read_rows(str(path), ['total']) == [dict(iteration=1, total=0.5), dict(iteration=9, total=None)]
    assert said == [f'{path}: 10 of 12 lines cannot be read and are left out, line 2 the first.']
    path.write_bytes(good[0] + b'\n')
    assert len(read_rows(str(path))) == 1 and len(said) == 1 and read_rows(str(tmp_path / 'none')) == []


def test_a_folder_that_cannot_be_written_to(tmp_path):
    with pytest.raises(InputError, match='/a/b cannot be written .Read-only file system.. Give another folder'):
        with explain_writing('/a/b'):
            raise OSError(errno.EROFS, 'Read-only file system', '/a/b')
    with pytest.raises(OSError), explain_writing('/a/b'):
        raise OSError(errno.ENOSPC, 'No space left on device')


def test_a_free_name_for_a_file_and_its_folder(tmp_path):
    """Images of an evaluation whose JSON is gone stay: the next one takes another name for both."""
    (tmp_path / 'protocols').mkdir()
    (tmp_path / 'protocols.1.json').touch()
    assert find_unused_path(str(tmp_path / 'protocols.json')) == str(tmp_path / 'protocols.json')
    assert find_unused_path(str(tmp_path / 'protocols.json'), '') == str(tmp_path / 'protocols.2.json')
    out = str(tmp_path / 'mine.json')
    assert choose_images_folder(out) == str(tmp_path / 'mine')
    (tmp_path / 'mine').mkdir()
    assert choose_images_folder(out) == str(tmp_path / 'mine.1')  # a folder of something else
    (tmp_path / 'mine.json').touch()
    assert choose_images_folder(out) == str(tmp_path / 'mine')  # its own: the JSON is replaced, too


def test_places_are_checked_before_the_work(tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    check_writable(tmp_path / 'a' / 'b' / 'c.json')
    with pytest.raises(InputError, match='c.json cannot be written: .*file is no folder. Give another place'):
        check_writable(tmp_path / 'file' / 'c.json')
    with pytest.raises(InputError, match='is a folder; expected the name of a file'):
        check_writable(tmp_path)
    monkeypatch.setattr(os, 'access', lambda path, mode: False)
    with pytest.raises(InputError, match='c.json cannot be written: .* may not be written to'):
        check_writable(tmp_path / 'c.json')


def test_a_folder_that_is_locked_is_named(tmp_path, monkeypatch):
    """Not the temporary file in it."""
    def refuse(**_):
        raise PermissionError(errno.EACCES, 'Permission denied', str(tmp_path / '.a.x1.part.txt'))
    monkeypatch.setattr('tempfile.mkstemp', refuse)
    with pytest.raises(PermissionError, match=r"/a.txt'$"):
        write_atomic(tmp_path / 'a.txt', 'x')


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
