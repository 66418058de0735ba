"""Config files: one file's own values, and a file merged with its bases."""
from __future__ import annotations

import os
import types
from collections.abc import Sequence
from typing import Any

import yaml

from dtbox.config.checks import check_change, refuse_old_forms
from dtbox.config.find import find_config
from dtbox.config.literals import read_literals
from dtbox.config.merge import merge
from dtbox.config.references import find_references
from dtbox.config.variables import check_read
from dtbox.errors import InputError
from dtbox.extend import Plugin, as_list, load_named
from dtbox.files import parse_json
from dtbox.runs import find_run_of
from dtbox.trust import is_trusted, require_trust

BASES = '_base_'
DEEPEST = 100
"""Levels of dicts and lists that the values of a config may have; those of recipes have about ten."""


def read_config(path: str, given: Sequence[Plugin] = (), named: list[Plugin] | None = None,
                strict: bool = True, as_data: bool = False, above: Sequence[str] = ()) -> dict[str, Any]:
    """Return the values of a config file, merged with those of its bases; references stay.

    Args:
        path: config file.
        given: plugins of the command line, for those that have moved; see `load_named`.
        named: gets the plugins that the file and its bases name, which are loaded, the lowest base's first; None loads
            none.
        strict: refuse keys that neither the base nor a constructor knows.
        as_data: it is that of a folder that may be a stranger's; see `read_file`.
        above: absolute paths of the configs whose base it is.

    Raises:
        InputError: a file that cannot be read, an unknown key, or a form of an earlier version.
    """
    chain = [*above, os.path.realpath(path)]
    if chain[-1] in above:
        circle = ' -> '.join(map(os.path.basename, chain[chain.index(chain[-1]):]))
        raise InputError(f'the bases of configs close a circle: {circle}. Let one of them do without its `{BASES}`.',
                         BASES)
    own, bases = read_file(path, as_data)
    own = adopt_format_1(own, path)
    file = os.path.basename(path)
    below, inherited = {}, []
    for base in bases:
        values = read_config(find_base(base, path), given, named, strict, above=chain)
        inherited += as_list(values.get('plugins'))
        below = merge(below, values)
    if named is not None:
        named += load_named([name for name in as_list(own.get('plugins')) if name not in inherited], path, given,
                            as_data)
    refuse_old_forms(own, file)
    if not bases:
        return merge({}, own)

    def check(change: dict, base: dict, at: str) -> None:
        check_change(change, base, at, file, find_references(own))
    if strict:
        check(own, below, '')
    merged = merge(below, own, check if strict else None)
    if strict:
        check_read(merged, own, file)
    return merged


def read_file(path: str, as_data: bool = False) -> tuple[dict[str, Any], list[str]]:
    """Return the values that a file sets itself, and the bases that it names.

    A .py file is run; functions, modules and names that begin with two underscores are left out. That of a run folder
    (or any with `as_data`) is read as data (see `read_literals`), unless its author is trusted. JSON and YAML are read,
    too.
    """
    as_data = (as_data or find_run_of(path).is_run_config(path)) and not is_trusted()
    try:
        with open(path, 'rb') as file:
            text = file.read()  # what reads it knows of encodings and byte order marks
        suffix = os.path.splitext(path)[1]
        if suffix in ('.json', '.yaml', '.yml'):  # 1e-4 and tabs are JSON, but not what YAML 1.1 takes them for
            values: dict[str, Any] = parse_json(text) if suffix == '.json' else yaml.safe_load(text)
        elif as_data:
            values = read_literals(text, path)
        else:
            values = {'__file__': os.path.abspath(path), '__name__': 'config'}
            exec(compile(text, path, 'exec'), values)
        if not isinstance(values, dict):
            raise TypeError(f'it holds a {type(values).__name__}, not a dict')
        check_depth(values)
    except InputError:
        raise
    except (Exception, SystemExit) as e:  # a config is Python: whatever it may raise
        raise InputError(f'the config {path} cannot be read: {type(e).__name__}: {e}') from e
    values = {key: value for key, value in values.items()
              if not key.startswith('__') and not isinstance(value, (types.FunctionType, types.ModuleType))}
    bases = values.pop(BASES, [])
    if bases and as_data:
        require_trust(f'the config {path} has the base {bases!r}')
    if not isinstance(bases, (str, list, tuple)) or not all(isinstance(base, str) for base in bases):
        raise InputError(f'`{BASES}` of {path} is {bases!r}; expected a path, a name, or a list of them.', BASES)
    return values, [bases] if isinstance(bases, str) else list(bases)


def check_depth(node: Any, depth: int = 0) -> None:
    """Raise `ValueError` for values nested deeper than `DEEPEST`, such as a list that holds itself."""
    if depth > DEEPEST:
        raise ValueError(f'its values are nested deeper than {DEEPEST} levels')
    if isinstance(node, (dict, list, tuple)):
        for part in node.values() if isinstance(node, dict) else node:
            check_depth(part, depth + 1)


def adopt_format_1(values: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the values of a config file; in a run folder of format 1, lists of hooks and metrics become dicts by name.

    What has been renamed keeps its old name, about which the registries say what to do. Dotted keys of `tiny` are left
    out.
    """
    run = find_run_of(path)
    if not run.has_checkpoint() or path != run.config or run.read_origin().format > 1:
        return values
    for key in ('hooks', 'val_evaluator'):
        if isinstance(values.get(key), (list, tuple)):
            names = [part.get('type') for part in values[key]]
            numbers = [names[:i].count(name) + 1 for i, name in enumerate(names)]
            values[key] = {name if number == 1 else f'{name}_{number}': part
                           for name, number, part in zip(names, numbers, values[key])}
    if any('.' in str(key) for key in values.get('tiny') or ()):
        del values['tiny']
    return values


def find_base(base: str, path: str) -> str:
    """Return the path of a base of the config file `path`: relative to that file, or else by name as `find_config`
    does."""
    beside = os.path.normpath(os.path.join(os.path.dirname(path), base))
    if os.path.isfile(beside):
        return beside
    try:
        if base.startswith('.'):
            raise InputError(f'{beside} {"is a folder" if os.path.isdir(beside) else "does not exist"}.')
        return find_config(base)
    except InputError as e:
        raise InputError(f'the config {path} cannot be read: its base `{base}` is missing; {e.message}', BASES) from e
