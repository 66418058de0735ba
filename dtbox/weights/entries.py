"""Which of the weights in a file are meant: an average of them (EMA) or the plain ones, and the prefixes that wrappers
leave in their names.

Trainers save several sets of weights in one file: `{'model': ..., 'ema': ..., 'optimizer': ...}`, or averages beside
the plain weights under a prefix, as LitEma of latent-diffusion does. As timm and LlamaGen do, the average is taken
where there is one, and the log says so. `FILE::ENTRY` names another one.
"""
from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log

from dtbox.errors import InputError, closest

MARK = '::'
"""Stands between a file and the name of an entry in it."""
PLAIN = ('state_dict', 'model', 'module', 'model_state_dict', 'weights', 'params')
"""Entries that hold a model's own weights."""
AVERAGED = (*PLAIN, 'shadow', 'ema_model', 'averaged_model')
"""Entries that hold weights in what a trainer keeps of itself or of its averages."""
WRAPPERS = ('_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module', '_forward_module')
"""Parts of names that torch.compile, FSDP, activation checkpointing and Lightning Fabric add."""
PARALLEL = 'module.'
"""What DistributedDataParallel puts before every name."""
_EMA = re.compile(r'(.*[_.])?ema([_.].*)?')
OWN = 'plain'
"""Entry that stands for plain weights where averages lie beside them under a prefix."""
_COUNTERS = ('decay', 'num_updates')
"""What LitEma holds beside the weights."""


def split_entry(uri: str) -> tuple[str, str]:
    """Return (file, entry) of 'FILE::ENTRY'; the entry is '' where none is named."""
    path, mark, entry = uri.rpartition(MARK)
    return (path, entry) if mark and '/' not in entry else (uri, '')


def name_entry(path: str, entry: str | None) -> str:
    """Return 'FILE::ENTRY'; the file alone where no entry is named."""
    return f'{path}{MARK}{entry}' if entry else path


def choose_weights(content: Any, path: str, entry: str = '') -> dict[str, torch.Tensor]:
    """Return the weights that a file's content holds.

    Args:
        content: what the file holds.
        path: of the file, for messages.
        entry: name of the entry to take, dotted where entries hold entries; '' chooses.

    Returns:
        name -> tensor, without the prefixes of wrappers.

    Raises:
        InputError: no such entry; several that could be meant, with the option that names one; no weights at all.
    """
    said: list[str] = []
    content, entry = _descend(content, entry)
    # plain weights and averages beside each other lie in one state dict, which an entry of the file may hold
    beside = entry == OWN or _EMA.fullmatch(entry.lower()) is not None
    while (not entry or beside) and isinstance(content, dict):
        sets = {name: value for name, value in content.items() if isinstance(name, str) and _holds_weights(value)
                and not (beside and _EMA.fullmatch(name.lower()))}
        if not sets or _is_state(content) and not set(sets) <= set(PLAIN):
            break
        name = _choose(sets, path)
        others = [other for other in sets if other != name]
        if others:
            said.append(f'its entry `{name}` is taken, not {", ".join(f"`{other}`" for other in others)} '
                        f'({path}{MARK}{others[0]} takes that)')
        said += [f'its entry `{other}` holds tensors without the names of weights and is not used' for other in content
                 if isinstance(other, str) and other not in sets and _EMA.fullmatch(other.lower())
                 and _holds_tensors(content[other])]
        content = content[name]
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise InputError(f'{path} holds a {type(content).__name__}; expected weights: a dict of name -> tensor.')
    state = strip_wrappers(content)
    if entry and entry != OWN:
        # averages of LitEma, asked for by their own prefix, get their dots back
        average, words = _take_average(state, path, False) if beside else (state, [])
        return average if words else _take_prefix(state, path, entry)
    state, words = _take_average(state, path, entry == OWN)
    if said or words:
        print_log(f'the weights {path}: {"; ".join([*said, *words])}.', 'current', level=logging.WARNING)
    return state


def _descend(content: Any, entry: str) -> tuple[Any, str]:
    """Return what the entry NAME.NAME holds, and the rest of the name that is no entry."""
    while entry and isinstance(content, dict):
        name = next((name for name, value in content.items() if isinstance(value, dict) and isinstance(name, str)
                     and f'{entry}.'.startswith(f'{name}.')), None)
        if name is None:
            break
        content, entry = content[name], entry[len(name) + 1:]
    return content, entry


