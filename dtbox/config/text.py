"""Configs as Python text, keys in their order."""
from __future__ import annotations

import keyword
import math
import os
from collections.abc import Mapping

from mmengine.config import Config

from dtbox.errors import InputError
from dtbox.files import write_atomic


def dump_config(cfg: Config | Mapping, path: str | os.PathLike, header: str = '') -> None:
    """Write a config as one Python file, references and the order of keys kept, so that it can be loaded and overridden
    again."""
    text = f'"""{header}"""\n' if header else ''
    write_atomic(path, text + format_config(cfg))


def format_config(cfg: Config | Mapping) -> str:
    """Return a config as Python text, keys in their order (MMEngine's own dump sorts them, and order has a meaning
    here)."""
    plain = cfg._cfg_dict.to_dict() if isinstance(cfg, Config) else cfg
    return ''.join(f'{name} = {_format(value, 0)}\n' for name, value in plain.items())


def _format(value, indent, width=120):
    flat = _flat(value)
    if len(flat) + indent <= width or not isinstance(value, (dict, list, tuple)) or not value:
        return flat
    pad = '\n' + ' ' * (indent + 4)
    if isinstance(value, dict):
        names = _identifiers(value)
        items = [(f'{k}=' if names else f'{k!r}: ') + _format(v, indent + 4) for k, v in value.items()]
        left, right = ('dict(', ')') if names else ('{', '}')
    else:
        items = [_format(v, indent + 4) for v in value]
        left, right = ('[', ']') if isinstance(value, list) else ('(', ',)')
    return left + pad + (',' + pad).join(items) + right


def _flat(value):
    if isinstance(value, dict):
        if _identifiers(value):
            return 'dict(' + ', '.join(f'{k}={_flat(v)}' for k, v in value.items()) + ')'
        return '{' + ', '.join(f'{k!r}: {_flat(v)}' for k, v in value.items()) + '}'
    if isinstance(value, list):
        return '[' + ', '.join(map(_flat, value)) + ']'
    if isinstance(value, tuple):
        return '(' + ', '.join(map(_flat, value)) + (',)' if len(value) == 1 else ')')
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    if value is not None and not isinstance(value, (bool, int, float, str, bytes)):
        raise InputError(f'the config holds {value!r}, a {type(value).__name__}, which cannot be written as text. '
                         'Give numbers, strings, lists and dicts, and registered names for `type`.')
    return repr(value)


def _identifiers(value):
    return all(isinstance(k, str) and k.isidentifier() and not keyword.iskeyword(k) for k in value)
