"""Statistics of latents: what makes the latents of continuous vocabularies mean 0 and variance 1 over a set of images.

Legend: B batch, N tokens, C width of the latents.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from dtbox.apis.building import read_tokenizer
from dtbox.apis.images import Images
from dtbox.arguments import allow_none, read_arguments, read_names
from dtbox.errors import InputError, at


@torch.no_grad()
@read_arguments(tokenizer=read_tokenizer, vocabularies=allow_none(read_names))
def measure_latents(tokenizer: Any, batches: Iterable[Images],
                    vocabularies: str | Iterable[str] | None = None) -> dict[str, tuple[Tensor, Tensor]]:
    """Measure mean and variance of latents, and set them in the tokenizer.

    `encode` normalises by them from then on, and `save_pretrained` writes them.

    Args:
        tokenizer: Tokenizer.
        batches: batches of images, each as `Tokenizer.encode` takes it.
        vocabularies: continuous streams to measure; None for all that keep statistics.

    Returns:
        stream -> (mean, variance) in float32, [C], or [N,C] where it keeps statistics of each position. The variance is
        that of the population (divided by the number of values).

    Raises:
        InputError: a stream with codes, one without statistics, no images, one image for statistics of each position.
    """
    streams = tokenizer.model.streams
    with at('vocabularies'):
        names = tokenizer.model.check_streams(vocabularies)
        if vocabularies is None:
            names = [name for name in names if getattr(streams[name].quantizer, 'statistics', None)]
        for name in names:
            if not getattr(streams[name].quantizer, 'statistics', None):
                raise InputError(f'the stream `{name}` keeps no statistics of latents; build its quantizer with '
                                 "statistics='channel' or 'position'.")
        if not names:
            raise InputError('this tokenizer has no continuous vocabulary that keeps statistics; build its quantizer '
                             "with statistics='channel' or 'position'.")
    sums = {name: _Sums(streams[name].quantizer.statistics == 'position') for name in names}
    for images in batches:
        for name, latents in tokenizer.encode(images, names).items():
            sums[name].add(streams[name].quantizer.decode(latents))
    if any(part.count < 2 for part in sums.values()):
        raise InputError('there are too few images to measure a variance; expected at least 2.', 'batches')
    found = {name: part.result() for name, part in sums.items()}
    for name, (mean, variance) in found.items():
        streams[name].quantizer.set_statistics(mean, variance)
    return found


class _Sums:
    """Mean and sum of squared deviations, batch by batch (Chan et al., 1979), in float64.

    Args:
        positions: whether each token has its own.
    """

    def __init__(self, positions: bool) -> None:
        self.positions, self.count = positions, 0
        self.mean = self.square = torch.zeros(())

    def add(self, features: Tensor) -> None:
        """Add features [B,N,C]."""
        x = features.double() if self.positions else features.double().flatten(0, 1)
        if not len(x):
            return
        mean, count = x.mean(0), self.count + len(x)
        delta = mean - self.mean.to(mean)
        self.square = self.square.to(mean) + (x - mean).square().sum(0) + delta.square() * self.count * len(x) / count
        self.mean = self.mean.to(mean) + delta * len(x) / count
        self.count = count

    def result(self) -> tuple[Tensor, Tensor]:
        """Return mean and variance in float32."""
        return self.mean.float(), (self.square / self.count).float()
