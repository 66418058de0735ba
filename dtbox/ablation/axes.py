"""The parts of a grid's config: axes, seeds, filters, budget, and values of the right kind."""
from __future__ import annotations

from typing import Any

from mmengine.config import Config

from dtbox.config import REFERENCE, resolve
from dtbox.errors import InputError, closest

BUDGET = ('hours', 'trials', 'trial_minutes')
ELSEWHERE = {'seed': '`seeds` of the grid, or --seeds', 'threads': '`threads` of the grid, or --threads',
             'work_dir': '--work-dir', 'plugins': '`plugins` of the grid, or --plugin'}
"""Keys of a recipe that no override may set, and what sets them for a grid."""


def read_axis(axis: Any, where: str) -> dict[str, dict]:
    """Return label -> dict of overrides."""
    if not isinstance(axis, dict) or set(axis) not in ({'variants'}, {'key', 'values'}):
        raise InputError(f'got {axis!r}; an axis is dict(key=\'dotted.key\', values=[...]) or '
                         f'dict(variants=dict(label={{...}})).', where)
    if 'variants' in axis:
        variants = axis['variants']
        if not isinstance(variants, dict) or not variants or not all(isinstance(v, dict) for v in variants.values()):
            raise InputError(f'`variants` is {variants!r}; expected at least one label={{dotted key: value}}.', where)
        return {label: read_overrides(overrides, f'{where}.{label}')
                for label, overrides in _labelled(variants, where).items()}
    values = axis['values']
    if not isinstance(values, (list, tuple, dict)) or not values:
        raise InputError(f'`values` is {values!r}; expected a list of at least one value, or dict(label=value).', where)
    if not isinstance(values, dict):
        odd = next((v for v in values if isinstance(v, (dict, list, tuple))), None)
        if odd is not None:
            raise InputError(f'the value {odd!r} has no short name; write values=dict(label=value, ...).', where)
        values = list(zip(map(str, values), values))
        if len(dict(values)) < len(values):
            raise InputError(f'a value stands there twice: {", ".join(label for label, _ in values)}.', where)
    return {label: read_overrides({axis['key']: value}, where)
            for label, value in _labelled(dict(values), where).items()}


def _labelled(table, where):
    """Return a dict with its labels as strings."""
    named = {str(label): value for label, value in table.items()}
    if len(named) < len(table):
        raise InputError(f'two labels read the same: {", ".join(map(repr, table))}.', where)
    return named


def read_overrides(overrides: Any, where: str) -> dict[str, Any]:
    """Return a dict dotted key -> value whose keys are words, and none that a grid sets otherwise."""
    for key in overrides:
        if not isinstance(key, str) or not key:
            raise InputError(f'the key {key!r} is not a word; expected a dotted key of the recipe, such as '
                             '\'quantizer.depth\'.', where)
        if key in ELSEWHERE:
            raise InputError(f'`{key}` of a trial is set by {ELSEWHERE[key]}.', where)
    return dict(overrides)


def read_seeds(seeds: Any) -> list[int]:
    """Return the seeds as a list."""
    ok = isinstance(seeds, (list, tuple)) and seeds and all(type(s) is int and s >= 0
                                                            for s in seeds) and len(set(seeds)) == len(seeds)
    if not ok:
        raise InputError(f'`seeds` is {seeds!r}; expected a list of different whole numbers of at least 0.', 'seeds')
    return list(seeds)


def read_switch(value: Any, where: str) -> bool:
    """Return a switch."""
    if not isinstance(value, bool):
        raise InputError(f'got {value!r}; expected True or False.', where)
    return value


def read_budget(budget: Any) -> dict[str, float]:
    """Return dict of the limits of BUDGET that are set."""
    budget = {} if budget is None else budget
    if not isinstance(budget, dict):
        raise InputError(f'`budget` is {budget!r}; expected dict({"=, ".join(BUDGET)}=), each of which may be left '
                         'out.', 'budget')
    for key, value in budget.items():
        if key not in BUDGET:
            raise InputError(f'`budget` has no `{key}`.{closest(key, BUDGET)} It has: {", ".join(BUDGET)}.', 'budget')
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            raise InputError(f'`{key}` is {value!r}; expected a positive number.', 'budget')
    return budget


