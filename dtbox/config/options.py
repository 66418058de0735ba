"""`--cfg-options`: values as they are typed, KEY=VALUE, and how one sets a dotted key of a config."""
from __future__ import annotations

import ast
import copy
import os
import re
from collections.abc import Iterable, MutableMapping
from typing import Any

from mmengine.config import Config

from dtbox.config.checks import check_change, refuse, refuse_old_form, refuse_old_forms, refuse_old_key
from dtbox.config.keys import is_table, list_known_keys
from dtbox.config.literals import is_plain_call
from dtbox.config.merge import is_replacement, merge, strip_marks
from dtbox.config.references import follow, is_reference
from dtbox.config.run_entries import is_run_reference, read_entry
from dtbox.errors import InputError

SOURCE = 'the option'


def parse_options(pairs: Iterable[str]) -> dict[str, Any]:
    """Read `--cfg-options`: ['a.b=1', "c=dict(type='X', n=2)", 'd=x,y'] -> dict key -> value.

    A value is a Python literal, `dict(...)` allowed; `x,y` is a list, as MMEngine has it; anything else is a string.
    """
    options = {}
    for pair in pairs:
        key, equals, text = pair.partition('=')
        if not equals or not key:
            raise InputError(f'`{pair}` is not an override; expected KEY=VALUE, such as '
                             'train_cfg.max_iters=100.', '--cfg-options')
        if not text.strip():
            raise InputError(f'`{pair}` has no value; a shell variable that is not set leaves nothing. '
                             f'`{key}=none` removes, {key}="\'\'" is an empty string.', '--cfg-options')
        options[key.strip()] = parse_value(text.strip())
    return options


def parse_value(text: str) -> Any:
    """Read one value (see `parse_options`); `~/` is the home folder, which shells leave behind `=`."""
    if text.startswith('~/'):
        text = os.path.expanduser(text)
    try:
        value = _literal(ast.parse(text, mode='eval').body)
        return list(value) if isinstance(value, tuple) and not text.startswith('(') else value
    except (SyntaxError, ValueError):
        pass
    if os.path.exists(text) or re.match(r'\{[\w.,]+\}[^\s,]', text):  # {0000..0003}.tar
        return text
    if text.startswith(('dict(', '[', '{', '(')):
        raise InputError(f'the value `{text}` is not a Python literal. Quote it in the shell: \'key=dict(type="X", '
                         'n=[1, 2])\'.',
                         '--cfg-options')
    if ',' in text:
        return [parse_value(part) for part in text.split(',')]
    return {'true': True, 'false': False, 'none': None, 'null': None}.get(text.lower(), text)


def _literal(node: ast.AST | None) -> Any:
    if node is None:  # the key of `**` in a dict
        raise ValueError('`**` is no literal')
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        if not is_plain_call(node):
            raise ValueError('not a dict of names and values')
        return {k.arg: _literal(k.value) for k in node.keywords}
    if isinstance(node, ast.Dict):
        return {_literal(k): _literal(v) for k, v in zip(node.keys, node.values)}
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_literal(e) for e in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    return ast.literal_eval(node)


def set_option(cfg: Config | MutableMapping, key: str, value: Any) -> None:
    """Set one dotted key of a config; a dict merges into the dict that is there, as in a child config (see `merge.py`).

    Args:
        cfg: Config or dict, changed in place.
        key: 'a.b.c'; elements of a list by index.
        value: what to set.

    Raises:
        InputError: a key that does not exist, with the closest match.
    """
    refuse_old_key(key, SOURCE)
    node, parts = cfg, key.split('.')
    for i, name in enumerate(parts):
        path = '.'.join(parts[:i])
        part: Any = _element(node, name, path, key) if isinstance(node, (list, tuple)) else \
            _key(node, name, parts[:i], parts)
        if i == len(parts) - 1:
            node[part] = _merged(cfg, node, part, value, key)
            return
        if is_run_reference(node[part] if isinstance(node, list) else node.get(part)):
            node[part] = read_entry(cfg, node[part], f'{path}.{part}' if path else part, optional=True)
        if isinstance(node, (dict, Config)) and node.get(part) is None:
            node[part] = {}
        if is_reference(node[part]):  # an override below a reference belongs to this place alone
            node[part] = copy.deepcopy(follow(cfg, node[part], f'{path}.{part}' if path else part))
        node = node[part]


def _element(node: list | tuple, part: str, path: str, key: str) -> int:
    """Return the index of a list that `part` names."""
    if not part.isdigit() or int(part) >= len(node):
        raise InputError(f'`{path}` is a list of {len(node)}; `{part}` is not an index of it.', key)
    if isinstance(node, tuple):
        raise InputError(f'`{path}` is the tuple {node}, whose elements cannot be set one by one; set it as a '
                         'whole.', key)
    return int(part)


def _key(node: Any, part: str, above: list[str], parts: list[str]) -> Any:
    """Return the key of a dict that `part` names."""
    path = '.'.join(above)
    if not isinstance(node, (dict, Config)):
        raise InputError(f'`{path}` is {node!r}; it has no key `{part}`.', '.'.join(parts))
    keys = list(node.keys())
    part = next((k for k in keys if str(k) == part), part)
    known = list_known_keys(node, path)
    adds = len(above) == len(parts) - 1 and above and (is_table(path) or above[-1] == 'tiny')
    if (keys or known) and part not in keys and part not in known and not adds:
        options = list(dict.fromkeys(map(str, [*keys, *sorted(known)])))
        refuse('there is no such key in the config.', str(part), '.'.join([*above, str(part)]), options,
               f'{"In `" + path + "`" if path else "At the top level"} there are: {", ".join(options)}.',
               node.get('type'), where='.'.join(parts))
    return part


def _merged(cfg: Config | MutableMapping, node: Any, part: Any, value: Any, path: str) -> Any:
    """Return what is to stand at `node[part]`, whose dotted path is `path`."""
    above = path.rpartition('.')[0]
    refuse_old_form(path, value, SOURCE)
    if is_table(above) and part not in node:
        check_change({part: value}, dict(node), above, SOURCE)
    if not isinstance(value, dict):
        if part == 'type' and isinstance(node, (dict, Config)):
            _refuse_old_arguments(node, value, above)
        return copy.deepcopy(value)
    refuse_old_forms(value, SOURCE, path)
    plain = cfg._cfg_dict.to_dict() if isinstance(cfg, Config) else dict(cfg)
    old = node[part] if isinstance(node, list) else node.get(part)
    old = follow(plain, old.to_dict() if hasattr(old, 'to_dict') else old, path)
    if is_run_reference(old):  # one that the run's config does not have is what the dict is given for
        old = read_entry(plain, old, path, optional=True)
    if not isinstance(old, dict) or is_replacement(value, old, path):
        return strip_marks(value)

    def check(change: dict, base: dict, at: str) -> None:
        check_change(change, base, at, SOURCE)
    check(value, old, path)
    return merge(old, value, check, at=path, variables=plain)


def _refuse_old_arguments(node: Config | MutableMapping, kind: Any, path: str) -> None:
    """Raise `InputError` where another `type` alone would keep arguments of the part before that it does not take."""
    known = list_known_keys({'type': kind}, path)
    old = [str(key) for key in node if known and key not in known]
    if old and node.get('type') != kind:
        raise InputError(f'another `type` alone keeps the arguments of {node.get("type")}, and {kind} does not take '
                         f'{", ".join(f"`{key}`" for key in old)}. Replace all of them: '
                         f'{path}="dict(type={kind!r}, ...)".', f'{path}.type')
