"""Annotations and values in words, for messages."""
from __future__ import annotations

import collections.abc
import inspect
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from dtbox.counts import format_count
from dtbox.values.hints import read_hints
from dtbox.values.kinds import RULES, Table

UNIONS = (Union, getattr(types, 'UnionType', Union))
SEQUENCES = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Collection,
             collections.abc.Iterable)
MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
WORDS = {int: 'a whole number', float: 'a number', bool: 'True or False', str: 'a string', type(None): 'None'}


def describe_hint(hint: Any) -> str:
    """Return in words what an annotation allows."""
    origin, args = get_origin(hint), get_args(hint)
    kind = origin or hint
    if origin in UNIONS:
        return _join([describe_hint(one) for one in args])
    if origin is Annotated:
        return ' '.join([describe_hint(args[0]), *(str(rule) for rule in args[1:] if isinstance(rule, RULES))])
    if kind is Literal:
        return _join([repr(one) for one in args])
    if kind in WORDS:
        return WORDS[kind]
    if inspect.isclass(kind) and issubclass(kind, Table):
        return f'a dict with the keys {", ".join(read_hints(kind))}'
    if kind in MAPPINGS:
        return 'a dict' + (f' of {_describe_many(args[1])}' if args and args[1] is not Any else '')
    if kind is tuple and args and args[-1] is not ...:
        return f'{format_count(len(args), "value")}: {"; ".join(describe_hint(one) for one in args)}'
    if kind in SEQUENCES:
        return 'a list' + (f' of {_describe_many(args[0])}' if args and args[0] is not Any else '')
    return getattr(kind, '__name__', str(kind))


def _describe_many(hint: Any) -> str:
    text = describe_hint(hint)
    for one, many in (('a whole number', 'whole numbers'), ('a number', 'numbers'), ('a string', 'strings'),
                      ('a dict', 'dicts'), ('a list', 'lists')):
        text = text.replace(one, many)
    return text


def _join(words: list[str]) -> str:
    return ', '.join(words[:-1]) + (' or ' if words[1:] else '') + words[-1]


def shorten(value: Any, most: int = 120) -> str:
    """Return the `repr` of a value, cut where it is long."""
    text = repr(dict(value) if isinstance(value, dict) else value)
    return text if len(text) <= most else f'{text[:most]} ...'
