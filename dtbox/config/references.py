"""References: a value written `'${name}'` stands for the top-level variable `name` at the moment the config is used.

One override of `data_root`, `image_size` or `quantizer` so reaches every place that follows it.
"""
from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from dtbox.config.keys import is_table
from dtbox.errors import InputError, closest

REFERENCE = re.compile(r'^\$\{(\w+)\}$')
RUN_REFERENCE = re.compile(r'^\$\{(\w+):([\w.]+)(\??)\}$')
"""An entry of the config of the run that a variable names (see `run_entries.py`)."""
LONGEST = 50
"""References that may follow each other, each inside the value of the one before."""
MOST = 500_000
"""Values of a resolved config."""
PLACEHOLDER = re.compile(r'\{\{\s*(_base_|file\w+|\$\w+)[^}]*\}\}')
"""MMEngine's own way to refer to variables, which is not read here."""


def is_reference(value: Any) -> bool:
    """Return whether a value is a reference."""
    return _name(value) is not None


def _name(value: Any) -> str | None:
    """Return what a reference refers to; None for any other value."""
    match = REFERENCE.match(value) if isinstance(value, str) else None
    return None if match is None else match.group(1)


def find_references(node: Any) -> set[str]:
    """Return the names that references below `node` refer to."""
    if isinstance(node, dict):
        return set().union(*map(find_references, node.values()))
    if isinstance(node, (list, tuple)):
        return set().union(*map(find_references, node))
    match = isinstance(node, str) and (REFERENCE.match(node) or RUN_REFERENCE.match(node))
    return {match[1]} if match else set()


def follow(variables: dict | Config, value: Any, path: str) -> Any:
    """Follow a chain of references to its final value; any other value is returned as it is.

    Args:
        variables: the top-level variables.
        value: a reference, or any other value.
        path: dotted path of the value, for errors.

    Raises:
        InputError: a reference to a variable that does not exist, or to itself.
    """
    seen = set()
    while (name := _name(value)) is not None:
        if value in seen:
            raise InputError(f'`{value}` refers to itself.', path)
        seen.add(value)
        value = _variable(variables, name, path)
    return value


def _variable(variables: dict | Config, name: str, path: str) -> Any:
    if name not in variables:
        raise InputError(f'`${{{name}}}` names no top-level variable.{closest(name, variables.keys())}', path)
    return variables[name]


def resolve(cfg: Config | dict) -> Config:
    """Return a copy of a config in which each reference is replaced by the value that it names.

    Parts that are removed (`None` in a table of named parts, such as `hooks` or `losses`) are left out.

    Raises:
        InputError: a reference to a variable that does not exist, to itself, or in part of a string; a chain of
            hundreds.
    """
    plain = cfg._cfg_dict.to_dict() if isinstance(cfg, Config) else copy.deepcopy(cfg)
    return Config(_resolve(plain, '', frozenset(), plain, itertools.count()), format_python_code=False)


def _resolve(node: Any, path: str, seen: frozenset, variables: dict, count: Iterator[int]) -> Any:
    if next(count) > MOST:  # lists of references to lists of references ...
        raise InputError(f'the config has more than {MOST:,} values once its references are followed.', path[:200])
    if isinstance(node, dict):
        table = is_table(path)
        return {key: _resolve(value, f'{path}.{key}' if path else str(key), seen, variables, count)
                for key, value in node.items() if not (table and value is None)}
    if isinstance(node, (list, tuple)):
        return type(node)(_resolve(value, f'{path}.{i}', seen, variables, count) for i, value in enumerate(node))
    name = _name(node)
    if name is None:
        _refuse_part(node, path)
        return node
    if name in seen:
        raise InputError(f'`{node}` refers to itself.', path)
    if len(seen) >= LONGEST:
        raise InputError(f'`{node}` ends a chain of {LONGEST} references. Refer to the last variable at once.', path)
    return _resolve(copy.deepcopy(_variable(variables, name, path)), path, seen | {name}, variables, count)


def _refuse_part(value: Any, path: str) -> None:
    if isinstance(value, str) and RUN_REFERENCE.match(value):
        raise InputError(f'`{value}` is an entry of another run, which stands in no place here: `load_config` reads '
                         'those of a whole config.', path)
    if isinstance(value, str) and '${' in value:
        raise InputError(f'`{value}` refers to a variable in part; a reference is a whole value, such as '
                         "'${data_root}'.", path)
    if isinstance(value, str) and PLACEHOLDER.search(value):
        raise InputError(f"`{value}` is MMEngine's way to refer to a variable. Write '${{name}}', the name of a "
                         "top-level "
                         'variable, as the whole value.', path)
