"""Workers as actors of a Ray cluster. Run, data and results lie on a file system that all nodes share."""
from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from dtbox.ablation.engines.ray import Cluster
from dtbox.errors import InputError, reason
from dtbox.tokens.encoder import Encoder
from dtbox.tokens.engines.messages import IMAGES, Message, Start, begin, work
from dtbox.tokens.sources import SourceShard

LEAST = (2, 10)
"""Version of Ray from which on generators of actors can be waited for."""


class Actor:
    """What runs on a node. Its methods are generators, so that messages come while it works."""

    def __init__(self) -> None:
        self.encoder: Any = None
        self.out = ''

    def _keep(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def begin(self, start: Start, folder: str) -> Iterator[Message]:
        """Open the tokenizer; `folder` is the working folder of the driver."""
        self.out = start.out
        if os.path.isdir(folder):
            os.chdir(folder)
        yield from begin(start, self._keep)

    def encode(self, shard: SourceShard) -> Iterator[Message]:
        """Encode an input shard."""
        ready: queue.Queue[Message] = queue.Queue()

        def report(images: int) -> None:
            ready.put(Message(IMAGES, number=images))
        threading.Thread(target=lambda: ready.put(work(self.encoder, shard, self.out, report)), daemon=True).start()
        while True:
            message = ready.get()
            yield message
            if message.kind != IMAGES:
                return


class RayEngine:
    """Run workers on a Ray cluster, each on one CPU, or on one GPU where the device is one.

    Args:
        start: what a worker begins with.
        workers: actors; None takes as many as the cluster's resources allow.
        address: see `Cluster`.

    Attributes:
        workers: their number.
        remark: ''.
    """
    waits_for_places = True

    def __init__(self, start: Start, workers: int | None = None, address: str | None = None) -> None:
        self.cluster = Cluster(address)
        ray = self.ray = self.cluster.ray
        check_version(ray)
        self.start_message, self.remark = start, ''
        gpus = self.cluster.gpus if start.settings.device != 'cpu' else 0
        self.cluster.gpus = gpus
        fitting = self.cluster.count_workers(1, 'worker')
        self.workers = workers or fitting
        self.actor = ray.remote(Actor).options(num_cpus=1, num_gpus=gpus, max_restarts=0, max_task_retries=0)

    def start(self, slot: int) -> RayWorker:
        """Start a worker; Ray chooses the node."""
        return RayWorker(self.ray, self.actor.remote(), self.start_message)

    def wait(self, workers: Sequence[RayWorker], seconds: float) -> None:
        """Wait until a worker has something to say or has ended, at most so many seconds."""
        running = [worker.messages for worker in workers if worker.messages is not None]
        if running:
            self.ray.wait(running, num_returns=1, timeout=seconds, fetch_local=False)

    def close(self) -> None:
        """Leave the cluster, or stop the one that was started here."""
        self.cluster.close()


class RayWorker:
    """An actor.

    Args:
        ray: the package.
        actor: its handle.
        start: what it begins with.

    Attributes:
        pid: process id on its node, 0 before it has begun.
        messages: generator of references to the messages of the call that runs; None between two calls.
        why: how it ended, a phrase; '' while it runs.
    """

    def __init__(self, ray: Any, actor: Any, start: Start) -> None:
        self.ray, self.actor = ray, actor
        self.pid, self.why = 0, ''
        self.messages: Any = actor.begin.options(num_returns='streaming').remote(start, os.getcwd())

    def send(self, value: SourceShard | None) -> None:
        """Hand over an input shard; None ends the worker."""
        if value is not None:
            self.messages = self.actor.encode.options(num_returns='streaming').remote(value)

    def receive(self) -> list[Message]:
        """Return what has come; sets `why` where the actor has ended."""
        found: list[Message] = []
        try:
            while self.messages is not None and self.ray.wait([self.messages], timeout=0)[0]:
                found.append(self.ray.get(next(self.messages)))
                self.pid = self.pid or found[0].number
        except StopIteration:
            self.messages = None
        except self.ray.exceptions.RayError as e:
            self.why, self.messages = reason(e), None
        return found

    def stop(self) -> None:
        """End the actor at once."""
        self.ray.kill(self.actor)


def check_version(ray: Any) -> None:
    """Raise `InputError` for a version of Ray that lacks what the engine needs."""
    version = tuple(int(part) for part in ray.__version__.split('.')[:2])
    if version < LEAST:
        raise InputError(f'Ray {ray.__version__} is installed; `dtbox encode` needs {LEAST[0]}.{LEAST[1]} or newer: '
                         'pip install -U "dtbox[ray]", or use --engine local.', '--engine')
