"""Several ranks on the cores of one machine, started by the command itself: a small model trains faster on two ranks of
one thread than on two threads, which wait for each other in every layer.

The ranks are forks of the process that the user started, which is rank 0; they end with it. Where one of them ends
before all have joined each other, rank 0 says so and ends: the others would wait for `rank_timeout` seconds.
"""
from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import threading
import time
from typing import Any, Mapping

import torch

from dtbox import distributed
from dtbox.errors import InputError, RankLost, Stopped
from dtbox.processes import end_with_parent

GRACE = 10.0
"""Seconds that the other ranks have to end by themselves after what ends all of them: a signal, bad input."""
PATIENCE = 5.0
"""Seconds that rank 0 has to say by itself what is wrong, once another rank has ended before all have joined."""
TAIL = 2000
"""Characters of what a lost rank has printed that are shown."""


def choose_cpu_ranks(cfg: Mapping[str, Any], launcher: str) -> int:
    """Return how many ranks this process is to start, itself included: `cpu_ranks` of the config, 1 where a launcher
    has started ranks or where there is a GPU."""
    count = cfg.get('cpu_ranks') or 1
    if type(count) is not int or not 1 <= count <= 256:  # the checks before the run say so; nothing is forked
        return 1
    return 1 if launcher != 'none' or torch.cuda.is_available() or 'RANK' in os.environ else count


class LocalRanks:
    """Ranks on this machine, as a context: within the block this process is rank 0, and in each fork another rank.

    Args:
        count: number of ranks; 1 does nothing.

    Attributes:
        launcher: what `Runner.from_config` is to be told.

    Raises:
        InputError: a system without fork.
    """

    def __init__(self, count: int) -> None:
        self.count, self.launcher = count, 'none' if count == 1 else 'pytorch'
        self.consoles: dict[int, str] = {}
        self.rank = 0
        self._ended: dict[int, int] = {}
        self._left, self._watcher = threading.Event(), threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> LocalRanks:
        if self.count == 1:
            return self
        if not hasattr(os, 'fork'):
            raise InputError(f'`cpu_ranks` is {self.count}, but this system cannot fork. Set cpu_ranks=1 '
                             '(--cfg-options cpu_ranks=1), or start the ranks with torchrun.', 'cpu_ranks')
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), WORLD_SIZE=str(self.count))
        sys.stdout.flush()
        sys.stderr.flush()
        for rank in range(1, self.count):
            console = tempfile.mkstemp(prefix=f'dtbox-rank{rank}-')[1]
            parent, pid = os.getpid(), os.fork()
            if not pid:
                end_with_parent(parent)
                self.rank, self.consoles = rank, {}
                self._write_to(console)
                break
            self.consoles[pid] = console
        os.environ.update(RANK=str(self.rank), LOCAL_RANK=str(self.rank))
        if self.consoles:
            self._watcher.start()
        return self

    def _watch(self) -> None:
        """End this process, rank 0, where another rank ends before all have joined: what waits for it in PyTorch's
        store hears no signal."""
        while not self._left.wait(0.1) and not distributed.is_initialized():
            self._ended.update(os.waitpid(pid, os.WNOHANG) for pid in self.consoles if pid not in self._ended)
            self._ended.pop(0, None)
            if self._ended and not self._left.wait(PATIENCE) and not distributed.is_initialized():
                pid, status = next(iter(self._ended.items()))
                code = os.waitstatus_to_exitcode(status)
                how = f'by the signal {signal.Signals(-code).name}' if code < 0 else f'with exit code {code}'
                self._print_console(self.consoles[pid])
                print(f'error: rank {list(self.consoles).index(pid) + 1}, which `cpu_ranks` had started, has ended '
                      f'{how} before the ranks joined each other. Mend what it says, or train on one rank: '
                      '--cfg-options cpu_ranks=1.', file=sys.stderr, flush=True)
                for console in self.consoles.values():
                    os.unlink(console)
                os._exit(1)

    @staticmethod
    def _write_to(path: str) -> None:
        """Let this process print into a file, which rank 0 shows where something goes wrong."""
        file = os.open(path, os.O_WRONLY | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)

    @staticmethod
    def _print_console(path: str) -> None:
        with open(path, errors='replace') as f:
            print(f'The last words of another rank:\n{f.read()[-TAIL:]}', file=sys.stderr)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        self._left.set()
        if self.consoles:
            self._watcher.join()
        joined = distributed.is_initialized()
        for pid, console in self.consoles.items():
            if error is not None and not joined:  # it can only wait for this rank
                self._kill(pid)
            elif error is None:
                self._wait(pid, None)
            else:
                self._wait(pid, GRACE if isinstance(error, (KeyboardInterrupt, Stopped, InputError)) else 0)
            if isinstance(error, RankLost):
                self._print_console(console)
            os.unlink(console)

    def _kill(self, pid: int) -> None:
        if pid not in self._ended:
            os.kill(pid, signal.SIGKILL)
            self._wait(pid, None)

    def _wait(self, pid: int, seconds: float | None) -> None:
        """Wait until a rank has ended, at most so long (None: to its end); one that is left ends with this process."""
        if pid in self._ended:
            return
        if seconds is None:
            os.waitpid(pid, 0)
            return
        deadline = time.monotonic() + seconds
        while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.02)
