"""Rows of numbers, one JSON object a line: history.jsonl, codebooks.jsonl and their kin."""
from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Collection
from typing import Any

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.files import parse_json, write_atomic


def read_rows(path: str, needs: Collection[str] = ()) -> list[dict]:
    """Return the rows of a .jsonl file of numbers, [] where there is no file. Lines that are no such row (cut short by
    a kill, changed by a disk) are left out, counted and logged.

    Args:
        path: of the file.
        needs: what a row has beside `iteration`.

    Raises:
        InputError: a file that may not be read.
    """
    if not os.path.isfile(path):
        return []
    try:
        with open(path, 'rb') as file:
            lines = file.read().split(b'\n')
    except OSError as e:
        raise InputError(f'{path} cannot be read ({e.strerror or e}).') from e
    rows = [(number, _parse_row(line, needs)) for number, line in enumerate(lines, 1) if line.strip()]
    bad = [number for number, row in rows if row is None]
    if bad:
        from mmengine.logging import print_log  # heavy, for what is rare
        print_log(f'{path}: {len(bad)} of {format_count(len(rows), "line")} cannot be read and are left out, line '
                  f'{bad[0]} the first.',
                  'current', level=logging.WARNING)
    return [row for _, row in rows if row is not None]


def _parse_row(line: bytes, needs: Collection[str]) -> dict | None:
    try:
        row = parse_json(line.decode('utf-8'))
    except ValueError:
        return None
    iteration = row.get('iteration') if isinstance(row, dict) else None
    sound = isinstance(iteration, (int, float)) and math.isfinite(iteration) and set(needs) <= set(row)
    return row if sound and all(map(_is_number, row.values())) else None


def _is_number(value: Any) -> bool:
    """Whether a value is a number, None where it was not finite, or a list (of the layers of a model)."""
    return value is None or isinstance(value, (int, float, list))


def write_rows(path: str, rows: list[dict]) -> None:
    """Write rows as a .jsonl file in one step."""
    write_atomic(path, ''.join(json.dumps(row) + '\n' for row in rows))


def append_row(path: str, row: dict) -> None:
    """Append a row to a .jsonl file."""
    with open(path, 'a', encoding='utf-8') as file:
        file.write(json.dumps(row) + '\n')
