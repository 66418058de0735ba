"""Means of numbers of single images, and their standard errors, from sums that add up."""
from __future__ import annotations

import torch
from torch import Tensor

from dtbox.evaluation.base import Metric
from dtbox.evaluation.names import STDERR


def describe_mean(name: str, count: float, total: float, squares: float) -> dict[str, float]:
    """Return `name`, the mean of `count` numbers, and from two numbers on `name/stderr`, its standard error.

    Args:
        name: of the mean.
        count: how many numbers.
        total: their sum.
        squares: sum of their squares.
    """
    values = {name: total / count}
    if count > 1:
        spread = squares - total * total / count
        variance = (0.0 if spread < 0 else spread) / (count - 1)  # rounding makes it negative; NaN stays NaN
        values[name + STDERR] = (variance / count) ** 0.5
    return values


class Means(Metric):
    """Base of metrics whose values are means of numbers, not all of which every image has."""

    def note(self, name: str, values: Tensor, index: Tensor | None = None) -> None:
        """Add one number [M] for each sample of the batch, or for its samples `index` [M], to the mean `name`; they are
        kept for paired differences."""
        values = values.detach().double().cpu()
        self.add(f'{name}|moments', torch.stack([values.new_tensor(len(values)), values.sum(), values.square().sum()]))
        self.keep(name, values, index)

    def means(self) -> dict[str, float]:
        """Return every mean, with its standard error."""
        sums = {name.partition('|')[0]: value.tolist() for name, value in self.state.items()
                if name.endswith('|moments')}
        return {key: value for name, (count, total, squares) in sorted(sums.items()) if count
                for key, value in describe_mean(name, count, total, squares).items()}
