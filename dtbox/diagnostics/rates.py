"""Seconds of calls on a CPU or a GPU, and the rate of matrix products that they are compared with.

Calls are warmed up, take turns in changing order, and are timed in blocks: by CUDA events on a GPU, which the host does
not blur, by the clock on a CPU. A block holds so many calls that it takes a fraction of a second.
"""
from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import torch

WARM = 3
"""Calls of each contender before any is timed: kernels are chosen, memory is there. What takes longer than its timing
may take, as a call that compiles, is called once, then once more."""
MOST = 200
"""Most calls of a block."""
SIDES = dict(cuda=8192, cpu=1024)
"""Side of the square product that gives the rate of a device."""


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all that it was given."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def time_block(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Return the seconds of a call, the mean of `repeats` in a row."""
    synchronize(device)
    if device.type != 'cuda':
        begun = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - begun) / repeats
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    first.record()
    for _ in range(repeats):
        call()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1000 / repeats


def time_in_turn(calls: Mapping[str, Callable[[], object]], device: torch.device, seconds: float = 1.0,
                 rounds: int = 5, warm: int = WARM) -> dict[str, list[float]]:
    """Time calls that take turns, so that a machine that slows down slows down all.

    Args:
        calls: name -> function without arguments, whose work runs on `device`.
        device: where they run; on a GPU its current stream.
        seconds: that all rounds of one call may take, roughly; a call that is slower runs once a round.
        rounds: in which each has a turn.
        warm: calls of each before any is timed; slow ones are called once.

    Returns:
        name -> seconds of a call in each round.
    """
    repeats = {}
    for name, call in calls.items():
        begun = time.perf_counter()
        for number in range(warm):
            if not number or time.perf_counter() - begun < seconds:
                call()
                synchronize(device)
        once = time_block(call, 1, device)
        repeats[name] = max(1, min(MOST, math.ceil(seconds / rounds / max(once, 1e-7))))
    times: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(time_block(calls[name], repeats[name], device))
    return times


def take_medians(times: Mapping[str, list[float]]) -> dict[str, float]:
    """Return the median of each list."""
    return {name: statistics.median(values) for name, values in times.items()}


def compare_in_turn(times: Mapping[str, list[float]], one: str, other: str) -> float:
    """Return the median over rounds of the seconds of `one` over those of `other`."""
    return statistics.median(a / b for a, b in zip(times[one], times[other]))


@contextlib.contextmanager
def allow_tf32(allowed: bool) -> Iterator[None]:
    """Within the block, let products and convolutions of float32 on a GPU take TF32, or forbid it."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def make_product(device: torch.device, dtype: torch.dtype, side: int) -> Callable[[], torch.Tensor]:
    """Return a function that multiplies two square matrices of a side, 2 side^3 operations."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty(side, side, device=device, dtype=dtype)
    return lambda: torch.mm(a, b, out=out)


def measure_rate(device: torch.device, dtype: torch.dtype, seconds: float = 0.5, side: int | None = None,
                 tf32: bool = False) -> float:
    """Return the operations a second of a large matrix product, a multiply-add counts as two.

    Args:
        device: where.
        dtype: of the matrices.
        seconds: that the measurement takes, roughly.
        side: of the square matrices; None takes that of `SIDES`.
        tf32: let float32 products on a GPU take TF32.
    """
    side = side or SIDES.get(device.type, SIDES['cpu'])
    with allow_tf32(tf32):
        times = time_in_turn(dict(product=make_product(device, dtype, side)), device, seconds)
    return 2 * side ** 3 / take_medians(times)['product']
