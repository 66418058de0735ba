"""Which top-level variables of a config are read: those that its parts refer to, directly or by other variables."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dtbox.config.keys import TOP
from dtbox.config.references import find_references
from dtbox.errors import InputError, closest

VARIABLES = ('data_root', 'image_size')
"""Keys of `TOP` that are variables: they count only where something refers to them."""
RECIPE = ('model', 'train_dataloader')
"""What a config has that can be run; halves of configs (`_base_/`) have variables that others refer to."""


def list_read_variables(values: Mapping[str, Any]) -> set[str]:
    """Return the variables that the parts of a config (a plain dict) read."""
    read = find_references({key: value for key, value in values.items() if key in TOP and key not in VARIABLES})
    while more := find_references([values.get(name) for name in read]) - read:
        read |= more
    return read


def check_read(values: Mapping[str, Any], names: Iterable[str], source: str) -> None:
    """Raise `InputError` for a variable that was set and that nothing in a recipe reads.

    Args:
        values: the config, a plain dict; one that is not a recipe is not checked.
        names: top-level keys that were set.
        source: what set them, for the error.
    """
    if any(values.get(part) is None for part in RECIPE):
        return
    read = list_read_variables(values)
    for name in names:
        if name in read or name.startswith('_') or (name in TOP and name not in VARIABLES):
            continue
        raise InputError(f'{source} sets `{name}`, which nothing in this config reads.'
                         f'{_tell_data(values) if name == "data_root" else closest(name, read)} '
                         f'Variables that are read: {", ".join(sorted(read)) or "none"}.', name)


def _tell_data(values: Mapping[str, Any]) -> str:
    """Return the sentence that says how the data of a recipe are set."""
    sets = [(values.get(loader) or {}).get('dataset') or {} for loader in ('train_dataloader', 'val_dataloader')]
    names = find_references([value for one in sets for key, value in one.items() if key != 'pipeline'])
    ways = [f'{name}=...' for name in sorted(names - set(VARIABLES))] + ['another data config (--data)']
    return f' Its data are set by {" and ".join(ways[:-1])}{", or by " if ways[:-1] else ""}{ways[-1]}.'
