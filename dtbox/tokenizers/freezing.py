"""A tokenizer of which some parts learn and all others stand still."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from torch import nn

from dtbox.errors import InputError


class PartlyFrozen(nn.Module):
    """A module whose frozen parts have no gradients and stay in evaluation mode, so that nothing of them changes:
    neither weights, nor codebooks and other statistics that training forwards collect, nor what noise or dropout would
    make of their output.

    Attributes:
        learning: names of the submodules that learn; None where all do.
    """
    learning: tuple[str, ...] | None = None

    def freeze_all_but(self, names: Sequence[str]) -> None:
        """Let the submodules `names` learn (`decoder`, `vocabularies.pixel`), and freeze all others.

        Raises:
            InputError: a name that is none of them; parts without weights.
        """
        modules = dict(self.named_modules())
        filled = [part for part, module in self.named_children() if any(True for _ in module.parameters())]
        choice = f'Name parts with weights: {", ".join(filled)}.'
        for name in names:
            if name not in modules or not name:
                raise InputError(f'`{name}` is to learn, and the tokenizer has no such part. {choice}', 'trains')
        if not any(True for name in names for _ in modules[name].parameters()):
            raise InputError(f'{", ".join(names) or "no part"} is to learn, so that there are no weights to train. '
                             f'{choice}', 'trains')
        self.learning = tuple(names)
        for parameter in self.frozen_names():
            self.get_parameter(parameter).requires_grad_(False)
        self.train(self.training)

    def frozen_names(self) -> list[str]:
        """Return the names of the parameters that never learn; optimizers leave them out."""
        return [] if self.learning is None else [name for name, _ in self.named_parameters() if not self._learns(name)]

    def train(self, mode: bool = True) -> Self:
        """Set the mode of what learns; frozen parts stay in evaluation mode."""
        super().train(mode)
        if self.learning is not None:
            for name, module in self.named_modules():
                module.training = mode and (self._learns(name) or self._holds(name))
        return self

    def _learns(self, name: str) -> bool:
        """Whether a module or a parameter is, or lies in, one that learns."""
        return any(name == one or name.startswith(f'{one}.') for one in self.learning or ())

    def _holds(self, name: str) -> bool:
        """Whether a module is the whole, or a plain container of something that learns."""
        return not name or any(one.startswith(f'{name}.') for one in self.learning or ())
