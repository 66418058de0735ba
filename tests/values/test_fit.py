"""Values against annotations."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Literal, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import pytest

from dtbox.errors import InputError
from dtbox.values import (
    Average,
    Count,
    Fraction,
    Positive,
    PositiveNumber,
    Seed,
    Table,
    check_value,
    check_values,
    read_hints,
)

NAN, INF = float('nan'), float('inf')


@dataclass
class Inner(Table):
    size: Positive
    kind: Literal['a', 'b'] = 'a'


@dataclass
class Other(Table):
    width: float


@dataclass
class Outer(Table):
    parts: Mapping[str, Inner | None]
    one: Inner | Other | None = None
    number: int = 0


@pytest.mark.parametrize('hint, fits, others', [
    (int, [0, -3, np.int64(2)], [True, '2', 2.0, None, NAN, []]),
    (float, [0, 1.5, np.float32(1), INF], [True, '1', NAN, None]),
    (bool, [True, np.bool_(False)], [0, 1, 'True', None]),
    (str, ['', 'a'], [1, None, True, ['a']]),
    (Optional[int], [None, 3], ['', False]),
    (Union[str, Sequence[str]], ['a', ['a'], ('a', 'b'), []], [1, [1], {'a': 1}, [None]]),
    (List[int], [[1], (1, 2)], ['12', [1.0], {1: 2}, 1]),
    (Tuple[float, float], [(1, 2), [0.5, 1]], [(1,), (1, 2, 3), 'ab', (1, 'a')]),
    (Tuple[str, ...], [(), ['a', 'b']], ['ab', [1]]),
    (Dict[str, float], [{}, {'a': 1}], [{'a': 'b'}, {1: 1}, [], None]),
    (dict, [{}, {1: 2}], [[], 'a']),
    (Literal['a', 1], ['a', 1], ['b', True, 1.0]),
    (Positive, [1, 10 ** 12], [0, -1, True, 1.5]),
    (Count, [0], [-1]), (Fraction, [0, 1, 0.5], [-0.1, 1.1, INF]), (Average, [0.5], [0, 1]),
    (PositiveNumber, [1e-30], [0, INF, -1]), (Seed, [0, 2 ** 32 - 1], [2 ** 32, NAN]),
    (Optional[Seed], [None, 1], [-1]), (Any, [None, object()], []), ('a name', [3], [])])
def test_what_fits(hint, fits, others):
    for value in fits:
        check_value(value, hint, 'x')
    for value in others:
        with pytest.raises(InputError, match='^x'):
            check_value(value, hint, 'x')


@pytest.mark.parametrize('value, says', [
    (dict(parts={}, number='2'), '^a.number: `number` is \'2\'; expected a whole number.$'),
    (dict(parts=dict(p=dict(size=0))), '^a.parts.p.size: `size` is 0; expected a whole number of at least 1.$'),
    (dict(parts=dict(p=dict(size=1, knid='a'))), '^a.parts.p: there is no key `knid`. Did you mean `kind`'),
    (dict(parts=dict(p=dict(size=1, kind='c'))), "^a.parts.p.kind: `kind` is 'c'; expected 'a' or 'b'.$"),
    (dict(number=1), '^a: `parts` is missing. There are: number.$'),
    (dict(parts={}, one=dict(width='x')), "^a.one.width: `width` is 'x'; expected a number.$"),
    (dict(parts={}, one=3), '^a.one: `one` is 3; expected a dict with the keys size, kind, a dict with the keys width '
                            'or None.$'),
    ([], r'^a: `a` is \[\]; expected a dict with the keys parts, one, number.$')])
def test_tables(value, says):
    """A dataclass is a dict with these keys; the error names the dotted key, what came and what is allowed."""
    with pytest.raises(InputError, match=says):
        check_value(value, Outer, 'a')
    check_value(dict(parts=dict(p=None, q=dict(size=3)), one=dict(width=1)), Outer, 'a')


def test_places_in_lists():
    with pytest.raises(InputError, match=r"^a.betas.1: `betas.1` is 'x'; expected a number.$"):
        check_value((0.5, 'x'), Tuple[float, float], 'a.betas')


class Base:
    def __init__(self, size: int, name: str | None = None, loose=3, unknown: NoSuchName = 1) -> None:  # noqa: F821
        pass


class Child(Base):
    def __init__(self, *args: Any, most: int | None = None, **kwargs: Any) -> None:
        pass


def test_annotations_of_constructors():
    """Those above are read where arguments are passed on; what cannot be evaluated is left alone."""
    assert set(read_hints(Base)) == {'size', 'name'} and {'most', 'size', 'name'} <= set(read_hints(Child))
    check_values(Child, dict(size=1, loose='x', unknown='y', more=1))
    for values in (dict(size='1'), dict(most='1'), dict(name=1)):
        with pytest.raises(InputError, match=f'^{next(iter(values))}: '):
            check_values(Child, values)
