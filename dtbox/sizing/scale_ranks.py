"""What the ranks of the check of `scale` do: training steps whose collectives are counted, and timed all-reduces.

Every collective of a step is booked to the Kind whose sender is on the stack; those of DistributedDataParallel by a
communication hook. A collective that no Kind explains has a line of its own, so that a new collective of the training
step is noticed.
"""
from __future__ import annotations

import functools
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config

from dtbox.sizing.communication import list_kinds, read_facts

OWN = dict(all_reduce=0, all_gather=1, broadcast=0, reduce=0, all_gather_into_tensor=1, reduce_scatter=1,
           reduce_scatter_tensor=1, gather=0)
"""Collective of torch.distributed -> which argument a process hands over."""
OBJECTS = ('all_gather_object', 'broadcast_object_list', 'gather_object')
WARM = 4
"""Steps before any is timed: DistributedDataParallel rearranges its buckets after the first."""


class Counted:
    """Counts the bytes that this process hands to collectives inside a `with` block.

    Attributes:
        sent: name of a Kind -> [calls, bytes].
    """

    def __init__(self) -> None:
        self.sent, self.real = {}, {}
        self.senders = {kind.sender: kind.name for kind in list_kinds() if kind.sender}

    def __enter__(self) -> Counted:
        for name in (*OWN, *OBJECTS):
            self.real[name] = getattr(dist, name)
            setattr(dist, name, self._counting(name))
        return self

    def __exit__(self, *error: Any) -> None:
        for name, function in self.real.items():
            setattr(dist, name, function)

    def book(self, name: str, size: int) -> None:
        """Add a call of `size` bytes."""
        calls, total = self.sent.get(name, (0, 0))
        self.sent[name] = (calls + 1, total + size)

    def _counting(self, name):
        real = self.real[name]

        @functools.wraps(real)
        def counting(*args, **kwargs):
            own = args[OWN[name]] if name in OWN else []
            self.book(self._sender(name), sum(t.nbytes for t in ([own] if isinstance(own, torch.Tensor) else own)))
            return real(*args, **kwargs)
        return counting

    def _sender(self, name):
        frame, first = sys._getframe(2), None
        while frame is not None:
            place = frame.f_globals.get('__name__', ''), frame.f_code.co_name
            if place in self.senders:
                return self.senders[place]
            first = first or (place if place[0].startswith('dtbox') and place[0] != 'dtbox.distributed' else None)
            frame = frame.f_back
        return f'not in the model: {name} of {".".join(first) if first else "another package"}'

    def make_hook(self, name: str) -> Callable:
        """Return a communication hook that averages as DistributedDataParallel does and books to `name`."""
        reduce, world = dist.all_reduce, dist.get_world_size()  # outside of the block: the real one

        def hook(state, bucket):
            if self.real:
                self.book(name, bucket.buffer().nbytes)
            future = reduce(bucket.buffer().div_(world), async_op=True).get_future()
            return future.then(lambda done: done.value()[0])
        return hook


@dataclass
class Trained:
    """What one rank measured in its steps.

    Attributes:
        seconds: of each.
        sent: of each, see `Counted`.
        restarted: bytes of the rows of each that went to codes that restarted.
        facts: Facts of the model.
    """
    seconds: list
    sent: list
    restarted: list
    facts: object


def train(rank: int, world: int, source: tuple, batch: int, steps: int) -> Trained:
    """Train in one of `world` ranks, as the Runner wraps the model, with the discriminator from the first step on.

    Data is loaded before.

    Args:
        rank, world: of this process in its group.
        source: (config, overrides as of the command line, plugins).
        batch: images a process.
        steps: number of timed steps.

    Returns:
        Trained.
    """
    from dtbox.training.build import build_parts
    from dtbox.training.parallel import DDP
    cfg = load_config_of(source, batch)
    parts = build_parts(cfg, 0)
    model = parts['model']
    model.init_weights()
    facts = read_facts(model, (cfg.model.get('gan') or {}).get('adversarial'))
    counted = Counted()
    if world > 1:
        DDP().wrap(model, parts['optim'])
        model.wrapped_tokenizer.register_comm_hook(None, counted.make_hook('gradients of the tokenizer'))
        if model.discriminator is not None:
            model.wrapped_discriminator.register_comm_hook(None, counted.make_hook('gradients of the discriminator'))
    model.train()
    books = [m for m in model.tokenizer.modules() if hasattr(m, 'restarts') and hasattr(m, 'dim')]
    batches = [one for one, _ in zip(parts['train'], range(4))]
    trained = Trained([], [], [], replace(facts, batch=batch, world=world))
    for i in range(WARM + steps):
        before = [book.restarts for book in books]
        dist.barrier()
        counted.sent = {}
        start = time.perf_counter()
        with counted:
            model.train_step(batches[i % len(batches)], parts['optim'])
        if i >= WARM:
            trained.seconds.append(time.perf_counter() - start)
            trained.sent.append(counted.sent)
            trained.restarted.append(sum(4 * book.dim * (book.restarts - b) for book, b in zip(books, before)))
    return trained


def load_config_of(source: tuple, batch: int) -> Config:
    """Return the resolved config of a `source` (see `train`), with the discriminator from the first step on."""
    from dtbox.config import load_config, resolve
    from dtbox.config.options import parse_options
    config, options, plugins = source
    cfg = resolve(load_config(config, parse_options(options), plugins))
    cfg.train_dataloader.update(batch_size=batch, num_workers=0)
    if cfg.model.get('gan'):
        cfg.model.gan.adversarial.update(start=0)
    return cfg


def time_transfers(rank: int, world: int, sizes: Sequence[int], repeats: int) -> list[float]:
    """Time all-reduces: the median seconds of each of `sizes` bytes."""
    medians = []
    for size in sizes:
        values, times = torch.zeros(size // 4), []
        for _ in range(repeats):
            dist.barrier()
            start = time.perf_counter()
            dist.all_reduce(values)
            times.append(time.perf_counter() - start)
        medians.append(statistics.median(times))
    return medians
