"""Parts `speed-b16` and `speed-so400m`: images a second of encoding and decoding with random weights.

In bfloat16 (float32 where the card has none), as it is and with compiled blocks; the CNN decoder also with its
weights in `channels_last`, in which convolutions of half types run fastest on GPUs. Beside each number stands the
fraction of the rate of large matrix products, measured in the same part.
"""
from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

from dtbox.diagnostics.gpu import models
from dtbox.diagnostics.gpu.results import Report
from dtbox.diagnostics.gpu.settings import Settings
from dtbox.diagnostics.rates import take_medians


def measure_base(settings: Settings, report: Report) -> None:
    """Measure B/16 at 256 pixels."""
    measure(settings, report, models.BASE, 128)


def measure_so400m(settings: Settings, report: Report) -> None:
    """Measure So400m at 384 pixels."""
    measure(settings, report, models.SO400M, 32)


def measure(settings: Settings, report: Report, name: str, batch: int) -> None:
    """Measure the tokenizer of a recipe.

    Args:
        settings: see Settings.
        report: gets the rows.
        name: of the recipe.
        batch: images, halved until they fit the memory.
    """
    rate = settings.measure_rate(settings.dtype)
    report.measure(f'matrix products, {settings.dtype_name}', rate / 1e12, 'TFLOP/s')
    flops = models.count_flops(models.read_recipe(settings, name))
    model = models.build_tokenizer(settings, name)
    compiles = settings.compiles and (settings.gpu or name == models.BASE)  # on a CPU once is enough
    ways: dict[str, Any] = {'as it is': model}
    if not settings.compiles:
        report.skip('compiled', 'it needs a Triton that fits this PyTorch and this card')
    if compiles:
        ways['compiled'] = models.compile_blocks(copy.deepcopy(model), settings)
    time_ways(settings, report, 'encode', {n: prepare_encoding(m) for n, m in ways.items()}, flops[0] / rate, batch)
    del ways
    ways = {'as it is': model, 'channels_last': use_channels_last(model)}
    if compiles:
        ways['channels_last, compiled'] = models.compile_blocks(use_channels_last(model), settings)
    time_ways(settings, report, 'decode', {n: prepare_decoding(m) for n, m in ways.items()}, flops[1] / rate, batch)


def use_channels_last(model: Any) -> Any:
    """Return a copy of a tokenizer whose decoder keeps the weights of convolutions in `channels_last`."""
    other = copy.deepcopy(model)
    other.decoder.to(memory_format=torch.channels_last)
    return other


def prepare_encoding(model: Any) -> Callable[[int], Callable[[], object]]:
    """Return a function of a number of images -> function that encodes as many."""
    def prepare(count: int) -> Callable[[], object]:
        parameter = next(model.parameters())
        pixels = models.make_pixels(count, model.image_size).to(parameter.device)
        images = pixels.to(parameter.dtype).div_(127.5).sub_(1)
        return lambda: model.encode(images)
    return prepare


def prepare_decoding(model: Any) -> Callable[[int], Callable[[], object]]:
    """Return a function of a number of images -> function that decodes the codes of as many."""
    def prepare(count: int) -> Callable[[], object]:
        codes = models.draw_codes(model.layout, count, next(model.parameters()).device)

        def decode() -> object:
            with torch.no_grad():
                return model.decode(codes)
        return decode
    return prepare


def time_ways(settings: Settings, report: Report, what: str, ways: dict[str, Callable], least: float,
              batch: int) -> None:
    """Time the ways of doing a thing, in turn; `least` seconds an image would take at the matrix rate."""
    def attempt(count: int) -> dict[str, list[float]]:
        return settings.time({name: prepare(count) for name, prepare in ways.items()})
    count, times = models.fit_batch(settings.choose(batch, 1), attempt)
    for name, seconds in take_medians(times).items():
        report.measure(f'{what}, {name}', count / seconds, 'images/s',
                       f'batch {count}, {100 * least * count / seconds:.0f} % of the matrix rate')
    if settings.gpu:
        report.measure(f'{what}, memory at its peak', torch.cuda.max_memory_allocated(settings.device) / 1e9, 'GB')
