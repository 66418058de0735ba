"""MetricInfo: what a metric says of a value, or of a family of values."""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from dtbox.errors import InputError, closest

DIRECTIONS = ('higher', 'lower', 'none')
GROUPS = ('reconstruction', 'semantics', 'understanding', 'drawing', 'other', 'cost', 'codes')
"""What a value is about, in the order of tables."""
_FIELD = re.compile(r'\{(\w+)\}')


@dataclass(frozen=True)
class MetricInfo:
    """Description of a value, or of a family of values.

    Attributes:
        name: as in `Metric.values`, without side, depth and `/stderr`. A family has fields: in `t2i_r{k}` a field that
            follows other characters is a number, in `churn/{vocabulary}` a field between slashes is any word.
        label: for people; `{k}` stands for the field. Fields that it does not use follow after a comma.
        unit: shown in brackets after the label; '' for none.
        format: format specification of the number; one that ends with % shows a fraction in percent.
        direction: 'higher' or 'lower' says which is better; 'none' is never ranked nor marked as the best.
        group: one of GROUPS.
        order: place in the group, from small to large; equal ones are sorted by name.
        headline: place among the values that reports and grids show first where nobody chose some; 0 is not among them.
            Of a family with a number it is the 1 (`t2i_r1`), of a value with sides the tokens.
        side: side in whose column of the text table a value stands whose name has no side, or ''.
        samples: scores of single images in samples.npz whose mean is the value, where they have another name:
            'zeroshot/{side}'; or 't2i/{side}<{k}': places, of which those below k are hits.
        beside: (heading, name) of each value that it is compared with, floors first: what knows nothing of the input,
            then what knows the right answer; such as (('most frequent answer', 'majority/{question}'),).
        of_codes: whether it is about nats of codes, which compare within one tokenizer alone.
    """
    name: str
    label: str
    unit: str = ''
    format: str = '.4g'
    direction: str = 'none'
    group: str = 'other'
    order: int = 100
    headline: int = 0
    side: str = ''
    samples: str = ''
    beside: Sequence[Sequence[str]] = ()
    of_codes: bool = False

    def __post_init__(self) -> None:
        try:
            beside = tuple((str(heading), str(name)) for heading, name in self.beside)
            for heading, name in beside:
                name.format(**dict.fromkeys(self.fields, '1'))
        except (ValueError, KeyError, IndexError, TypeError) as e:
            raise InputError(f'`beside` of the metric info `{self.name}` is {self.beside!r}; expected pairs of a '
                             f'heading and the name of a value, which may use the fields {self.fields}.') from e
        object.__setattr__(self, 'beside', beside)
        for key, known in (('direction', DIRECTIONS), ('group', GROUPS)):
            value = getattr(self, key)
            if value not in known:
                raise InputError(f'`{key}` of the metric info `{self.name}` is {value!r}; '
                                 f'expected one of {", ".join(known)}.{closest(str(value), known)}')
        try:
            format(0.5, self.format)
            self.label.format(**dict.fromkeys(self.fields, '1'))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as e:
            raise InputError(f'the metric info `{self.name}` cannot be shown ({type(e).__name__}: {e}): `format` is '
                             f'{self.format!r}, expected such as \'.2f\'; `label` is {self.label!r}, which may use the '
                             f'fields of the name: {self.fields}.') from e

    @property
    def heading(self) -> str:
        """Label and unit: 'PSNR [dB]'."""
        return f'{self.label} [{self.unit}]' if self.unit else self.label

    @property
    def fields(self) -> list[str]:
        """Names of the fields of a family; [] for a single value."""
        return find_fields(self.name)

    def match(self, name: str) -> dict[str, str] | None:
        """Return the fields with which `name` is of this family, or None where it is not."""
        match = self._pattern.fullmatch(name)
        return match.groupdict() if match else None

    @cached_property
    def _pattern(self) -> re.Pattern:
        parts = _FIELD.split(self.name)
        text = re.escape(parts[0])
        for i in range(1, len(parts), 2):
            word = (not parts[i - 1] or parts[i - 1].endswith('/')) and parts[i + 1][:1] in ('', '/')
            text += f'(?P<{parts[i]}>{"[^/]+" if word else "[0-9]+"}){re.escape(parts[i + 1])}'
        return re.compile(text)

    def prefixed(self, prefix: str) -> MetricInfo:
        """Return the info of the same value of a metric with a prefix."""
        if not prefix:
            return self
        samples = self.samples and f'{prefix}/{self.samples}'
        beside = tuple((heading, f'{prefix}/{name}') for heading, name in self.beside)
        return replace(self, name=f'{prefix}/{self.name}', label=f'{self.label} ({prefix})', samples=samples,
                       beside=beside, headline=0)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it, without what is as by default."""
        values = {f.name: (getattr(self, f.name), f.default) for f in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MetricInfo:
        """Undo `to_dict`; keys that this version does not know are left out."""
        return cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})


def find_fields(text: str) -> list[str]:
    """Return the names of the fields `{name}` in a text."""
    return _FIELD.findall(text)
