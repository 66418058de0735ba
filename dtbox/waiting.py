"""How the threads of OpenMP wait for each other: awake while this process is alone on its cores, asleep beside others.

Threads that share the work of an operator wait for each other many times in an iteration. GNU's libgomp lets a waiting
thread look again and again (`GOMP_SPINCOUNT`) before it sleeps: fast alone, but beside another program it holds the
core that this program's own next thread waits for. libgomp looks a hundred times only while there are more of its
threads than cores (`gomp_throttled_spin_count_var` in its `config/linux/wait.h`). The number of looks is read once, at
the start of the process; the number of threads may change. So a watch counts twice a second what other processes
compute on these cores, and holds idle threads of libgomp while they are crowded. Nothing that is computed changes.

`tools/benchmarks/neighbour.py` measures it.
"""
from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable, NamedTuple

from dtbox import OPENMP_SPINS

if TYPE_CHECKING:
    import ctypes

PERIOD = 0.5
"""Seconds between two counts."""
CROWDED, FREE = 0.3, 0.15
"""Cores by which the threads of all processes exceed those that there are: above the first the watch begins to hold
threads, below the second it ends it."""
MOST_HELD = 512
"""Threads that a watch holds at most; a process that would need more keeps its threads awake."""


class CoreTimes(NamedTuple):
    """Seconds since some start: `clock`, and what all processes and this one have computed on the cores."""
    clock: float
    all: float
    own: float


def read_times() -> CoreTimes:
    """Read what was computed on the cores that this process may use, from Linux's /proc/stat.

    Raises:
        OSError: a system without that file.
    """
    names = {f'cpu{core}' for core in os.sched_getaffinity(0)}
    busy = 0.0
    for line in Path('/proc/stat').read_text().splitlines():
        name, *values = line.split()
        if name in names:
            user, nice, system, _idle, _iowait, irq, softirq = map(int, values[:7])
            busy += user + nice + system + irq + softirq
    own = os.times()
    return CoreTimes(time.monotonic(), busy / os.sysconf('SC_CLK_TCK'), own.user + own.system)


def excess(before: CoreTimes, after: CoreTimes, cores: int, threads: int) -> float:
    """Return by how many cores the threads of this process and what others compute exceed the cores there are.

    Args:
        before, after: two counts.
        cores: that this process may use.
        threads: on which it computes, each of which would fill a core.
    """
    others = (after.all - before.all) - (after.own - before.own)
    return others / (after.clock - before.clock) + min(threads, cores) - cores


def open_openmp() -> ctypes.CDLL | None:
    """Return the libgomp with which torch computes; None where torch came with another library."""
    import ctypes

    import torch
    for path in sorted(Path(torch.__file__).parent.glob('lib/libgomp*.so*')):
        return ctypes.CDLL(str(path))
    return None


class Watch:
    """Holds idle threads of libgomp while the cores are crowded.

    Args:
        openmp: libgomp.
        threads: on which this process computes.
        cores: that it may use.
        count: reads what was computed.
    """

    def __init__(self, openmp: ctypes.CDLL, threads: int, cores: int,
                 count: Callable[[], CoreTimes] = read_times) -> None:
        self.openmp, self.count = openmp, count
        self.threads, self.cores = threads, cores
        self.last = count()
        self._release: threading.Event | None = None

    @property
    def holds(self) -> bool:
        """Whether threads are held now."""
        return self._release is not None

    def look(self) -> None:
        """Count once more, and hold or release threads."""
        before, self.last = self.last, self.count()
        over = excess(before, self.last, self.cores, self.threads)
        if over > CROWDED and not self.holds:
            self.hold()
        elif over < FREE and self.holds:
            self.release()

    def hold(self) -> None:
        """Let a thread open a team of its own, and keep it: libgomp then has more threads than cores."""
        self._release, ready = threading.Event(), threading.Event()
        threading.Thread(target=self._hold, args=(self._release, ready), daemon=True, name='dtbox-waiting').start()
        ready.wait()

    def _hold(self, release: threading.Event, ready: threading.Event) -> None:
        # a team whose members do nothing: each asks for its number; they stay until the thread that opened it ends
        team = max(self.cores - self.threads, 0) + 2
        self.openmp.GOMP_parallel(self.openmp.omp_get_thread_num, None, team, 0)
        ready.set()
        release.wait()

    def release(self) -> None:
        """Let the held threads end."""
        if self._release is not None:
            self._release.set()
            self._release = None


def _keep_looking(watch: Watch) -> None:
    while True:
        time.sleep(PERIOD)
        watch.look()


_watching: set[int] = set()
"""Process ids that watch: a fork copies the set, but not the thread."""


def watch_neighbours() -> bool:
    """Watch the cores from now on, in a thread that ends with this process; once is enough, more do no harm.

    Returns:
        Whether they are watched: not where the user has said how threads wait, where this process computes on one
        thread, and on systems other than Linux with libgomp and /proc/stat.
    """
    import torch
    threads = torch.get_num_threads()
    if os.environ.get('GOMP_SPINCOUNT') != OPENMP_SPINS or sys.platform != 'linux' or threads < 2:
        return False
    if os.getpid() not in _watching:
        cores, openmp = len(os.sched_getaffinity(0)), open_openmp()
        if openmp is None or cores - threads + 2 > MOST_HELD:
            return False
        try:
            watch = Watch(openmp, threads, cores)
        except (OSError, ValueError):  # a sandbox without /proc/stat, or with another one
            return False
        _watching.add(os.getpid())
        threading.Thread(target=_keep_looking, args=(watch,), daemon=True, name='dtbox-neighbours').start()
    return True
