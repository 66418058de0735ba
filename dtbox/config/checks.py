"""What a change may set. A child config, `tiny` and `--cfg-options` may only set keys that exist in what they change,
or that the constructor of that part takes; any other key is an error with the closest match, and a form of an earlier
version one that names the new form.
"""
from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from mmengine.config import Config

from dtbox.config.keys import TOP, TYPED, is_table, list_known_keys
from dtbox.config.merge import DELETE, is_replacement
from dtbox.config.references import find_references, resolve
from dtbox.config.schema import check_recipe
from dtbox.errors import InputError, RenamedError, closest
from dtbox.renames import find_argument, find_key

LISTS = {'hooks': "hooks=dict(log=dict(type='Log', interval=20), ...)",
         'val_evaluator': "val_evaluator=dict(psnr=dict(type='PSNR'), ...)",
         'metrics': "metrics=dict(psnr=dict(type='PSNR'), ...)"}
"""Tables that were lists before 0.2.0 -> the form that they have now."""


def refuse_old_forms(values: dict, source: str, path: str = '') -> None:
    """Raise `InputError` for keys and forms of earlier versions; it names the new ones.

    Args:
        values: what a file, or an option, sets.
        source: file or option, for errors.
        path: dotted path of the values; '' is the top level.
    """
    for key, value in values.items():
        here = f'{path}.{key}' if path else str(key)
        refuse_old_form(here, value, source)
        if isinstance(value, dict):
            refuse_old_forms(value, source, here)


def refuse_old_form(path: str, value: Any, source: str) -> None:
    """Raise `InputError` where a key, or the form of its value, is one of an earlier version."""
    name = path.rpartition('.')[2]
    refuse_old_key(path, source)
    if path in ('hooks', 'val_evaluator', 'protocol.metrics') and isinstance(value, (list, tuple)):
        raise RenamedError(f'{source} gives `{name}` as a list. Since dtbox 0.2.0 it is a dict by name, of which a '
                           'child config '
                         f'may change one entry, or remove it with None: {LISTS[name]}.', path)
    if path == 'tiny' and isinstance(value, dict):
        dotted = next((key for key in value if '.' in str(key)), None)
        if dotted is not None:
            raise RenamedError(f'{source} sets the dotted key `{dotted}` in `tiny`. Since dtbox 0.2.0 `tiny` nests '
                               'like everything '
                             f'else: tiny=dict({_nest(str(dotted))}).', path)


def refuse_old_key(path: str, source: str) -> None:
    """Raise `InputError` where a dotted path, or one above it, is a key of an earlier version; it names the new one."""
    place = path[len('tiny.'):] if path.startswith('tiny.') else path
    moved = find_key(place)
    if moved is not None:
        raise RenamedError(f'{source} sets a key of an earlier version. {moved.tell(place)}', path)


def _nest(dotted: str) -> str:
    first, *rest = dotted.split('.')
    return f'{first}=dict({_nest(".".join(rest))})' if rest else f'{first}=...'


def check_change(own: dict, base: dict, path: str, source: str, variables: Iterable[str] = ()) -> None:
    """Raise `InputError` for keys of a change that neither its base nor the part's constructor knows.

    Args:
        own: the change, as it merges into `base`.
        base: what it changes.
        path: dotted path of both; '' is the top level.
        source: what makes the change, for errors.
        variables: names that may be new at the top level.
    """
    known = None
    for key, value in own.items():
        here = f'{path}.{key}' if path else str(key)
        if key == DELETE:
            continue
        if key in base:
            if isinstance(value, dict) and isinstance(base[key], dict) and not is_replacement(value, base[key], here):
                check_change(value, base[key], here, source)
            continue
        if is_table(path) or 'tiny' in path.split('.'):
            _check_new_part(key, value, base, path, source)
            continue
        if known is None:
            known = list_known_keys({**base, **own}, path) | (set(variables) if path == '' else set())
        if known and key not in known and not str(key).startswith('_'):
            options = known | set(map(str, base))
            refuse(f'{source} sets a key that its base does not have.', key, here, options,
                   f'Known there: {", ".join(sorted(map(str, options)))}.', {**base, **own}.get('type'))


def _check_new_part(key: str, value: object, base: dict, path: str, source: str) -> None:
    """Raise `InputError` where a table of named parts would get a part that is none: a misspelled name, most likely."""
    names = path.split('.')
    if names[-1] not in TYPED or 'tiny' in names or isinstance(value, str):
        return
    if value is None:
        what = f'{source} removes `{key}`, which its base does not have.'
    elif isinstance(value, dict) and value.get('type') is None:
        what = f'{source} changes `{key}`, which its base does not have, and gives no `type` to add it.'
    else:
        return
    raise InputError(f'{what}{closest(key, base)} There are: {", ".join(map(str, base)) or "none"}.', f'{path}.{key}')


def refuse(what: str, key: str, path: str, options: Iterable[str], listing: str, kind: str | None = None,
           where: str | None = None) -> None:
    """Raise the `InputError` of a key that does not exist; one of an earlier version names the new one.

    Args:
        what: sentence that says what is wrong.
        key: the key.
        path: its dotted path.
        options: keys that exist there.
        listing: sentence that lists them.
        kind: `type` of the dict.
        where: dotted path for the error, where it is not `path`.
    """
    moved = find_argument(kind, key) if isinstance(kind, str) else None
    if moved:
        raise RenamedError(f'{what} {moved.tell(key)}', where or path)
    raise InputError(f'{what}{closest(key, options)} {listing}', where or path)


def check_spelling(source: Config) -> None:
    """Raise `InputError` for a name at the top level of a config that nothing refers to, and that is nearly the name of
    a setting: `hoks`."""
    used = find_references(source._cfg_dict.to_dict())
    for name in source:
        near = difflib.get_close_matches(name, TOP, n=1, cutoff=0.8)
        if near and name not in TOP and name not in used and not name.startswith('_') and near[0] not in source:
            raise InputError(f'nothing reads `{name}`. Did you mean `{near[0]}`?', name)


def resolve_checked(source: Config) -> Config:
    """Return a config with its references replaced, and the values checked that dtbox reads of a recipe."""
    cfg = resolve(source)
    check_recipe(cfg)
    check_spelling(source)
    return cfg
