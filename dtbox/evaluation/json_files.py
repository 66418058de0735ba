"""JSON files of plain values, tensors and arrays, written in one step."""
from __future__ import annotations

import json
import math
import os
from typing import Any

from dtbox.errors import InputError, reason
from dtbox.files import parse_json, write_atomic
from dtbox.runs import RunFolder


def to_json(values: Any, path: str | os.PathLike) -> None:
    """Write values as JSON: plain types, NaN and infinity as null, never half a file.

    Args:
        values: nested dicts and lists of numbers, tensors or arrays of one number, strings, and what has `to_dict`,
            such as Results.
        path: file to write or replace; its folder is made.

    Raises:
        InputError: when the path is a folder or cannot be written.
    """
    path = os.path.abspath(os.fspath(path))
    if os.path.isdir(path):
        raise InputError(f'cannot write results to {path}: it is a folder. Name a file, such as '
                         f'{RunFolder(path).metrics}.')
    text = json.dumps(_plain(values), indent=2, allow_nan=False) + '\n'
    try:
        write_atomic(path, text)
    except OSError as e:
        raise InputError(f'cannot write results to {path}: {e.strerror or e}. '
                         'Check the folder and its permissions.') from e


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """Return a JSON file as a dict; {} where the file does not exist.

    Raises:
        InputError: a file that cannot be read or does not hold a JSON object.
    """
    if not os.path.isfile(path):
        return {}
    try:
        with open(path, encoding='utf-8') as f:
            values = parse_json(f.read())
    except (OSError, ValueError) as e:
        raise InputError(f'{path} cannot be read ({reason(e)}).') from e
    if not isinstance(values, dict):
        raise InputError(f'{path} holds {type(values).__name__}; expected a JSON object.')
    return values


def _plain(value: Any) -> Any:
    if hasattr(value, 'to_dict'):
        value = value.to_dict()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, 'item'):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
