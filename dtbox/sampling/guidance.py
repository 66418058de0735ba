"""Classifier-free guidance (arXiv 2207.12598) of text and codes.

    logits = u + s (c - u)

c conditional, u unconditional, s the scale: 1 is the conditional distribution, 0 the unconditional one. Others write
(1 + g) c - g u; their g is s - 1.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dtbox.arguments import describe, iterate, read_count, read_number, read_options
from dtbox.errors import InputError, at


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Return u + s (c - u) in float32: in bfloat16 a large scale changes the distribution by percents."""
    conditional = conditional.float()
    if scale == 1:
        return conditional
    unconditional = unconditional.float()
    return unconditional + scale * (conditional - unconditional)


@dataclass(frozen=True)
class Guidance:
    """How far drawings are pulled towards their prompt.

    Attributes:
        scale: s for all streams, not below 0, or a dict stream -> s. Where it is 1 for all, no unconditional rows are
            needed.
        interval: (first, stop): the places 0 to N - 1 that are guided; None for all.
    """
    scale: Any = 1.0
    interval: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        with at('scale'):
            read = read_number(0)
            by_stream = read_options(self.scale) if isinstance(self.scale, Mapping) else {}
            for name, scale in by_stream.items():
                with at(name):
                    by_stream[name] = read(scale)
            object.__setattr__(self, 'scale', by_stream or read(self.scale))
        if self.interval is not None:
            with at('interval'):
                ends = tuple(map(read_count(0), iterate(self.interval, 'two places (first, stop)')))
                if len(ends) != 2 or ends[0] >= ends[1]:
                    raise InputError(f'got {describe(self.interval)}; expected two places (first, stop), first below '
                                     'stop.')
                object.__setattr__(self, 'interval', ends)

    def scale_of(self, name: str) -> float:
        """Return s of a stream; `InputError` where the scales do not name it."""
        if not isinstance(self.scale, Mapping):
            return float(self.scale)
        if name not in self.scale:
            raise InputError(f'`scale` does not name the stream `{name}`; it has: {", ".join(self.scale) or "none"}. '
                             'Name every stream, or give one scale for all.', 'scale')
        return float(self.scale[name])

    def is_needed(self, names: Iterable[str]) -> bool:
        """Whether any of the streams needs unconditional rows."""
        return any(self.scale_of(name) != 1 for name in names)

    def covers(self, place: int) -> bool:
        """Whether a place is guided."""
        return self.interval is None or self.interval[0] <= place < self.interval[1]

    def combine(self, name: str, logits: Tensor) -> Tensor:
        """Logits [2R,K] of a stream, the conditional rows first -> guided logits [R,K] in float32."""
        if len(logits) % 2:
            raise InputError(f'logits are {list(logits.shape)}; expected as many unconditional rows as conditional '
                             'ones.')
        conditional, unconditional = logits.chunk(2)
        return guide(conditional, unconditional, self.scale_of(name))
