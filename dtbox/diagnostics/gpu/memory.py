"""Part `memory`: the memory of a training step against the prediction of `dtbox describe`."""
from __future__ import annotations

import gc
import tempfile

import torch

from dtbox.counts import format_count
from dtbox.diagnostics.gpu import models
from dtbox.diagnostics.gpu.base_step import build_step, make_recipe
from dtbox.diagnostics.gpu.results import Report
from dtbox.diagnostics.gpu.settings import Settings
from dtbox.memory import Peak, measure_resident_megabytes
from dtbox.sizing.describe import describe
from dtbox.structures import Batch

BOUNDS = (0.75, 1.3)
"""Measured over predicted. The prediction leaves out what the backward pass, libraries and the allocator hold for a
moment; more than that is a part that it does not know."""
STEPS = 2
"""The second one has the moments of the optimizers."""


def check(settings: Settings, report: Report) -> None:
    """Check a step of B/16, at two batches: what it takes at all, and what each image adds. On a CPU the peak of the
    process is measured, which is more than that of the tensors: it is neither right nor wrong."""
    with tempfile.TemporaryDirectory(prefix='dtbox_memory_') as folder:
        cfg = make_recipe(settings, folder)
        description = describe(cfg)
        batches = settings.choose((8, 24), (1, 2))
        measured = [measure(settings, cfg, batch) for batch in batches]
    for batch, value in zip(batches, measured):
        predicted = description.memory(batch)
        detail = f'predicted {predicted / 1e9:.3g} GB, measured over predicted {value / predicted:.2f}'
        if settings.gpu:
            report.check(f'a step of {format_count(batch, "image")}', BOUNDS[0] <= value / predicted <= BOUNDS[1],
                         detail, value / 1e9, 'GB')
        else:
            report.measure(f'a step of {format_count(batch, "image")}', value / 1e9, 'GB', detail)
    each = (measured[1] - measured[0]) / (batches[1] - batches[0])
    report.measure('an image more', each / 1e9, 'GB', f'predicted {description.activations / 1e9:.3g} GB')


def measure(settings: Settings, cfg: models.Config, batch: int) -> float:
    """Return the bytes that a task and its steps take at their peak."""
    gc.collect()  # what the batch before has left
    before = measure_resident_megabytes() * 1e6
    if settings.gpu:
        torch.cuda.empty_cache()
        torch.cuda.synchronize(settings.device)
        before = torch.cuda.memory_allocated(settings.device)
    with Peak() as peak:
        task, optim = build_step(settings, cfg)
        data = Batch(images=models.make_pixels(batch, task.tokenizer.image_size))
        for _ in range(STEPS):
            task.train_step(data, optim)
        if settings.gpu:
            torch.cuda.synchronize(settings.device)
    return max((peak.megabytes or 0.0) * 1e6 - before, 1.0)
