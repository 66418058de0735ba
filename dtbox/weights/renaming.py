"""Published state dicts to ours: rules that name their sources, so that every key is accounted for."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError

SHOWN = 5
"""Names of each kind that an error lists; it counts the others."""


class KeysError(InputError):
    """Weights whose names are not those that their config, or their format, promises.

    Args:
        message: that names the first of them.
        missing, left: all names that are missing, and all that nothing reads.
    """

    def __init__(self, message: str, missing: Sequence[str] = (), left: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.missing, self.left = tuple(missing), tuple(left)


class Renaming:
    """Collects target tensors from a source state dict; `finish` reports what is missing and what is left over.

    Args:
        state: published name -> tensor.
        source: what to call it in messages.
    """

    def __init__(self, state: Mapping[str, Tensor], source: str):
        self.state, self.source = state, source
        self.target = {}
        self.missing = []
        self.used = set()

    def take(self, *names: str) -> list[Tensor] | None:
        """Return the source tensors of those names in float32; None, and a note, where one is missing."""
        self.used.update(names)
        gone = [n for n in names if n not in self.state]
        self.missing += [n for n in gone if n not in self.missing]
        return None if gone else [self.state[n].float() for n in names]

    def count(self, number: int) -> range:
        """Return range(number) for blocks that the state dict holds; `InputError` where it holds fewer tensors than
        these would be."""
        if number > len(self.state):
            raise InputError(f'{self.source} holds {format_count(len(self.state), "tensor")}, and its config tells of '
                             f'{format_count(number, "block")} or tables. They do not belong together.')
        return range(number)

    def copy(self, target: str, source: str, view: Callable[[Tensor], Tensor] | None = None) -> None:
        """target <- source, reshaped by `view` (a function) where given."""
        tensors = self.take(source)
        if tensors:
            self.target[target] = view(tensors[0]) if view else tensors[0]

    def both(self, target: str, source: str) -> None:
        """Copy `.weight` and `.bias`."""
        for part in ('weight', 'bias'):
            self.copy(f'{target}.{part}', f'{source}.{part}')

    def stack(self, target: str, sources: Sequence[str]) -> None:
        """target.weight and .bias <- the sources' rows one below the other."""
        for part in ('weight', 'bias'):
            tensors = self.take(*(f'{s}.{part}' for s in sources))
            if tensors:
                self.target[f'{target}.{part}'] = torch.cat(tensors)

    def tree(self, target: str, source: str) -> None:
        """Copy everything under a prefix, name for name."""
        for name in [n for n in self.state if n.startswith(source)]:
            self.copy(target + name[len(source):], name)

    def finish(self, ignore: Sequence[str] = ()) -> dict[str, Tensor]:
        """Return the target state dict.

        Args:
            ignore: endings of source names that mean nothing (non-persistent buffers of older versions).

        Raises:
            KeysError: with the number of keys that are missing and left over, and the first five of each.
        """
        left = [n for n in self.state if n not in self.used and not n.endswith(tuple(ignore) or '\0')]
        if self.missing or left:
            parts = [f' {len(keys)} {what}: {", ".join(keys[:SHOWN])}{", ..." if len(keys) > SHOWN else ""}.'
                     for what, keys in (('missing', self.missing), ('left over', left)) if keys]
            raise KeysError(f'{self.source} does not have the keys that its config promises.{"".join(parts)} '
                            'Check that config, SigLIP folder and weights belong together.', self.missing, left)
        return self.target
