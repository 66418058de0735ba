"""Processes end with their parent: ranks, and programs that tests start, when the parent is killed."""
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from dtbox.training.dataloaders import build_train_dataloader
from tests.child_processes import fork_child, is_running, run_fork, start_child

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='looks at /proc')

BUSY_RANKS = '''
import sys, time
from dtbox.testing.rank_group import Ranks
from tests.test_processes import report_pid, stay

if __name__ == '__main__':
    ranks = Ranks(2)
    print(*ranks.run(report_pid), flush=True)
    ranks.run(stay)
'''
BUSY_CHILD = '''
import subprocess, sys
from dtbox.training.dataloaders import build_train_dataloader
from tests.child_processes import start_child
child = start_child([sys.executable, '-c', 'import time; time.sleep(300)'])
print(child.pid, flush=True)
child.wait()
'''


BUSY_FORK = '''
from pathlib import Path
from tests.child_processes import fork_child

if __name__ == '__main__':
    script = Path(__file__).with_name('child.py')
    script.write_text('import time; time.sleep(300)')
    child = fork_child([script])
    print(child.pid, flush=True)
    child.wait()
'''
SCRIPT = '''
import json, os, signal, sys
facts = [__name__, sys.argv, sorted(os.environ), os.getcwd(), os.getpid(), len(os.listdir('/proc/self/task'))]
print(json.dumps([*facts, 'torch' in sys.modules, sys.stdout.isatty()]))
print('to stderr', file=sys.stderr)
if 'stay' in sys.argv:
    signal.pause()
sys.exit(3)
'''


def report_pid(rank, world):
    import os
    return os.getpid()


def stay(rank, world):
    """Run for ever, like a training whose end nobody waits for; no pipe is read that could tell of the end."""
    while True:
        time.sleep(0.01)


def wait_for_ends(pids):
    """Wait up to ten seconds for processes to end; returns those that had to be killed."""
    deadline = time.monotonic() + 10
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = [pid for pid in pids if is_running(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return left


@pytest.mark.parametrize('code, count', [(BUSY_RANKS, 2), (BUSY_CHILD, 1), (BUSY_FORK, 1)],
                         ids=['ranks', 'child', 'fork'])
def test_killed_parent_leaves_nothing(code, count, tmp_path):
    (tmp_path / 'parent.py').write_text(f'import sys\nsys.path[:0] = {sys.path!r}\n{code}')
    with start_child([sys.executable, str(tmp_path / 'parent.py')], stdout=subprocess.PIPE, text=True) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == count and all(map(is_running, pids))
        parent.send_signal(signal.SIGKILL)
    assert not wait_for_ends(pids)


def test_a_fork_is_the_process_of_a_script(tmp_path):
    """Its arguments, variables, folder, streams, threads and end are those that `python SCRIPT` would have."""
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT)
    done = run_fork([script, 'a', 7], env=dict(HOME='/', OMP_NUM_THREADS='1'), cwd=tmp_path)
    *facts, pid, threads, torch, terminal = json.loads(done.stdout)
    assert facts == ['__main__', [str(script), 'a', '7'], ['HOME', 'OMP_NUM_THREADS'], str(tmp_path)]
    assert pid != os.getpid() and (threads, torch, terminal) == (1, True, False)
    assert done.returncode == 3 and done.stderr == 'to stderr\n'
    child = fork_child([script, 'stay'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.1)
    assert child.poll() is None and is_running(child.pid)
    child.terminate()
    assert child.wait(30) == child.returncode == -signal.SIGTERM and not is_running(child.pid)
    child.kill()  # nothing is there any more


@pytest.mark.parametrize('platform', ['linux', 'other'])
def test_orphan_ends_at_once(platform):
    """The parent may have ended before its child can ask to end with it; elsewhere than on Linux a thread looks."""
    gone = subprocess.run([sys.executable, '-c', 'import os; print(os.getpid())'], capture_output=True,
                          text=True).stdout.strip()
    code = (f'from dtbox import processes\nprocesses.sys.platform = {platform!r}\nprocesses.end_with_parent({gone})\n'
            'processes.time.sleep(60)')
    begun = time.monotonic()
    assert subprocess.run([sys.executable, '-c', code]).returncode == 137
    assert time.monotonic() - begun < 30


def load_for_ever(pids):
    """Start the workers of a run's loader, whose samples never come."""
    loader = build_train_dataloader(dict(dataset=dict(type='Twemoji'), batch_size=2, num_workers=2), 0)
    loader.dataset.__class__.__getitem__ = lambda self, index: time.sleep(300)
    batches = iter(loader)
    pids.put([worker.pid for worker in multiprocessing.active_children()])
    next(batches)


def test_workers_of_a_killed_run():
    """A run is killed while its workers wait for a disk: PyTorch's own look at the parent comes after the sample."""
    fork = multiprocessing.get_context('fork')
    pids = fork.Queue()
    run = fork.Process(target=load_for_ever, args=(pids,))
    run.start()
    workers = pids.get(timeout=60)
    assert len(workers) == 2 and all(map(is_running, workers))
    run.kill()
    assert not wait_for_ends(workers)
