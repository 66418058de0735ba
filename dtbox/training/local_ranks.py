"""Several ranks on the cores of one machine, started by the command itself: a small model trains faster on two ranks of
one thread than on two threads, which wait for each other in every layer.

The ranks are forks of the process that the user started, which is rank 0; they end with it.
"""
from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from typing import Any, Mapping

import torch

from dtbox.errors import InputError, RankLost, Stopped
from dtbox.processes import end_with_parent

GRACE = 10.0
"""Seconds that the other ranks have to end by themselves after what ends all of them: a signal, bad input."""
TAIL = 2000
"""Characters of what a lost rank has printed that are shown."""


def choose_cpu_ranks(cfg: Mapping[str, Any], launcher: str) -> int:
    """Return how many ranks this process is to start, itself included: `cpu_ranks` of the config, 1 where a launcher
    has started ranks or where there is a GPU."""
    count = cfg.get('cpu_ranks') or 1
    return 1 if launcher != 'none' or torch.cuda.is_available() or 'RANK' in os.environ else int(count)


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
        return self

    @staticmethod
    def _write_to(path: str) -> None:
        """Let this process print into a file, which rank 0 shows where something goes wrong."""
        file = os.open(path, os.O_WRONLY | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        for pid, console in self.consoles.items():
            if error is None:
                os.waitpid(pid, 0)
            else:
                _wait(pid, GRACE if isinstance(error, (KeyboardInterrupt, Stopped, InputError)) else 0)
            if isinstance(error, RankLost):
                with open(console, errors='replace') as f:
                    print(f'The last words of another rank:\n{f.read()[-TAIL:]}', file=sys.stderr)
            os.unlink(console)


def _wait(pid: int, seconds: float) -> None:
    """Wait until a rank has ended, at most so long; one that is left ends with this process."""
    deadline = time.monotonic() + seconds
    while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.02)
