"""What is left of a write that ends badly: a kill, a full disk, a folder that is gone, another writer."""
import builtins
import errno
import os
import shutil
import threading

import pytest

from dtbox.errors import InputError
from dtbox.files import is_disk_full
from dtbox.token_shards.format import shard_name
from dtbox.token_shards.reading import is_done
from dtbox.token_shards.writing import write_shard
from tests.child_processes import run_fork
from tests.token_data import FINGERPRINT, META, make_rows

pytest.importorskip('pyarrow')

KILLS = '''
import os, random, shutil, signal, sys, time
from pathlib import Path
from dtbox.files import remove_leftovers
from dtbox.token_shards.reading import list_shards
from dtbox.token_shards.writing import write_shard
from tests.token_data import META, make_rows

def write(folder):
    for number in range(3):
        write_shard(folder, f'train-{number}', make_rows(300, first=number), META)

root, rng, leftovers = Path(sys.argv[1]), random.Random(0), 0
(root / 'alone').mkdir()
write(root / 'alone')
wanted = {path.name: path.read_bytes() for path in list_shards(root / 'alone')}

def in_a_write(folder):
    return len(os.listdir(folder)) > len(list_shards(folder))

for number in range(12):
    out = root / str(number)
    out.mkdir()
    child = os.fork()
    if not child:
        while True:
            write(out)
    end = time.monotonic() + 60
    while not os.listdir(out) and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.05))
    os.kill(child, signal.SIGSTOP)
    os.waitpid(child, os.WUNTRACED)
    while number % 3 == 0 and not in_a_write(out) and time.monotonic() < end:
        os.kill(child, signal.SIGCONT)
        time.sleep(0.001)
        os.kill(child, signal.SIGSTOP)
        os.waitpid(child, os.WUNTRACED)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = {path.name: path.read_bytes() for path in list_shards(out)}
    assert all(wanted[name] == data for name, data in found.items()), number
    leftovers += len(os.listdir(out)) - len(found)
    remove_leftovers(out)
    assert sorted(os.listdir(out)) == sorted(found), number
    write(out)
    assert {path.name: path.read_bytes() for path in list_shards(out)} == wanted, number
print(leftovers)
'''


def test_kills_leave_whole_files(tmp_path):
    """SIGKILL at 12 random moments, four of them surely inside a write: a final name has the whole file, with the
    bytes of an undisturbed write, and the temporary file that a kill leaves is taken away by the next run."""
    (tmp_path / 'kills.py').write_text(KILLS)
    done = run_fork([str(tmp_path / 'kills.py'), str(tmp_path)])
    assert done.returncode == 0, done.stderr
    assert 4 <= int(done.stdout) <= 12


def test_nothing_is_there_before_the_end(tmp_path):
    """While rows come, and after one that raises, the folder has no file of the final name."""
    path = tmp_path / shard_name('s', FINGERPRINT)
    seen = []

    def rows():
        for row in make_rows():
            seen.append((path.exists(), is_done(path)))
            yield row
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path, 's', rows(), META)
    assert set(seen) == {(False, False)} and os.listdir(tmp_path) == []


def test_file_and_folder_are_on_the_disk_before_it_counts(tmp_path, monkeypatch):
    """In this order: the file is flushed, renamed, and its folder is flushed."""
    events = []
    sync, put = os.fsync, os.replace

    def fsync(number):
        events.append(('sync', os.path.isdir(f'/proc/self/fd/{number}')))
        sync(number)

    def replace(source, target):
        events.append('rename')
        put(source, target)
    monkeypatch.setattr(os, 'fsync', fsync)
    monkeypatch.setattr(os, 'replace', replace)
    write_shard(tmp_path, 's', make_rows(), META)
    assert events == [('sync', False), 'rename', ('sync', True)]


@pytest.mark.parametrize('room', [0, 100, 2000])
def test_full_disk(tmp_path, monkeypatch, room):
    """The error of the system with the name of the shard, of which nothing is left."""
    class Full:
        def __init__(self, file):
            self.file, self.left = file, room

        def write(self, data):
            self.left -= len(memoryview(data).cast('B'))
            if self.left < 0:
                raise OSError(errno.ENOSPC, 'No space left on device')
            return self.file.write(data)

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            self.file.__enter__()
            return self

        def __exit__(self, *error):
            return self.file.__exit__(*error)
    true_open = builtins.open
    monkeypatch.setattr(builtins, 'open', lambda path, mode='r', *rest, **named: Full(true_open(path, mode))
                        if mode == 'wb' else true_open(path, mode, *rest, **named))
    with pytest.raises(OSError) as found:
        write_shard(tmp_path, 's', make_rows(), META)
    assert is_disk_full(found.value) and found.value.filename == str(tmp_path / shard_name('s', FINGERPRINT))
    assert os.listdir(tmp_path) == []


def test_folder_that_is_gone(tmp_path):
    """It is not made again: what lay in it is lost, and only who started the run knows what that means."""
    out = tmp_path / 'out'
    with pytest.raises(InputError, match='the folder of token shards .* cannot be read .No such file'):
        write_shard(out, 's', make_rows(), META)
    out.mkdir()

    def rows():
        yield from make_rows()
        shutil.rmtree(out)
    with pytest.raises(InputError, match=r's-.*parquet cannot be written .No such file'):
        write_shard(out, 's', rows(), META)
    assert not out.exists()


def test_two_writers_of_one_shard(tmp_path):
    """Both end well, and the file is that of one of them, which are the same."""
    barrier, errors = threading.Barrier(2), []

    def rows():
        barrier.wait(30)
        yield from make_rows()
        barrier.wait(30)

    def write():
        try:
            write_shard(tmp_path / 'out', 's', rows(), META)
        except BaseException as e:
            errors.append(e)
    (tmp_path / 'out').mkdir()
    threads = [threading.Thread(target=write) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    (tmp_path / 'alone').mkdir()
    alone = write_shard(tmp_path / 'alone', 's', make_rows(), META)
    assert not errors and os.listdir(tmp_path / 'out') == [alone.name]
    assert (tmp_path / 'out' / alone.name).read_bytes() == alone.read_bytes()
