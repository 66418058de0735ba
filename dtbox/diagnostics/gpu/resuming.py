"""Part `resume`: a run that is interrupted and resumed ends bit for bit as one that is not, with deterministic
algorithms.

Operations of which PyTorch has no deterministic form on this device raise an error, which names them.
"""
from __future__ import annotations

import contextlib
import logging
import pprint
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dtbox.config import load_config
from dtbox.counts import format_count
from dtbox.diagnostics.gpu import models
from dtbox.diagnostics.gpu.results import Report
from dtbox.diagnostics.gpu.settings import Settings
from dtbox.training import checkpoint
from dtbox.training.runner import Runner

ITERATIONS = 4
"""Of the whole run; the other one stops and resumes in the middle."""


def check(settings: Settings, report: Report) -> None:
    """Check a run in float32, and one under autocast to bfloat16."""
    logging.disable(logging.WARNING)  # of the Runner
    for amp in [None] + ['bfloat16'] * (settings.half and settings.gpu):
        with tempfile.TemporaryDirectory(prefix='dtbox_resume_') as folder, be_deterministic():
            config = write_recipe(Path(folder), settings, amp)
            whole = train(config, f'{folder}/whole', ITERATIONS)
            train(config, f'{folder}/cut', ITERATIONS // 2)
            resumed = train(config, f'{folder}/cut', ITERATIONS, resume=True)
        wrong = find_differences(whole, resumed)
        report.check(f'{ITERATIONS} iterations, {amp or "float32"}', not wrong,
                     f'{format_count(len(wrong), "entry", "differs")}, such as {", ".join(wrong[:3])}' if wrong else
                     'weights, codebooks, moments, random states: all bits equal')
    logging.disable(logging.NOTSET)


@contextlib.contextmanager
def be_deterministic() -> Iterator[None]:
    """Within the block, let PyTorch take deterministic algorithms alone."""
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = benchmark


def write_recipe(folder: Path, settings: Settings, amp: str | None) -> str:
    """Write random images and the recipe that trains on them; returns its path."""
    model = models.describe_task(settings)
    model['gan']['adversarial']['start'] = 2
    size = model['tokenizer']['image_size']
    side = max(size, 32) + 8  # smaller images are taken for broken ones
    generator = np.random.default_rng(0)
    for part, count in (('train', 12), ('val', 1)):
        (folder / 'images' / part).mkdir(parents=True)
        for i in range(count):
            pixels = generator.integers(0, 256, (side, side, 3), np.uint8)
            Image.fromarray(pixels).save(folder / 'images' / part / f'{i}.png')
    pipeline = [dict(type='RandomResizedCrop', size=size), dict(type='PackImage')]
    recipe: dict[str, Any] = dict(
        model=model, optim_wrapper=models.OPTIM, amp=amp, seed=0, train_cfg=dict(max_iters=ITERATIONS),
        train_dataloader=dict(batch_size=4, dataset=dict(
            type='ImageFolder', data_root=str(folder / 'images'), split='train', pipeline=pipeline)),
        param_scheduler=dict(generator=dict(type='WarmupCosineLR', total=ITERATIONS)),
        hooks=dict(checkpoint=dict(type='Checkpoint', interval=ITERATIONS)))
    path = folder / 'recipe.py'
    path.write_text('\n'.join(f'{key} = {pprint.pformat(value)}' for key, value in recipe.items()) + '\n')
    return str(path)


def train(config: str, folder: str, iterations: int, resume: bool = False) -> dict[str, Any]:
    """Train to an iteration; returns the checkpoint."""
    runner = Runner.from_config(load_config(config, {'train_cfg.max_iters': iterations}), work_dir=folder,
                                resume=resume)
    runner.train()
    return checkpoint.load(folder)


def find_differences(one: Any, other: Any, path: str = '') -> list[str]:
    """Return the places of two checkpoints that do not hold the same bits."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [path]
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [key for key in {**one, **other} if key != 'meta']
        return [where for key in keys for where in find_differences(one.get(key), other.get(key), f'{path}/{key}')]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        return [where for i, (a, b) in enumerate(zip(one, other)) for where in find_differences(a, b, f'{path}/{i}')]
    return [] if one == other else [path]
