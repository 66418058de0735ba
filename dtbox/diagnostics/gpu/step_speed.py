"""Part `step`: a training step of B/16 at 256 pixels beside a direct implementation of its specification, in turn."""
from __future__ import annotations

import tempfile
from collections.abc import Callable

import torch

from dtbox.diagnostics.direct_step import Baseline
from dtbox.diagnostics.gpu import models
from dtbox.diagnostics.gpu.base_step import build_step, make_recipe
from dtbox.diagnostics.gpu.results import Report
from dtbox.diagnostics.gpu.settings import Settings
from dtbox.diagnostics.rates import compare_in_turn, take_medians
from dtbox.sizing.describe import describe
from dtbox.structures import Batch
from dtbox.training.compiling import compile_task


def measure(settings: Settings, report: Report) -> None:
    """Measure dtbox, dtbox compiled, and the direct implementation, all from the same weights."""
    rate = settings.measure_rate(settings.dtype)
    with tempfile.TemporaryDirectory(prefix='dtbox_step_') as folder:
        cfg = make_recipe(settings, folder)
        flops = describe(cfg).step_flops()
        names = ['direct', 'dtbox'] + ['dtbox, compiled'] * (settings.compiles and settings.gpu)
        steps = {name: prepare_step(settings, cfg, name) for name in names}

        def attempt(count: int) -> dict[str, list[float]]:
            pixels = {name: models.make_pixels(count, size) for name, (_, size) in steps.items()}
            calls = {name: (lambda step=step, name=name: step(pixels[name])) for name, (step, _) in steps.items()}
            return settings.time(calls)
        batch, times = models.fit_batch(settings.choose(32, 1), attempt)
    for name, seconds in take_medians(times).items():
        report.measure(f'a step, {name}', 1000 * seconds, 'ms',
                       f'batch {batch}, {cfg.amp or "float32"}, {batch / seconds:.3g} images/s, '
                       f'{100 * batch * flops / seconds / rate:.0f} % of the {settings.dtype_name} matrix rate')
    if not settings.compiles:
        report.skip('dtbox, compiled', 'it needs a Triton that fits this PyTorch and this card')
    for name in names[1:]:
        report.measure(f'{name} over direct', compare_in_turn(times, name, 'direct'), 'x')


def prepare_step(settings: Settings, cfg: models.Config, name: str
                 ) -> tuple[Callable[[torch.Tensor], object], tuple[int, int]]:
    """Return (function of uint8 images [B,3,H,W] on the CPU that trains a step, the size of the images)."""
    task, optim = build_step(settings, cfg)
    size = tuple(task.tokenizer.image_size)
    if name == 'direct':
        baseline = Baseline(task, optim, stage=1, text=False, half=cfg.amp is not None)
        return lambda pixels: baseline.step(pixels.to(settings.device).float().div_(127.5).sub_(1.0)), size
    if name.endswith('compiled'):
        compile_task(task, True)
    return lambda pixels: task.train_step(Batch(images=pixels), optim), size
