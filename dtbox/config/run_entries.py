"""Entries of another run's config: `'${run:model.tokenizer}'` stands for `model.tokenizer` in the config of the run
that the variable `run` names. A `?` after the entry gives None where that config does not have it.

`load_config` puts the entries in their place once all options are set, so that the config.py of a new run is whole and
needs the other run no more.
"""
from __future__ import annotations

import copy
import importlib
import re
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from dtbox.config.references import RUN_REFERENCE, follow
from dtbox.errors import InputError, at, closest
from dtbox.extend import as_list

READER = 'dtbox.apis.run_values'
"""The module that reads the config of a run; as with `dtbox.registry`, its name is all that this room knows."""
PLACES = 'a run folder, a folder of save_pretrained, a packaged model (dtbox://NAME), or one on the hub'


def is_run_reference(value: Any) -> bool:
    """Return whether a value stands for an entry of another run's config."""
    return _parse(value) is not None


def _parse(value: Any) -> re.Match[str] | None:
    return RUN_REFERENCE.match(value) if isinstance(value, str) else None


def list_run_variables(node: Any) -> set[str]:
    """Return the variables that name the runs of the entries below `node`."""
    if isinstance(node, Mapping):
        return set().union(*map(list_run_variables, node.values()))
    if isinstance(node, (list, tuple)):
        return set().union(*map(list_run_variables, node))
    match = _parse(node)
    return set() if match is None else {match[1]}


def read_entry(variables: Mapping[str, Any] | Config, reference: str, path: str, optional: bool = False) -> Any:
    """Return a copy of the entry that a value stands for.

    Args:
        variables: the top-level variables.
        reference: `'${VARIABLE:ENTRY}'`, or `'${VARIABLE:ENTRY?}'`.
        path: dotted path of the value, for errors.
        optional: give None where the run's config does not have the entry, as `?` does.

    Raises:
        InputError: a variable that names no run, what reading the run says, a config without the entry.
    """
    match = _parse(reference)
    assert match is not None
    name, entry = match[1], match[2]
    values = _read_run(variables, name)
    node: Any = values
    for key in entry.split('.'):
        if not isinstance(node, Mapping) or key not in node:
            if optional or match[3]:
                return None
            run = follow(variables, variables[name], name)
            keys = ', '.join(map(str, node)) if isinstance(node, Mapping) else ''
            raise InputError(f'the config of the run {run} has no `{entry}`, which `{reference}` stands for.'
                             f'{closest(key, keys.split(", "))} There it has: {keys or "no more entries"}. A converted '
                             f'or an exported model has a tokenizer alone: set {path} yourself.', path)
        node = node[key]
    return copy.deepcopy(node)


def _read_run(variables: Mapping[str, Any] | Config, name: str) -> dict[str, Any]:
    """Return the config of the run that a variable names, as plain values."""
    run = follow(variables, f'${{{name}}}', name)
    if not isinstance(run, str) or not run:
        raise InputError(f'`{name}` is {run!r}; expected the run whose entries the config takes: {PLACES} '
                         f'(--cfg-options {name}=PATH).', name)
    with at(name):
        return importlib.import_module(READER).read_run_values(run)


def take_entries(cfg: Config) -> None:
    """Put the entries of other runs in their place, and add the plugins of these runs; `cfg` is changed in place. The
    dict `tiny` stays as it is."""
    plain = {key: value for key, value in cfg._cfg_dict.to_dict().items() if key != 'tiny'}
    names = list_run_variables(plain)
    if not names:
        return
    plugins = as_list(cfg.get('plugins'))
    for name in sorted(names):
        plugins += as_list(_read_run(plain, name).get('plugins'))
    for key, value in plain.items():
        if list_run_variables(value):
            cfg[key] = _replace(value, plain, str(key))
    if plugins:
        cfg.plugins = list(dict.fromkeys(plugins))


def _replace(node: Any, variables: Mapping[str, Any], path: str) -> Any:
    if isinstance(node, dict):
        return {key: _replace(value, variables, f'{path}.{key}') for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(_replace(value, variables, f'{path}.{i}') for i, value in enumerate(node))
    return read_entry(variables, node, path) if is_run_reference(node) else node
