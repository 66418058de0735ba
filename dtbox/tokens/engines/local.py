"""Workers as processes of this machine: one a GPU, or one a core with one thread."""
from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import Any

from dtbox.ablation.engines.local import list_visible_gpus
from dtbox.ablation.engines.process import build_environment
from dtbox.ablation.machine import count_cores
from dtbox.counts import format_count
from dtbox.tokens.engines.messages import Message, Start
from dtbox.tokens.sources import SourceShard


class LocalEngine:
    """Run workers on this machine.

    Args:
        start: what a worker begins with.
        workers: processes; None takes one a GPU that the device names, or one a core.

    Attributes:
        workers: their number.
        remark: what to tell the user about them, or ''.
    """
    waits_for_places = False

    def __init__(self, start: Start, workers: int | None = None) -> None:
        self.start_message = start
        self.gpus = list_visible_gpus() if start.settings.device == 'cuda' else []
        fitting = count_cores() if start.settings.device == 'cpu' else len(self.gpus) or 1
        self.workers = workers or fitting
        self.remark = ''
        if start.settings.device == 'cpu' and self.workers > count_cores():
            self.remark = (f'{format_count(self.workers, "worker")} of one thread use '
                           f'{format_count(count_cores(), "core")}: they slow one another down.')

    def start(self, slot: int) -> LocalWorker:
        """Start the worker of a slot, from 0."""
        return LocalWorker(self.start_message, self.gpus[slot % len(self.gpus)] if self.gpus else None)

    def wait(self, workers: Sequence[LocalWorker], seconds: float) -> None:
        """Wait until a worker has something to say or has ended, at most so many seconds."""
        wait([worker.pipe for worker in workers], seconds)

    def close(self) -> None:
        """Nothing to put away."""


class LocalWorker:
    """A process.

    Args:
        start: what it begins with.
        device: what CUDA_VISIBLE_DEVICES is to be, or None to leave it.

    Attributes:
        pid: process id.
        why: how it ended, a phrase; '' while it runs.
    """

    def __init__(self, start: Start, device: str | None = None) -> None:
        self.pipe, theirs = Pipe()
        self.why = ''
        self.process = launch(theirs, build_environment(1, device))
        theirs.close()
        self.pid = self.process.pid
        self.send(start)

    def send(self, value: Start | SourceShard | None) -> None:
        """Hand over an input shard; None ends the worker. `receive` notices one that has died and takes nothing."""
        with contextlib.suppress(OSError):
            self.pipe.send(value)

    def receive(self) -> list[Message]:
        """Return what has come; sets `why` where the process has ended."""
        found: list[Message] = []
        try:
            while not self.why and self.pipe.poll():
                found.append(self.pipe.recv())
        except (EOFError, OSError):
            self.why = self._explain()
        return found

    def _explain(self) -> str:
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f'signal {-code}'
            return f'its process was ended by {name}' + (' (out of memory?)' if -code == signal.SIGKILL else '')
        return f'its process ended with exit code {code}'

    def stop(self) -> None:
        """End the process at once; what it was writing stays unfinished, under another name. One that even the kernel
        cannot end, since its disk does not answer, is left behind."""
        self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.pipe.close()


def launch(pipe: Any, env: dict[str, str]) -> Any:
    """Start the process of a worker with its end of a pipe; returns subprocess.Popen."""
    number = pipe.fileno()
    return subprocess.Popen([sys.executable, '-m', 'dtbox.tokens.engines.worker', str(number), str(os.getpid())],
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=env, pass_fds=[number],
                            start_new_session=True)  # Ctrl-C is for the driver, which ends its workers
