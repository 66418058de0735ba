"""How ids are drawn: temperature, top-k and top-p, for all streams and depths or for each."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from dtbox.arguments import describe, read_count, read_number, read_options
from dtbox.counts import format_count
from dtbox.errors import InputError, at, closest

TEXT = 'text'
"""The name under which a rule finds the settings of text."""


@dataclass(frozen=True)
class Choice:
    """What a rule says of one stream and depth; `SamplingRule` explains the fields."""
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    @property
    def greedy(self) -> bool:
        """Whether the largest logit is taken."""
        return self.temperature == 0 or self.top_k == 1


READERS: dict[str, Callable[[Any], Any]] = dict(temperature=read_number(0), top_k=read_count(),
                                                top_p=read_number(0, 1, above=True))


@dataclass(frozen=True)
class SamplingRule:
    """How ids are drawn: logits -> temperature -> top-k -> top-p -> softmax -> draw.

    Each setting is a value for all, a list of one value a depth, or a dict stream -> value or list; text goes by the
    name `text`.

    Attributes:
        temperature: divides the logits; 0 takes the largest.
        top_k: how many of the largest logits may be drawn; None for all.
        top_p: the smallest set of largest probabilities whose sum reaches it may be drawn (nucleus sampling, arXiv
            1904.09751); None for all.
    """
    temperature: Any = 1.0
    top_k: Any = None
    top_p: Any = None

    def __post_init__(self) -> None:
        for field in fields(self):
            with at(field.name):
                object.__setattr__(self, field.name, _read(getattr(self, field.name), READERS[field.name],
                                                           field.name != 'temperature'))

    def resolve(self, name: str, depth: int = 0) -> Choice:
        """Return what holds for one depth of a stream.

        Raises:
            InputError: a setting by streams does not name this one, or a list has no value for the depth.
        """
        return Choice(**{field.name: _find(getattr(self, field.name), field.name, name, depth)
                         for field in fields(self)})

    def check(self, depths: Mapping[str, int]) -> None:
        """Raise `InputError` unless the rule fits streams of these numbers of depths: all named, lists as long."""
        for field in fields(self):
            value = getattr(self, field.name)
            named = value if isinstance(value, Mapping) else dict.fromkeys(depths, value)
            for name, one in named.items():
                if name not in depths and name != TEXT:
                    raise InputError(f'`{field.name}` names the stream `{name}`, which there is not.'
                                     f'{closest(name, depths)} There are: {", ".join(depths)}.', field.name)
                if isinstance(one, tuple) and len(one) != depths.get(name, 1):
                    raise InputError(f'`{field.name}` has {format_count(len(one), "value")} for `{name}`, which has '
                                     f'{depths.get(name, 1)} depths. Give one value a depth, or one for all.',
                                     field.name)
            for name in depths:
                _find(value, field.name, name, 0)


def _read(value: Any, read: Callable[[Any], Any], optional: bool, plain: tuple[type, ...] = (Mapping, Sequence)) -> Any:
    """Return a setting with lists as tuples, each value read; `plain` says what may stand in its place."""
    if isinstance(value, Mapping) and Mapping in plain:
        settings = {}
        for name, one in read_options(value).items():
            with at(name):
                settings[name] = _read(one, read, optional, (Sequence,))
        return settings
    if isinstance(value, (list, tuple)) and Sequence in plain:
        if not value:
            raise InputError('got an empty list; expected one value a depth.')
        return tuple(_read(one, read, optional, ()) for one in value)
    return None if value is None and optional else read(value)


def _find(value: Any, setting: str, name: str, depth: int) -> Any:
    """Return the value of one stream and depth from a setting."""
    if isinstance(value, Mapping):
        if name not in value:
            raise InputError(f'`{setting}` does not name the stream `{name}`; it has: {", ".join(value) or "none"}. '
                             'Name every stream, or give one value for all.', setting)
        value = value[name]
    if isinstance(value, tuple):
        if depth >= len(value):
            raise InputError(f'`{setting}` is {describe(value)}; there is no value for depth {depth} of `{name}`.',
                             setting)
        return value[depth]
    return value
