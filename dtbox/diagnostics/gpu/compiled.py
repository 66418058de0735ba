"""Part `compile`: a task whose blocks are compiled against one whose blocks are not: the terms of a few steps, and the
seconds of a step."""
from __future__ import annotations

import time

from dtbox.counts import format_count
from dtbox.diagnostics.gpu import models
from dtbox.diagnostics.gpu.results import Report, Skipped
from dtbox.diagnostics.gpu.settings import Settings
from dtbox.diagnostics.rates import allow_tf32, synchronize, take_medians
from dtbox.structures import Batch
from dtbox.training.compiling import compile_task

CLOSE = 5e-3
"""Of the terms of a few steps; compiled kernels sum in another order, which Adam scales up where a gradient is nearly
0."""
STEPS = 3


def check(settings: Settings, report: Report) -> None:
    """Check equality, and measure what compiling costs and saves."""
    if not settings.compiles:
        raise Skipped('torch.compile needs a Triton that fits this PyTorch and this card')
    with allow_tf32(False):  # convolutions of another layout would round to 10 bits otherwise
        compare(settings, report, settings.choose(32, 2))


def compare(settings: Settings, report: Report, batch: int) -> None:
    """Train both tasks on the same batches; compiled functions depend on TF32, which stays as it is meanwhile."""
    plain = models.build_task(settings)
    wanted = models.train_steps(*plain, STEPS, batch)
    task, optim = models.build_task(settings)
    count = compile_task(task, dict(backend=settings.backend))
    begun = time.perf_counter()
    found = models.train_steps(task, optim, STEPS, batch)
    synchronize(settings.device)
    report.measure(f'{STEPS} steps that compile {count} modules', time.perf_counter() - begun, 's', settings.backend)
    first = models.compare_terms(found[:1], wanted[:1])
    report.check('the first step', first <= CLOSE / 10, 'largest relative difference of the terms', first)
    later = models.compare_terms(found, wanted)
    report.check(f'{STEPS} steps', later <= CLOSE, 'largest relative difference of the terms', later)
    data = Batch(images=models.make_pixels(batch, task.tokenizer.image_size))
    seconds = take_medians(settings.time(dict(eager=lambda: plain[0].train_step(data, plain[1]),
                                              compiled=lambda: task.train_step(data, optim))))
    for name, value in seconds.items():
        report.measure(f'a step, {name}', 1000 * value, 'ms',
                       f'{format_count(batch, "image")} of {task.tokenizer.image_size[0]} pixels, float32 without TF32')
    report.measure('compiled over eager', seconds['compiled'] / seconds['eager'], 'x')