def _take_prefix(state: dict, path: str, entry: str) -> dict:
    found = {name[len(entry) + 1:]: value for name, value in state.items() if name.startswith(f'{entry}.')}
    if not found:
        raise InputError(f'{path} has no entry `{entry}`, and no names that begin with `{entry}.`.'
                         f'{closest(entry, state)} It has: {", ".join(list(state)[:6])}.', 'weights')
    return found


def strip_name(name: str) -> str:
    """Return the name of a tensor without what wrappers add, `module.` before it among them."""
    parts = [part for part in name.split('.') if part not in WRAPPERS]
    while parts and f'{parts[0]}.' == PARALLEL:
        parts = parts[1:]
    return '.'.join(parts)


def strip_wrappers(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state dict without what wrappers add to its names; `module.` goes where every name begins with it."""
    found = {'.'.join(part for part in name.split('.') if part not in WRAPPERS): value for name, value in state.items()}
    while found and all(name.startswith(PARALLEL) for name in found):
        found = {name[len(PARALLEL):]: value for name, value in found.items()}
    return found if len(found) == len(state) else dict(state)


def _holds_weights(value: Any) -> bool:
    """Whether a value is a state dict, or holds one under a name of AVERAGED."""
    return isinstance(value, dict) and (_is_state(value) or any(_holds_weights(value.get(name)) for name in AVERAGED))


def _holds_tensors(value: Any, depth: int = 3) -> bool:
    """Whether a value holds a tensor, at most so deep in dicts and lists."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return isinstance(value, torch.Tensor) or depth > 0 and any(_holds_tensors(one, depth - 1) for one in inner)


def _is_state(value: dict) -> bool:
    tensors = [name for name, one in value.items() if isinstance(one, torch.Tensor) and isinstance(name, str)]
    return bool(tensors) and 2 * len(tensors) > len(value)


def _choose(sets: Mapping[str, dict], path: str) -> str:
    averages = [name for name in sets if _EMA.fullmatch(name.lower())]
    plain = [name for name in PLAIN if name in sets]
    for names in (averages, plain, list(sets)):
        if len(names) == 1:
            return names[0]
        if names:
            break
    raise InputError(f'{path} holds several sets of weights: {", ".join(sets)}. Say which one is meant: '
                     f'{path}{MARK}{names[0]} (of `dtbox convert`: --weights {names[0]}).', 'weights')


def _take_average(state: dict, path: str, plain: bool) -> tuple[dict, list[str]]:
    """Return the weights with the averages that lie under a prefix beside them in the place of the plain ones (without
    them where `plain`), and what to say about it. Names of LitEma have lost their dots."""
    heads = {name.partition('.')[0] for name in state if _EMA.fullmatch(name.partition('.')[0].lower())}
    if len(heads) != 1:
        return state, []
    head = heads.pop()
    own = {name: value for name, value in state.items() if not name.startswith(f'{head}.')}
    average = {name[len(head) + 1:]: value for name, value in state.items() if name.startswith(f'{head}.')}
    average = {name: value for name, value in average.items() if name not in _COUNTERS}
    names = {_without_dots(re.sub(r'^(model|module)\.', '', name)): name for name in own}
    names.update({_without_dots(name): name for name in own})
    lost = [name for name in average if _without_dots(name) not in names]
    if own and (len(lost) == len(average) or not all(name.startswith('loss') for name in lost)):
        return state, []
    if own:  # losses may have been taken out of the plain weights alone
        average = {name: value for name, value in average.items() if name not in lost}
    if plain or not own:
        return own or average, []
    own.update({names[_without_dots(name)]: value for name, value in average.items()})
    return own, [f'the averages under `{head}.` are taken in place of {len(average)} plain weights ({path}{MARK}{OWN} '
                 'takes those)']


def _without_dots(name: str) -> str:
    """Return a name as LitEma writes it, without what wrappers add."""
    name = name.replace('.', '')
    for part in WRAPPERS:
        name = name.replace(part, '')
    return name
