"""Part `gaps`: how long the card waits for the host, by the profiler: a training step, an encoding, a drawing.

A kernel that takes less time than the host needs to start it leaves the card idle. The fraction of the time in which
no kernel runs says how much CUDA graphs, larger batches or fewer, larger kernels could win.
"""
from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch

from dtbox.diagnostics.gpu import models
from dtbox.diagnostics.gpu.results import Report
from dtbox.diagnostics.gpu.settings import Settings
from dtbox.diagnostics.profiles import measure_gaps, profile_call, sum_by_name
from dtbox.structures import Batch

LONGEST = 3
"""Operators that are named."""
LAYERS = 2
"""Of the language model: more would only give the profiler more of the same to read."""


def measure(settings: Settings, report: Report) -> None:
    """Profile each piece of work after it is warm."""
    task, optim = models.build_task(settings, amp='bfloat16' if settings.half and settings.gpu else None)
    data = Batch(images=models.make_pixels(settings.choose(32, 2), task.tokenizer.image_size))
    tell(settings, report, 'a training step of a small task', lambda: task.train_step(data, optim))
    model = models.build_tokenizer(settings, models.BASE)
    pixels = models.make_pixels(settings.choose(64, 1), model.image_size).to(settings.device)
    images = pixels.to(settings.dtype).div_(127.5).sub_(1)
    tell(settings, report, 'encoding by B/16', lambda: model.encode(images))
    if find_spec('transformers') is None:
        report.skip('a drawing', 'it needs transformers')
        return
    from dtbox.diagnostics.gpu.drawing_speed import build_model, prepare_drawing
    tell(settings, report, 'a drawing', prepare_drawing(build_model(settings, LAYERS), 1), warm=1)


def tell(settings: Settings, report: Report, what: str, call: Callable[[], object], warm: int | None = None) -> None:
    """Profile one call, and report the idle fraction of the device and its longest operators."""
    for _ in range(settings.choose(3, 1) if warm is None else warm):
        call()
    events, seconds = profile_call(call, settings.device)
    busy, span = measure_gaps(events, settings.device)
    longest = sorted(sum_by_name(events, settings.device).items(), key=lambda item: -item[1])[:LONGEST]
    named = ', '.join(f'{name.removeprefix("aten::")} {1000 * value:.3g} ms' for name, value in longest)
    if span <= 0:
        report.skip(what, 'the profiler saw nothing run on the device (its library CUPTI may be missing)')
        return
    report.measure(f'{what}: idle', 100 * (1 - busy / span), '%',
                   f'of {1000 * span:.3g} ms ({1000 * seconds:.3g} ms with the profiler); longest: {named}')
    del events
    if settings.gpu:
        torch.cuda.synchronize(settings.device)
