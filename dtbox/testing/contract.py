"""The contract of one kind of part: a list of checks, and what they run on."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Sequence

from dtbox.errors import InputError, closest
from dtbox.registry import ALL
from dtbox.testing.subject import Subject

Check = Callable[[Any], None]
"""A function of a `Subject` that raises `Broken` or `DoesNotApply`; its docstring says what the contract asks."""


@dataclass(frozen=True)
class Contract:
    """The contract of one kind of part.

    Attributes:
        kind: what such a part is called, such as 'encoder'.
        room: key of its registry in `dtbox.registry.ALL`.
        subject: class of what the checks run on.
        checks: name -> check, in the order in which they run.
    """
    kind: str
    room: str
    subject: type[Subject]
    checks: dict[str, Check]

    def choose(self, only: Sequence[str] | None = None, skip: Sequence[str] = ()) -> list[str]:
        """Return the names of the checks to run, in order; `InputError` for a name that is not a check."""
        for name in [*(only or ()), *skip]:
            if name not in self.checks:
                raise InputError(f'`{name}` is not a check of a {self.kind}.{closest(name, self.checks)} Checks: '
                                 f'{", ".join(self.checks)}.')
        return [name for name in self.checks if (only is None or name in only) and name not in skip]

    def examples(self) -> dict[str, dict]:
        """Return name -> config of every registered part that has an `example`: the arguments of a small instance."""
        registry = ALL[self.room]
        registry.import_from_location()
        return {name: dict(type=name, **part.example) for name, part in sorted(registry.module_dict.items())
                if getattr(part, 'example', None) is not None}


def index_by_name(*checks: Check) -> dict[str, Check]:
    """Return checks by the names of their functions."""
    return {check.__name__: check for check in checks}
