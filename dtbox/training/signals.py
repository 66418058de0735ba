"""Signals that end a run: what clusters send before they take a machine away, and Ctrl-C."""
from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dtbox.training.task import Task

TERMINATING = [signal.SIGTERM] + ([signal.SIGUSR1] if hasattr(signal, 'SIGUSR1') else [])
"""What clusters send."""


class StopSignals:
    """Within the block, a signal asks the task to stop after the present step; the Runner then saves.

    A second Ctrl-C raises `KeyboardInterrupt` at once, and so does one outside of a training step (`in_step` False).
    Signals come to the main thread alone; in another one nothing is changed.

    Args:
        task: whose `stop_wanted` is set.

    Attributes:
        interrupted: whether it was Ctrl-C.
        in_step: whether the run is between its first and its last training step, evaluations apart.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.interrupted = False
        self.in_step = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            handlers = {**dict.fromkeys(TERMINATING, self._terminate), signal.SIGINT: self._interrupt}
            self._before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _terminate(self, number: int, frame: Any) -> None:
        self.task.stop_wanted = True

    def _interrupt(self, number: int, frame: Any) -> None:
        if self.interrupted or not self.in_step:
            raise KeyboardInterrupt
        self.interrupted = self.task.stop_wanted = True
        print('\nCtrl-C: the run saves its state after this iteration and ends; press again to end it at once.',
              file=sys.stderr)
