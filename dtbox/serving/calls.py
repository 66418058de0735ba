"""A request on its way: from the thread of the worker to the event loop that answers it."""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from dtbox.serving.jobs import Done, Failed, Job
from dtbox.serving.refusals import TIMEOUT, TOO_MANY, Refusal, explain
from dtbox.serving.work import Preview

MOST_PREVIEWS = 4
"""Previews that wait for a client; further ones are left out until it has read these."""
Receive = Callable[[], Awaitable[Any]]


class HungUp(Exception):
    """The client has gone."""


class Admission:
    """Counts the requests in a server: one is answered, some wait. Used in the event loop alone.

    Args:
        waiting: most requests that wait.
    """

    def __init__(self, waiting: int) -> None:
        self.most, self.count = waiting + 1, 0

    def enter(self) -> None:
        """Let a request in; `Refusal` where there are too many."""
        if self.count >= self.most:
            raise Refusal(TOO_MANY, f'the queue of this server is full: it holds {self.most - 1} requests beside the '
                          'one that is answered. Send the request again later.')
        self.count += 1

    def leave(self) -> None:
        """Let a request go."""
        self.count -= 1


class Call:
    """A job, and its events as the event loop gets them.

    Args:
        compute: called in the thread of the worker with what it tells events to.
        seconds: until the answer must be complete.
    """

    def __init__(self, compute: Callable[[Job], Any], seconds: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.end = self.loop.time() + seconds
        self.seconds = seconds
        self.events: asyncio.Queue[Any] = asyncio.Queue()
        self.job = Job(compute, self._listen)

    def _listen(self, event: Any) -> None:
        if not isinstance(event, Preview) or self.events.qsize() < MOST_PREVIEWS:
            self.loop.call_soon_threadsafe(self.events.put_nowait, event)

    def close(self) -> None:
        """Let the job end, whether it is done or not."""
        self.job.cancel()

    async def next(self) -> Any:
        """Return the next event, `Done` the last; raises a `Refusal` where the job failed, or its time is over."""
        try:
            event = await asyncio.wait_for(self.events.get(), self.end - self.loop.time())
        except TimeoutError:
            raise make_timeout(self.seconds) from None
        if isinstance(event, Failed):
            raise explain(event.error)
        return event

    async def next_unless_gone(self, receive: Receive) -> Any:
        """Return the next event as `next` does; raises `HungUp` once the client has gone.

        Args:
            receive: of ASGI, after the whole request was read.
        """
        event = asyncio.ensure_future(self.next())
        gone = asyncio.ensure_future(wait_for_disconnect(receive))
        try:
            await asyncio.wait((event, gone), return_when=asyncio.FIRST_COMPLETED)
            if not event.done():
                raise HungUp
            return event.result()
        finally:
            event.cancel()
            gone.cancel()

    async def result(self, receive: Receive) -> Any:
        """Return the result; raises as `next_unless_gone`."""
        while True:
            event = await self.next_unless_gone(receive)
            if isinstance(event, Done):
                return event.result


def make_timeout(seconds: float) -> Refusal:
    """Return what is said of a request that takes too long."""
    return Refusal(TIMEOUT, f'the answer was not complete after {seconds:g} seconds, the most that this server takes. '
                   'Ask for less, or send the request again later.')


async def wait_for_disconnect(receive: Receive) -> None:
    """Return once the client has gone."""
    while (await receive())['type'] != 'http.disconnect':
        pass
