"""Which keys the dicts of a config may have: by the constructor of their `type`, or by their place."""
from __future__ import annotations

import inspect

from dtbox.config.schema import DICTS, Recipe
from dtbox.registry import ALL
from dtbox.values import read_hints

TOP = tuple(read_hints(Recipe))
"""Top-level keys that a child config may add; other names have to stand in its base, or be referred to as
`'${name}'`."""

TABLES = ('losses', 'vocabularies', 'quantizers', 'encoders', 'groups', 'hooks', 'val_evaluator', 'metrics')
"""Dicts of parts by name: a child config or an override may add parts, change them, and remove them with None."""

TYPED = ('losses', 'encoders', 'hooks', 'val_evaluator', 'metrics')
"""Those of the tables whose parts need a `type`."""

VALUES = ('taps', 'against')
"""Dicts of weights by name, each of which is one value: a change replaces it whole."""

BESIDE = {'losses': ('weight',), 'decoder': ('reads',), 'dataset': ('type',)}
"""Keys that stand beside a constructor's arguments, by the config key of the part (or of the table of parts)."""

UNTYPED = {
    **{path: tuple(read_hints(table)) for path, table in DICTS.items()},
    'model.teacher': ('encoder', 'layer', 'trunk_sharing', 'cache', 'cache_dtype', 'token_grid'),
    'gan': ('discriminator', 'adversarial'), 'model.gan': ('discriminator', 'adversarial')}
"""Keys of the dicts that have no `type`, by path; `*` stands for one name."""


def is_table(path: str) -> bool:
    """Return whether the dict at a dotted path holds parts by name."""
    return path.rpartition('.')[2] in TABLES


def find_implied_type(path: str) -> str | None:
    """Return the `type` that a dict at a dotted path has where it names none, or None."""
    names = path.split('.')
    if len(names) > 1 and names[-2] == 'vocabularies':
        return 'Vocabulary'
    return 'VisualTokenizer' if names in (['tokenizer'], ['model', 'tokenizer']) else None


def list_known_keys(node: dict, path: str) -> set[str]:
    """Return the keys that a config dict may have by its `type`; an empty set where that cannot be told.

    Args:
        node: the dict.
        path: its dotted path; '' is the top level.
    """
    if path == '':
        return set(TOP)
    names = path.split('.')
    kind = node.get('type', find_implied_type(path))
    if kind is None:
        return next((set(keys) for at, keys in UNTYPED.items() if _fits(names, at.split('.'))), set())
    parameters = _parameters(kind)
    if parameters is None or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return set()
    return {'type', *parameters, *(key for name in names[-2:] for key in BESIDE.get(name, ()))}


def _parameters(kind: object) -> dict | None:
    """Return the parameters of a registered part by its name, or None where none has that name."""
    for registry in ALL.values():
        target = registry._candidates().get(kind) if isinstance(kind, str) else None
        if target is not None:
            return dict(inspect.signature(target).parameters)
    return None


def _fits(names: list[str], pattern: list[str]) -> bool:
    return len(names) == len(pattern) and all(p in ('*', n) for n, p in zip(names, pattern))