def read_reference(reference: Any, axes: dict[str, dict]) -> dict[str, str] | None:
    """Return dict axis -> label of the variant that others are compared with, or None."""
    if reference is None:
        return None
    if not isinstance(reference, dict) or set(reference) != set(axes):
        raise InputError(f'`reference` is {reference!r}; expected one label for each axis: '
                         f'{", ".join(axes)}.', 'reference')
    return {axis: _label(label, axis, axes, 'reference') for axis, label in reference.items()}


def _label(label, axis, axes, where):
    if axis not in axes:
        raise InputError(f'there is no axis `{axis}`.{closest(axis, axes)} There are: {", ".join(axes)}.', where)
    if str(label) not in axes[axis]:
        raise InputError(f'the axis `{axis}` has no `{label}`.{closest(label, axes[axis])} It has: '
                         f'{", ".join(axes[axis])}.', where)
    return str(label)


def read_rules(rules: Any, axes: dict[str, dict], where: str) -> list[dict[str, set]]:
    """Return a list of dict axis -> set of labels; `seed` stands for the seeds, as an axis of numbers."""
    if isinstance(rules, dict):
        rules = [rules]
    if not isinstance(rules or [], (list, tuple)) or not all(isinstance(rule, dict) and rule for rule in rules or []):
        raise InputError(f'got {rules!r}; expected a list of dict(axis=label), or axis=[labels].', where)
    return [{axis: {_allowed(v, axis, axes, where) for v in (value if isinstance(value, (list, tuple)) else [value])}
             for axis, value in rule.items()} for rule in rules or []]


def _allowed(value: Any, axis: str, axes: dict[str, dict], where: str) -> str | int:
    if axis != 'seed':
        return _label(value, axis, axes, where)
    if type(value) is not int:
        raise InputError(f'got the seed {value!r}; expected a whole number, or a list of them.', where)
    return value


def read_metrics(metrics: Any) -> list[str]:
    """Return the headline metrics as a list."""
    if not isinstance(metrics or [], (list, tuple)) or not all(isinstance(m, str) for m in metrics or []):
        raise InputError(f'`metrics` is {metrics!r}; expected a list of SET/METRIC, such as [\'all/psnr\'].', 'metrics')
    return list(metrics or [])


def is_matched(labels: dict[str, str], seed: int, rules: list[dict[str, set]]) -> bool:
    """Whether a trial, its labels (dict axis -> label) and its seed, fits any of the rules of `read_rules`."""
    trial = dict(labels, seed=seed)
    return any(all(trial[axis] in allowed for axis, allowed in rule.items()) for rule in rules)


def check_kind(cfg: Config, key: str, value: Any) -> None:
    """Raise `InputError` where a plain value would take the place of a plain value of another kind (a word for a
    number, ...).

    Lists and dicts are left to the parts that read them: a tap, for one, may be a number, a list or a dict.

    Args:
        cfg: Config, references not resolved.
        key: dotted key.
        value: what is to stand there.
    """
    plain = resolve(cfg)
    node = plain
    for part in key.split('.'):
        if isinstance(node, (list, tuple)) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif hasattr(node, 'keys'):
            node = next((node[k] for k in node.keys() if str(k) == part), None)
        else:
            node = None
    if isinstance(value, str) and (match := REFERENCE.match(value)):
        value = plain.get(match.group(1))
    old, new = _kind(node), _kind(value)
    if old and new and old != new:
        raise InputError(f'got {value!r}, {new}, in the place of {node!r}, {old}.')


def _kind(value):
    kinds = {bool: 'a switch', int: 'a number', float: 'a number', str: 'a word'}
    return kinds.get(type(value))
