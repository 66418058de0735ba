"""The loss contract: TokenizerOutput -> named raw scalar terms. Weights are the criterion's business, not a loss's."""
from __future__ import annotations

from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.errors import InputError
from dtbox.structures import Batch, TokenizerOutput


def lookup(outputs: TokenizerOutput, path: str) -> Any:
    """Return the field `path` (dotted, dict keys included) of a TokenizerOutput, or None where it is missing or
    None."""
    value: Any = outputs
    for part in path.split('.'):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
        if value is None:
            return None
    return value


def need(outputs: TokenizerOutput, path: str, reader: str) -> Any:
    """Return the field `path` of `outputs`; `InputError` where it is missing.

    Args:
        outputs: a TokenizerOutput.
        path: dotted name of a field, such as `teacher.tokens` or `features.semantic`.
        reader: who reads it, for the message.
    """
    value = lookup(outputs, path)
    if value is not None:
        return value
    parent, _, key = path.rpartition('.')
    table = lookup(outputs, parent) if parent else None
    there = f' `{parent}` has: {", ".join(table) or "nothing"}.' if isinstance(table, dict) else ''
    raise InputError(f'{reader} reads `{path}`, which the tokenizer did not give.{there} Let the model compute it '
                     '(a head, a text tower, a teacher, a vocabulary of that name), or take the term out.')


def widen(tensor: Tensor) -> Tensor:
    """Return `tensor` in float32 at least: half precision is widened, everything else stays the same object."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def check_same_shape(a: Tensor, b: Tensor, names: tuple[str, str], reader: str) -> None:
    """Raise `InputError` unless tensors `a` and `b`, called `names`, have equal shapes."""
    if a.shape != b.shape:
        raise InputError(f'{reader} compares `{names[0]}` {list(a.shape)} with `{names[1]}` {list(b.shape)}; their '
                         'shapes must be equal. Check the sizes of the parts that make them.')


class Loss(nn.Module):
    """Base class of losses. A subclass implements `terms` and sets `requires` and, where it can, `names`.

    Attributes:
        requires: dotted names of the TokenizerOutput fields that it reads.
        names: terms it will return, or None where they follow from the tokenizer. No name contains "loss": MMEngine
            adds up whatever does.
        example: constructor arguments of a small instance, for the contract suite; None where there is none.
    """
    example: dict[str, Any] | None = None
    requires: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None

    def __init__(self) -> None:
        super().__init__()  # a signature of its own: nn.Module's would hide a wrong argument from the registry's check

    def forward(self, outputs: TokenizerOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute the terms, in float32 under any autocast.

        Args:
            outputs: the TokenizerOutput of this batch.
            batch: the Batch.

        Returns:
            dict name -> scalar tensor, not weighted.
        """
        with torch.autocast(outputs.images.device.type, enabled=False):
            return self.terms(outputs, batch)

    def terms(self, outputs: TokenizerOutput, batch: Batch) -> dict[str, Tensor]:
        """As `forward`; autocast is off."""
        raise NotImplementedError

    def bind(self, teacher: Any) -> None:
        """Hand over the frozen teacher; a loss that asks it nothing ignores it."""

    def read(self, outputs: TokenizerOutput, path: str) -> Tensor:
        """Return the tensor under `path` in float32; `InputError` where it is missing."""
        return widen(need(outputs, path, type(self).__name__))

    def read_pair(self, outputs: TokenizerOutput, first: str, second: str) -> tuple[Tensor, Tensor]:
        """Return two tensors of equal shape in float32; `InputError` where one is missing or the shapes differ."""
        a, b = self.read(outputs, first), self.read(outputs, second)
        check_same_shape(a, b, (first, second), type(self).__name__)
        return a, b


class NetworkLoss(Loss):
    """Base class of losses on a frozen network, which lies outside of this module's parameters and state dict: it
    follows the device, and stays in float32.

    Args:
        network: frozen, in evaluation mode.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = (network,)

    @property
    def network(self) -> Any:
        """The frozen network."""
        return self._network[0]

    def _apply(self, fn: Any, recurse: bool = True) -> NetworkLoss:
        """Move the network along."""
        device = next(self.network.parameters()).device
        self.network.to(fn(torch.empty(0, device=device)).device)
        return super()._apply(fn, recurse)
