"""What the profiler of PyTorch saw of a call: how long the device was busy, and which operators and parts took it.

Times of operators are their own: on a CPU without those of operators that they call, on a GPU the kernels that they
start. A range `part:NAME`, which `name_ranges` puts around methods, books what runs inside it to that part; a backward
function goes to the part that its forward operator ran in, by PyTorch's sequence numbers.
"""
from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from dtbox.diagnostics.rates import synchronize

PART = 'part:'
"""How names of ranges begin."""
BACKWARD = 'autograd::engine::evaluate_function: '
OPTIMIZER = 'Optimizer.'
"""How PyTorch names its ranges around backward functions and steps of optimizers."""
ELSEWHERE = 'elsewhere'
"""Part of what runs in no range."""


@contextlib.contextmanager
def silence_stderr() -> Iterator[None]:
    """Hide what the profiler's C++ part prints about missing GPUs."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, 'wb') as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def profile_call(call: Callable[[], object], device: torch.device, times: int = 1) -> tuple[list[Any], float]:
    """Return (the profiler's events of calls in a row, the seconds of one of them with the profiler)."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == 'cuda')
    synchronize(device)
    with silence_stderr(), profile(activities=activities) as recorded:
        begun = time.perf_counter()
        for _ in range(times):
            call()
        synchronize(device)
        seconds = (time.perf_counter() - begun) / times
    return list(recorded.events() or ()), seconds


def is_range(event: Any) -> bool:
    """Whether an event is a named range, not work of its own."""
    return bool(getattr(event, 'is_user_annotation', False)) or 'annotation' in str(
        getattr(event, 'activity_type', '')) or event.name.startswith((PART, OPTIMIZER, 'ProfilerStep'))


def is_work(event: Any, device: torch.device) -> bool:
    """Whether an event is work on a device: a kernel or a copy of a GPU, an operator of a CPU."""
    kind = DeviceType.CUDA if device.type == 'cuda' else DeviceType.CPU
    return event.device_type == kind and not event.is_async and not is_range(event)


def measure_gaps(events: Iterable[Any], device: torch.device) -> tuple[float, float]:
    """Return (seconds in which work ran on the device, seconds from the first to the last of it)."""
    spans = sorted((event.time_range.start, event.time_range.end) for event in events if is_work(event, device))
    if not spans:
        return 0.0, 0.0
    busy = 0.0
    first, last = spans[0]
    for start, end in spans[1:]:
        if start > last:
            busy += last - first
            first, last = start, end
        else:
            last = max(last, end)
    return (busy + last - first) / 1e6, (last - spans[0][0]) / 1e6


def get_own_seconds(event: Any, device: torch.device) -> float:
    """Return the seconds of an operator's own work on the device; 0 for ranges."""
    if event.device_type != DeviceType.CPU or event.is_async or is_range(event):
        return 0.0
    if device.type == 'cuda':
        return sum(kernel.duration for kernel in event.kernels) / 1e6
    return max(event.self_cpu_time_total, 0.0) / 1e6


def sum_by_name(events: Iterable[Any], device: torch.device) -> dict[str, float]:
    """Return name of an operator -> seconds of its own work."""
    total: dict[str, float] = defaultdict(float)
    for event in events:
        seconds = get_own_seconds(event, device)
        if seconds:
            total[event.name] += seconds
    return dict(total)


# ---- parts of a model ------------------------------------------------------------------------------------------------


def name_ranges(name: str, part: Any, *methods: str) -> None:
    """Put the range of a part around methods of an object, those that it has; subclasses of modules keep working, as
    the instance alone changes."""
    for method in methods:
        function = getattr(part, method, None)
        if callable(function):
            object.__setattr__(part, method, _within(f'{PART}{name}', function))


def _within(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def within(*args: Any, **kwargs: Any) -> Any:
        with record_function(name):
            return function(*args, **kwargs)
    return within


def find_range(event: Any) -> str | None:
    """Return the part whose range is the innermost around an event, `optimizer` for steps of optimizers, or None."""
    while event is not None:
        if event.name.startswith(PART):
            return event.name.removeprefix(PART)
        if event.name.startswith(OPTIMIZER):
            return 'optimizer'
        event = event.cpu_parent
    return None


def sum_by_part(events: list[Any], device: torch.device) -> dict[str, tuple[float, float]]:
    """Return part -> (seconds of its forward work, seconds of its backward work)."""
    ran_in: dict[int, str] = {}
    for event in sorted(events, key=lambda e: e.time_range.start):
        if event.device_type == DeviceType.CPU and event.sequence_nr >= 0 and find_backward(event) is None:
            ran_in[event.sequence_nr] = find_range(event) or ELSEWHERE  # the last one made the backward function
    total: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for event in events:
        seconds = get_own_seconds(event, device)
        if not seconds:
            continue
        root = find_backward(event)
        if root is None:
            total[find_range(event) or ELSEWHERE][0] += seconds
        else:
            total[ran_in.get(root.sequence_nr, ELSEWHERE)][1] += seconds
    return {name: (forward, backward) for name, (forward, backward) in total.items()}


def find_backward(event: Any) -> Any:
    """Return the backward function that an event runs in, or None."""
    while event is not None:
        if event.name.startswith(BACKWARD):
            return event
        event = event.cpu_parent
    return None


def list_children(module: nn.Module) -> dict[str, nn.Module]:
    """Return name -> direct child of a module that has parameters."""
    return {name: child for name, child in module.named_children() if any(True for _ in child.parameters())}
