"""Hands input shards to workers as these become free; replaces workers that die or hang, a limited number of times."""
from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Optional

from dtbox.ablation.endings import stop_on_sigterm
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.tokens.encoding import Outcome
from dtbox.tokens.engines.messages import BEGUN, DONE, FAILED, IMAGES, READY, REFUSED, STOP, Message
from dtbox.tokens.sources import SourceShard

WAIT = 0.5
"""Most seconds between two looks at the workers."""


@dataclass(frozen=True)
class Limits:
    """What is done about workers that die or hang.

    Attributes:
        tries: times that an input shard is begun, before it is given up.
        restarts: workers that are replaced, before everything is stopped.
        timeout: seconds without a batch after which a worker counts as hanging.
    """
    tries: int = 3
    restarts: int = 20
    timeout: float = 600.0

    def __post_init__(self) -> None:
        for name, least in (('tries', 1), ('restarts', 0), ('timeout', 0.001)):
            if getattr(self, name) < least:
                raise InputError(f'got {getattr(self, name)}; expected at least {least:g}.', f'--{name}')


@dataclass
class Slot:
    """A place of a worker.

    Attributes:
        number: from 0.
        worker: of the engine, or None.
        shard: what it encodes.
        ready: whether its tokenizer is open.
        heard: when its last message came, or its process was started (seconds, monotonic); None while it may wait for
            a place in a cluster.
    """
    number: int
    worker: Any = None
    shard: Optional[SourceShard] = None
    ready: bool = False
    heard: Optional[float] = None


class Schedule:
    """The input shards of one start.

    Args:
        engine: see `dtbox.tokens.engines`.
        limits: Limits.
        progress: has `begin()`, `images(number)`, `done(outcome)`, `failed(shard, why)` and `say(text)`.

    Attributes:
        failed: name of an input shard -> why it is not done.
        pids: process ids of the workers that run.
    """

    def __init__(self, engine: Any, limits: Limits, progress: Any) -> None:
        self.engine, self.limits = engine, limits
        self.progress = progress
        self.failed: dict[str, str] = {}
        self.tries: Counter[str] = Counter()
        self.waiting: deque[SourceShard] = deque()
        self.replaced = 0

    def run(self, shards: Iterable[SourceShard]) -> None:
        """Encode input shards; those that fail are in `failed`.

        Raises:
            InputError: workers cannot begin, too many have died, the disk is full or the folder gone. What is written
                stays.
        """
        self.waiting.extend(shards)
        slots = [Slot(number) for number in range(min(self.engine.workers, len(self.waiting)))]
        with stop_on_sigterm():
            try:
                while self.waiting or any(slot.shard for slot in slots):
                    for slot in slots:
                        self._fill(slot)
                    self.engine.wait([slot.worker for slot in slots if slot.worker], self._patience())
                    for slot in slots:
                        self._look(slot)
            finally:
                for slot in slots:
                    self._empty(slot)

    def _patience(self) -> float:
        return min(WAIT, self.limits.timeout / 4)

    def _fill(self, slot: Slot) -> None:
        """Give a slot a worker, and its worker an input shard."""
        if slot.worker is None and self.waiting:
            slot.worker, slot.ready = self.engine.start(slot.number), False
            slot.heard = None if self.engine.waits_for_places else time.monotonic()
        if slot.ready and slot.shard is None and self.waiting:
            slot.shard = self.waiting.popleft()
            self.tries[slot.shard.name] += 1
            slot.heard = time.monotonic()
            slot.worker.send(slot.shard)

    def _look(self, slot: Slot) -> None:
        """Take what a worker says, and notice its end."""
        if slot.worker is None:
            return
        for message in slot.worker.receive():
            slot.heard = time.monotonic()
            self._take(slot, message)
        if slot.worker.why:
            self._replace(slot, slot.worker.why)
        elif slot.heard and (slot.shard or not slot.ready) and self._is_late(slot.heard):
            self._replace(slot, f'it hung: nothing came from it for {self.limits.timeout:g} seconds')

    def _is_late(self, heard: float) -> bool:
        return time.monotonic() - heard > self.limits.timeout

    def _take(self, slot: Slot, message: Message) -> None:
        if message.kind == READY:
            slot.ready = True
            self.progress.begin()
        elif message.kind == IMAGES:
            self.progress.images(message.number)
        elif message.kind in (REFUSED, STOP):
            raise InputError(f'{message.text}{"" if message.text.endswith(".") else "."} What is written stays; the '
                             'same command continues.' if message.kind == STOP else message.text)
        elif message.kind in (DONE, FAILED):
            shard, slot.shard = slot.shard, None
            assert shard is not None, f'{message.kind} without an input shard'
            if message.kind == DONE:
                self._finish(message.outcome)
            else:
                self._give_up(shard, message.text)
        else:
            assert message.kind == BEGUN, message.kind

    def _finish(self, outcome: Outcome | None) -> None:
        assert outcome is not None
        self.progress.done(outcome)

    def _give_up(self, shard: SourceShard, why: str) -> None:
        self.failed[shard.name] = why
        self.progress.failed(shard.name, why)

    def _replace(self, slot: Slot, why: str) -> None:
        """Take away a worker that died or hangs; its input shard is tried again after the others."""
        name, shard = f'worker {slot.number} (pid {slot.worker.pid})', slot.shard
        self._empty(slot)
        self.replaced += 1
        doing = f'encoded {shard.name}' if shard else 'began'
        if self.replaced > self.limits.restarts:
            raise InputError(f'{format_count(self.replaced, "worker")} died or hung, more than --restarts '
                             f'{self.limits.restarts}; the last one, while it {doing}: {why}. What is written stays; '
                             'the same command continues.')
        if shard is None:
            self.progress.say(f'{name} is replaced: while it {doing}, {why}.')
        elif self.tries[shard.name] >= self.limits.tries:
            self._give_up(shard, f'{format_count(self.tries[shard.name], "worker")} ended over it; the last one: {why}')
        else:
            self.progress.say(f'{name} is replaced: while it {doing}, {why}. The shard is tried again.')
            self.waiting.append(shard)

    @staticmethod
    def _empty(slot: Slot) -> None:
        if slot.worker is not None:
            slot.worker.stop()
        slot.worker, slot.shard = None, None
        slot.ready, slot.heard = False, None
