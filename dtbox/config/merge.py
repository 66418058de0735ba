"""How a child's values merge into those of its base; the same for `tiny`, `--cfg-options`, and values below a
reference.

- A dict merges into a dict, key by key: keys of the base keep their order, new ones come after them.
- A dict whose `type` differs from the base's replaces it. So does one with `_delete_=True`, one whose keys are not
  words, and one that is one value (`VALUES`: the weights of `taps`, the factors of `against`).
- None removes a part; any other value replaces.
- A dict that meets a reference `'${name}'` merges into a copy of the value that it names; the variable itself stays as
  it is. One that meets an entry of another run, `'${run:ENTRY}'`, is an error in a file, which does not know the run.
"""
from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple

from dtbox.config.keys import VALUES, find_implied_type
from dtbox.config.references import follow, is_reference
from dtbox.config.run_entries import is_run_reference
from dtbox.errors import InputError

DELETE = '_delete_'
Check = Callable[[dict, dict, str], None]


class Change(NamedTuple):
    """A dict that meets a reference: it merges once everything else has, since the variable may change, too.

    Attributes:
        path: keys from the top.
        value: the dict.
    """
    path: tuple
    value: dict


def is_replacement(new: dict, old: dict, path: str = '') -> bool:
    """Return whether a dict replaces the one at its place instead of merging into it; `path` is its dotted path."""
    if new.get(DELETE) or any(not isinstance(key, str) for key in new) or path.rpartition('.')[2] in VALUES:
        return True
    kind = new.get('type')
    return kind is not None and kind != old.get('type', find_implied_type(path))


def merge(base: dict, own: dict, check: Check | None = None, skip_absent: bool = False, at: str = '',
          variables: Mapping | None = None) -> dict:
    """Return the values of a base with those of a child merged into them; neither is changed.

    Args:
        base: values of the base.
        own: values of the child.
        check: called with a dict that meets a reference, the value that it merges into, and its dotted path.
        skip_absent: leave out dicts without `type` that would change a part which the base has removed (None), as
            `tiny` does.
        at: dotted path of both; '' is the top level.
        variables: top-level variables that references name; None takes the merged values.

    Raises:
        InputError: a dict meets a reference to a variable that does not exist, or to itself; what `check` raises.
    """
    later: list[Change] = []
    top = (at,) if at else ()
    merged = _merge(base, own, top, later, skip_absent)
    while later:
        path, value = later.pop(0)
        node = merged
        for key in path[len(top):-1]:
            node = node[key]
        key, dotted = path[-1], '.'.join(map(str, path))
        target = copy.deepcopy(follow(merged if variables is None else variables, node[key], dotted))
        if target is None and skip_absent and 'type' not in value:
            continue
        if not isinstance(target, dict) or is_replacement(value, target, dotted):
            node[key] = strip_marks(value)
            continue
        if check is not None:
            check(value, target, dotted)
        node[key] = _merge(target, value, path, later, skip_absent)
    return merged


def _merge(base: dict, own: dict, path: tuple, later: list[Change], skip_absent: bool) -> dict:
    merged = {key: _copy_dicts(value) for key, value in base.items()}
    for key, value in own.items():
        old, here = merged.get(key), (*path, key)
        if here == ('tiny',):  # changes that are still to come keep their marks
            merged[key] = _merge_tiny(old, value)
        elif not isinstance(value, dict):
            merged[key] = strip_marks(value)
        elif is_reference(old) and not value.get(DELETE):
            later.append(Change(here, value))
        elif is_run_reference(old) and not value.get(DELETE):
            dotted = '.'.join(map(str, here))
            raise InputError(f'a dict would change `{old}`, which is not known before the run is. Change single keys '
                             f'by --cfg-options {dotted}.KEY=VALUE, or replace the whole by _delete_=True.', dotted)
        elif isinstance(old, dict) and not is_replacement(value, old, '.'.join(map(str, here))):
            merged[key] = _merge(old, value, here, later, skip_absent)
        elif not (old is None and key in merged and skip_absent and 'type' not in value):
            merged[key] = strip_marks(value)
    return merged


def _merge_tiny(base: Any, own: Any, name: str = '') -> Any:
    """Return the small values of a base with those of a child merged into them."""
    if not isinstance(own, dict) or not isinstance(base, dict) or is_replacement(own, base, name):
        return copy.deepcopy(own)
    return {**base, **{key: _merge_tiny(base.get(key), value, str(key)) for key, value in own.items()}}


def _copy_dicts(value: Any) -> Any:
    return {key: _copy_dicts(one) for key, one in value.items()} if isinstance(value, dict) else value


def strip_marks(value: Any) -> Any:
    """Return a copy of a value without the marks `_delete_`, which have done their work."""
    if isinstance(value, dict):
        return {key: strip_marks(one) for key, one in value.items() if key != DELETE}
    if isinstance(value, (list, tuple)):
        return type(value)(map(strip_marks, value))
    return copy.deepcopy(value)
