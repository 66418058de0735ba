"""A run folder has one owner: of runs that want it at the same moment one gets it, and the others change nothing."""
import errno
import multiprocessing
import os
import time

import pytest

from dtbox.errors import InputError
from dtbox.locks import Locked, find_holder
from dtbox.run_owner import take_folder
from dtbox.runs import RunFolder

FORK = multiprocessing.get_context('fork')


def want(path, name, start, ended, won):
    """Take the folder as a new run does, write a file, keep the lock until all have tried."""
    start.wait()
    lock = Locked(os.path.join(path, '.running'), 'the run')
    try:
        take_folder(path, lock, move=True)
    except InputError:
        won.put(None)
    else:
        with open(os.path.join(path, 'config.py'), 'w') as file:
            file.write(name)
        won.put(name)
    ended.wait()


@pytest.mark.parametrize('round', range(20))
def test_races(tmp_path, round):
    """Three processes at the same moment, on a folder that holds an earlier run."""
    path = str(tmp_path / 'run')
    os.makedirs(path)
    (tmp_path / 'run' / 'config.py').write_text('earlier')
    start, ended = FORK.Barrier(3), FORK.Event()
    won = FORK.Queue()
    children = [FORK.Process(target=want, args=(path, str(i), start, ended, won), daemon=True) for i in range(3)]
    for child in children:
        child.start()
    found = [won.get(timeout=30) for _ in children]
    ended.set()
    for child in children:
        child.join(30)
    winner, = [name for name in found if name is not None]
    assert (tmp_path / 'run' / 'config.py').read_text() == winner
    assert (tmp_path / 'run.1' / 'config.py').read_text() == 'earlier' and not (tmp_path / 'run.2').exists()
    assert find_holder(os.path.join(path, '.running')) == ''  # it is let go when its process ends


def test_forked_workers_do_not_keep_the_lock(tmp_path):
    """A DataLoader's workers inherit the open file; they may live on for a while."""
    run = RunFolder(tmp_path / 'run')
    run.prepare(resume=False)
    worker = FORK.Process(target=time.sleep, args=(30,), daemon=True)
    worker.start()
    run.release()
    try:
        assert find_holder(run.running_lock) == ''
        RunFolder(run.path).prepare(resume=True)
    finally:
        worker.kill()
        worker.join()


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    """One sentence, whatever the system says; what was there stays."""
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'config.py').write_text('mine')

    def refuse(*_, **__):
        raise PermissionError(13, 'Permission denied')
    for place in ('dtbox.locks.os.makedirs', 'dtbox.locks.open'):
        with monkeypatch.context() as patch:
            patch.setattr(place, refuse, raising=False)
            with pytest.raises(InputError, match='the work dir .*run cannot be made or written to .Permission denied.*'
                                                 'Give another --work-dir'):
                RunFolder(tmp_path / 'run').prepare(resume=True)
    assert os.listdir(tmp_path) == ['run'] and (tmp_path / 'run' / 'config.py').read_text() == 'mine'


@pytest.mark.parametrize('name, says', [
    ('checkpoint.pth', 'checkpoint.pth is not a file'), ('history.jsonl', 'history.jsonl is not a file'),
    ('images', 'images is not a folder'), ('nonfinite', 'nonfinite is not a folder')])
def test_something_else_in_the_place_of_a_file(tmp_path, name, says):
    """It is told before the first iteration, not when the run saves; nothing changes."""
    place = tmp_path / name
    place.mkdir() if 'file' in says else place.touch()
    with pytest.raises(InputError, match=f'{says}, and a run writes'):
        RunFolder(tmp_path).prepare(resume=True)
    assert os.listdir(tmp_path) == [name]


def test_a_folder_of_a_run_that_may_not_be_written_to(tmp_path, monkeypatch):
    """Its lock file may be written to, and so says nothing."""
    (tmp_path / '.running').touch()
    monkeypatch.setattr('dtbox.runs.os.access', lambda place, mode: os.fspath(place) != str(tmp_path))
    with pytest.raises(InputError, match='the folder .* may not be written to'):
        RunFolder(tmp_path).prepare(resume=True)


def test_a_resumed_run_tidies_up(tmp_path):
    """What a killed run was writing goes with the next start; the rest stays, and what lies behind links."""
    tmp_path = tmp_path / 'run'
    run = RunFolder(tmp_path)
    os.makedirs(run.images)
    for name in ('.checkpoint.ab12.part.pth', 'images/.iter_000004.cd34.part.png', 'images/iter_000002.png', '.hidden'):
        (tmp_path / name).write_text('half')
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere' / '.a.part').touch()
    os.rename(tmp_path / 'elsewhere', tmp_path.parent / 'elsewhere')
    (tmp_path / 'link').symlink_to(tmp_path.parent / 'elsewhere')
    run.prepare(resume=True)
    run.release()
    assert sorted(os.listdir(tmp_path)) == ['.hidden', '.running', 'images', 'link']
    assert os.listdir(tmp_path.parent / 'elsewhere') == ['.a.part']
    assert os.listdir(run.images) == ['iter_000002.png']


def test_errors_of_the_system_while_a_run_holds_its_folder(tmp_path):
    """Of a file in the folder they become one sentence; a full disk, another file and none at all stay as they are."""
    run = RunFolder(tmp_path / 'run')
    (tmp_path / 'run').mkdir()
    own = os.path.join(run.path, 'log.txt')
    with pytest.raises(InputError, match=r'log\.txt cannot be written \(Permission denied\)'), run.hold():
        raise PermissionError(errno.EACCES, 'Permission denied', own)
    for error in (OSError(errno.ENOSPC, 'No space left on device', own), OSError(errno.ECONNRESET, 'reset by peer'),
                  PermissionError(errno.EACCES, 'Permission denied', str(tmp_path / 'run.txt'))):
        with pytest.raises(OSError) as found, run.hold():
            raise error
        assert found.value is error
    assert run.lock is None and find_holder(run.running_lock) == ''
