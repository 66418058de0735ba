"""One thread that works off jobs in the order in which they come; a job that nobody waits for any more ends."""
from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Optional

from dtbox.errors import is_told
from dtbox.serving.refusals import Refusal

LOG = logging.getLogger('dtbox.serving')


class Gone(Exception):
    """Nobody waits for a job any more."""


@dataclass(frozen=True)
class Done:
    """The last event of a job: its result."""
    result: Any


@dataclass(frozen=True)
class Failed:
    """The last event of a job: the exception that ended it."""
    error: BaseException


class Job:
    """A piece of work and who listens to it.

    Args:
        work: called in the thread of the worker with the job; returns the result.
        listen: called there with each event that `work` tells, and with `Done` or `Failed` at the end; not after
            `cancel`.
    """

    def __init__(self, work: Callable[[Job], Any], listen: Callable[[Any], None]) -> None:
        self.work: Optional[Callable[[Job], Any]] = work
        self.listen = listen
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        """Let the work end at its next `check`, and nobody hear of it."""
        self.cancelled.set()

    def check(self) -> None:
        """Raise `Gone` once the job is cancelled."""
        if self.cancelled.is_set():
            raise Gone

    def tell(self, event: Any) -> None:
        """Tell the listener of an event."""
        self.check()
        self.listen(event)

    def run(self) -> None:
        """Work; whatever happens, the listener hears of it and the caller of this function does not."""
        work, self.work = self.work, None  # what a request holds is let go with it
        assert work is not None
        end: Any = None
        try:
            self.check()
            end = Done(work(self))
        except Gone:
            return
        except Exception as e:
            if not is_told(e) and not isinstance(e, Refusal):
                LOG.exception('a request failed')
            end = Failed(e.with_traceback(None))
        with contextlib.suppress(Gone, RuntimeError):  # the loop of the listener has ended
            self.tell(end)


class Worker:
    """The thread that works."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[Optional[Job]] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, name='dtbox-serving', daemon=True)
        self.thread.start()

    def submit(self, job: Job) -> None:
        """Let a job be done after those that are there."""
        self.jobs.put(job)

    def stop(self) -> None:
        """Let the thread end after the jobs that are there."""
        self.jobs.put(None)

    def _run(self) -> None:
        while (job := self.jobs.get()) is not None:
            job.run()
            del job  # its request would stay until the next one comes
