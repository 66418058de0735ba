"""A running average of the weights, evaluated and kept in checkpoints (EMA of GANs, arXiv 1806.04498)."""
from __future__ import annotations

import contextlib
from typing import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from dtbox.training.parallel import get_local, reshard
from dtbox.values import Average, check_values


class WeightEMA:
    """The average of a module's trainable weights.

    After optimizer step n, a <- d a + (1 - d) w with d = min(decay, (1 + n) / (10 + n)).

    Frozen weights are their own average; buffers are used as they are.

    Args:
        decay: d in the long run, in (0, 1).
    """

    def __init__(self, decay: Average = 0.9999) -> None:
        check_values(WeightEMA, locals())
        self.decay, self.steps = float(decay), 0
        self.weights: dict[str, Tensor] = {}
        self.module: nn.Module | None = None

    def attach(self, module: nn.Module) -> None:
        """Begin from the weights of a module as they are."""
        self.module = module
        trained = {n: p for n, p in module.named_parameters() if p.requires_grad and p.is_floating_point()}
        self.weights = {n: p.detach().clone() for n, p in trained.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the present weights into the average."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        table = dict(self.module.named_parameters())
        for name, average in self.weights.items():
            get_local(average).lerp_(get_local(table[name].detach()), 1 - decay)
        self.steps += 1

    @torch.no_grad()
    def _swap(self) -> None:
        reshard(self.module)
        table = dict(self.module.named_parameters())
        for name, average in self.weights.items():
            a, b = get_local(average), get_local(table[name].detach())
            weights = b.clone()
            b.copy_(a)
            a.copy_(weights)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the module has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def load(self, raw: Mapping[str, Tensor], steps: int, shard: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Resume: the module has the averaged weights, `raw` (name -> tensor) are those that train.

        Args:
            raw, steps: as a checkpoint has them.
            shard: callable (tensor, like) -> the tensor sharded as `like` is.
        """
        table = dict(self.module.named_parameters())
        for name, average in self.weights.items():
            average.copy_(table[name].detach())
            table[name].detach().copy_(shard(raw[name], table[name]))
        self.steps = int(steps)
