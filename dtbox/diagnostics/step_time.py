"""Where the time of a training step goes: by part of the model and by kind of operator, against the rate of large
matrix products measured in the same run.

The step is the last one of the recipe, so that a discriminator which begins late takes part. Weights are random.
"""
from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from dtbox.diagnostics import profiles
from dtbox.diagnostics.operator_kinds import OperatorFlops, find_kind
from dtbox.diagnostics.rates import measure_rate, take_medians, time_in_turn
from dtbox.diagnostics.step_setup import build_step
from dtbox.errors import InputError
from dtbox.sizing.tracing import FlopLedger
from dtbox.tokenizers.visual import VisualTokenizer
from dtbox.training.task import Task

METHODS = ('forward', 'embed', 'run', 'step', 'normalize', 'pool', 'tokens', 'encode', 'collect', 'commit', 'terms',
           'losses', 'text_logits', 'sample')
"""Of parts of a model, those that compute."""


@dataclass
class StepTime:
    """What `measure_step` finds; times are seconds of one step.

    Attributes:
        seconds: of a step without the profiler, median.
        profiled: of a step with it; what follows adds up to about this.
        batch: samples.
        device: name of the device.
        threads: on a CPU.
        half: whether the step is under autocast to bfloat16.
        rates: name of a float type -> operations a second of large products.
        flops: operations of a step: products, convolutions, attention, backward passes included.
        parts: part -> (forward, backward).
        part_flops: part -> operations of its forward pass.
        kinds: kind of operator -> seconds.
        kind_flops: kind of operator -> operations.
        operators: operator -> seconds.
        idle: in which nothing ran on the device.
        remarks: sentences on what was left out.
    """
    seconds: float
    profiled: float
    batch: int
    device: str
    threads: int
    half: bool
    rates: dict[str, float]
    flops: float
    parts: dict[str, tuple[float, float]]
    part_flops: dict[str, float]
    kinds: dict[str, float]
    kind_flops: dict[str, float]
    operators: dict[str, float]
    idle: float
    remarks: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Operations a second of the type that the step computes in."""
        return self.rates['bfloat16' if self.half else 'float32']

    @property
    def least(self) -> float:
        """Seconds of a step whose operations ran at that rate, and nothing else."""
        return self.flops / self.rate


def measure_step(cfg: Config, steps: int = 5, batch: int | None = None, random: bool = False,
                 device: str | None = None, threads: int | None = None, seconds: float = 0.3) -> StepTime:
    """Measure the last step of a recipe.

    Args:
        cfg: resolved config.
        steps: that are profiled.
        batch: samples of a step; None takes the config's.
        random: random images, and random weights of LPIPS, in the place of files.
        device: torch device; None takes a GPU where there is one.
        threads: on a CPU; None takes the config's.
        seconds: that the matrix rates are measured for, roughly.

    Raises:
        InputError: a device that is not there, a recipe that cannot be built, no data.
    """
    place = find_device(device)
    if threads or cfg.get('threads'):
        torch.set_num_threads(threads or cfg.threads)
    with tempfile.TemporaryDirectory(prefix='dtbox_time_') as folder:
        task, optim, data, remarks = build_step(cfg, batch, random, folder)
    task.to(place).train()
    last = max(int(cfg.train_cfg.get('max_iters', 1)) - 1, 0)

    def step() -> None:
        task.iteration.fill_(last)
        task.train_step(data, optim)
    measured = take_medians(time_in_turn(dict(step=step), place, 0.0, rounds=steps, warm=2))['step']
    named = list_named_parts(task)
    part_flops, kind_flops, flops = count_flops(named, step)
    for name, part, methods in named:
        profiles.name_ranges(name, part, *methods)
    events, profiled = profiles.profile_call(step, place, steps)
    half = task.amp is not None
    types = dict(float32=torch.float32) | (dict(bfloat16=torch.bfloat16) if half else {})
    rates = {name: measure_rate(place, dtype, seconds / 2) for name, dtype in types.items()}
    operators = {name: value / steps for name, value in profiles.sum_by_name(events, place).items()}
    kinds: dict[str, float] = defaultdict(float)
    for name, value in operators.items():
        kinds[find_kind(name)] += value
    busy, _ = profiles.measure_gaps(events, place)
    parts = {name: (a / steps, b / steps) for name, (a, b) in profiles.sum_by_part(events, place).items()}
    name = torch.cuda.get_device_name(place) if place.type == 'cuda' else 'CPU'
    return StepTime(measured, profiled, len(data), name, torch.get_num_threads(), half, rates, flops, parts, part_flops,
                    dict(kinds), kind_flops, operators, max(profiled - busy / steps, 0.0), remarks)


def find_device(name: str | None) -> torch.device:
    """Return a torch device; `InputError` for one that is not there."""
    if name is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as e:
        raise InputError(f'`{name}` is not a device of this machine ({str(e).splitlines()[0][:120]}). Expected cpu, '
                         'cuda or cuda:N.', '--device') from e
    return device


# ---- parts and operations --------------------------------------------------------------------------------------------


def list_named_parts(task: Task) -> list[tuple[str, Any, list[str]]]:
    """Return (name, object, its methods that compute) for the parts of a task, each object once."""
    found: dict[str, Any] = {}
    tokenizer: Any = getattr(task, 'tokenizer', None)
    if isinstance(tokenizer, VisualTokenizer):
        found.update({f'encoder {name}': part for name, part in tokenizer.encoders.items()})
        found.update({f'quantizer {name}': stream.quantizer for name, stream in tokenizer.streams.items()})
        for name, vocabulary in tokenizer.vocabularies.items():
            for number, part in enumerate([*vocabulary.projections, vocabulary.post_projection]):
                found[f'projections {name}/{number}'] = part
        found.update(decoder=tokenizer.decoder, head=tokenizer.head, text=tokenizer.text)
        teacher, discriminator = getattr(task, 'teacher', None), getattr(task, 'discriminator', None)
        found.update(teacher=None if teacher is None else teacher.encoder, discriminator=discriminator)
        losses: Mapping[str, nn.Module] = getattr(task, 'criterion').losses
        found.update({f'loss {name}': loss for name, loss in losses.items()})
    else:
        for part in task.parts.values():
            found.update(profiles.list_children(part))
    return [(name.partition('/')[0], part, [m for m in METHODS if callable(getattr(part, m, None))])
            for name, part in found.items() if part is not None]


def count_flops(named: list[tuple[str, Any, list[str]]], step: Callable[[], None]
                ) -> tuple[dict[str, float], dict[str, float], float]:
    """Run a step and count; return (part -> operations of its forward pass, kind of operator -> operations, all)."""
    counter = OperatorFlops()
    ledger = FlopLedger(counter)
    for name, part, methods in named:
        ledger.watch(name, part, *methods)
    try:
        with counter:
            step()
    finally:
        for _, part, methods in named:
            for method in methods:
                part.__dict__.pop(method, None)
    kinds: dict[str, float] = defaultdict(float)
    for operator, count in counter.counts.items():
        kinds[find_kind(operator)] += count
    return {name: float(value) for name, value in ledger.flops.items()}, dict(kinds), counter.get_total_flops()
