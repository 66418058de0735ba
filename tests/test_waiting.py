"""How threads of OpenMP wait for each other: dtbox says it before torch is imported, unless the user has."""
import os
import subprocess
import sys

import pytest
import torch

import dtbox
from dtbox import waiting
from dtbox.waiting import CoreTimes

LINUX = pytest.mark.skipif(sys.platform != 'linux', reason='torch has libgomp there')


def run(code, **variables):
    """Run Python in a process that has of OpenMP's variables only `variables`; returns what it prints, stderr too."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(('OMP_', 'GOMP_', 'KMP_'))}
    env.update(PYTHONPATH=os.pathsep.join(sys.path), **variables)
    return subprocess.run([sys.executable, '-c', code], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=True).stdout


@pytest.mark.parametrize('name, value', [('GOMP_SPINCOUNT', '5'), ('OMP_WAIT_POLICY', 'ACTIVE'),
                                         ('KMP_BLOCKTIME', '1')])
def test_what_a_user_has_said_stays(name, value):
    code = f'import os, dtbox; print(os.environ.get("GOMP_SPINCOUNT"), os.environ[{name!r}])'
    assert run(code, **{name: value}).split() == [value if name == 'GOMP_SPINCOUNT' else 'None', value]


def test_nobody_watches_what_a_user_has_said(monkeypatch):
    """Whatever another process has set for this one, too, unless it is dtbox's own number."""
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 2)
    monkeypatch.setenv('GOMP_SPINCOUNT', '5')
    assert not waiting.watch_neighbours()
    monkeypatch.delenv('GOMP_SPINCOUNT')
    assert not waiting.watch_neighbours()


@LINUX
def test_torch_heeds_it():
    """libgomp of torch's wheel prints what it has read when the command line of a training is imported."""
    out = run('import dtbox.cli.main, dtbox.training.runner', OMP_DISPLAY_ENV='VERBOSE')
    assert f"GOMP_SPINCOUNT = '{dtbox.OPENMP_SPINS}'" in out


@pytest.mark.parametrize('everybody, own, cores, threads, expected', [
    (2.0, 2.0, 2, 2, 0.0),   # alone on both cores
    (3.0, 1.0, 2, 2, 2.0),   # others compute two seconds in this one
    (2.0, 1.0, 64, 8, -55),  # 64 cores, of which others use one
    (60., 0.0, 64, 8, 4.0),
    (1.0, 0.0, 2, 4, 1.0)])  # more threads than cores
def test_excess_by_hand(everybody, own, cores, threads, expected):
    """Cores that others and our threads would fill, beyond those that there are."""
    assert waiting.excess(CoreTimes(5, 7, 3), CoreTimes(6, 7 + everybody, 3 + own), cores, threads) == expected


@LINUX
def test_own_time_is_counted_as_everybodys():
    """What this process computes for a while appears in both counts."""
    before = waiting.read_times()
    while waiting.read_times().own - before.own < 0.5:
        sum(range(100_000))
    after = waiting.read_times()
    assert after.all - before.all > 0.4 and after.clock - before.clock > 0.4


@LINUX
@pytest.mark.parametrize('fault', [FileNotFoundError('/proc/stat'), ValueError('not enough values to unpack')])
def test_a_sandbox_that_hides_the_cores(fault, monkeypatch):
    """A run goes on there, and nobody watches."""
    def read():
        raise fault
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 2)
    monkeypatch.setenv('GOMP_SPINCOUNT', dtbox.OPENMP_SPINS)
    monkeypatch.setattr(waiting.Watch.__init__, '__defaults__', (read,))
    monkeypatch.setattr(waiting, '_watching', set())
    assert not waiting.watch_neighbours()


WATCHED = '''
import os, time, dtbox, torch
from dtbox.waiting import CoreTimes, Watch, open_openmp
torch.set_num_threads(2)
a = torch.randn(300, 300)
first = a @ a + a.exp()
times = [CoreTimes(t, others, 0) for t, others in enumerate([0, .1, 1.1, 2.1, 2.3, 2.4])]
counts = iter(times)
watch = Watch(open_openmp(), 2, 2, lambda: next(counts))
tasks = lambda: len(os.listdir('/proc/self/task'))
start = tasks()
for _ in times[1:]:
    watch.look()
    late = time.monotonic() + 20
    while tasks() != start + 2 * watch.holds and time.monotonic() < late:
        time.sleep(0.01)  # a thread of the system outlives Python's by a moment
    print(watch.holds, tasks() - start, torch.equal(first, a @ a + a.exp()))
'''


@LINUX
def test_threads_are_held_beside_others():
    """Others use .1, 1, 1, .2, .1 cores: held from the second look, kept at .2, released below .15. A hold is a thread
    and the member of its team; results are equal to the last bit."""
    lines = run(WATCHED).split('\n')[:5]
    assert lines == ['False 0 True', 'True 2 True', 'True 2 True', 'True 2 True', 'False 0 True']


SPINNING = '''
import os, time, dtbox, torch
from dtbox.waiting import Watch, open_openmp
torch.set_num_threads(2)
a = torch.ones(1 << 20)
watch = Watch(open_openmp(), 2, len(os.sched_getaffinity(0)))
def idle():
    used = 0.0
    for _ in range(10):
        a.add_(1)
        begun = time.process_time()
        time.sleep(0.02)
        used += time.process_time() - begun
    return used
awake = idle()
watch.hold()
idle()
asleep = idle()
watch.release()
time.sleep(0.2)
print(awake, asleep, idle())
'''


@LINUX
def test_held_threads_let_others_sleep():
    """Between two operators libgomp's thread looks for 30 s with this number of spins, and sleeps at once while threads
    are held."""
    awake, asleep, again = map(float, run(SPINNING, GOMP_SPINCOUNT='30000000000').split())
    assert asleep < awake / 4 and asleep < again / 4


@LINUX
def test_a_process_watches_once():
    """Opened twice, one thread; with one thread of torch, none."""
    code = ('import threading, dtbox, torch; from dtbox.waiting import watch_neighbours as watch\n'
            'torch.set_num_threads(1); print(watch()); torch.set_num_threads(2); print(watch(), watch(), '
            'sum(t.name == "dtbox-neighbours" for t in threading.enumerate()))')
    assert run(code).split() == ['False', 'True', 'True', '1']
