"""Reading the official files of benchmarks: JSON, JSON lines and tables, each checked to be the version expected."""
from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dtbox.arguments import describe
from dtbox.counts import format_count
from dtbox.datasets.conversation_files import read_json_rows
from dtbox.errors import InputError
from dtbox.files import parse_json, require_file

EMPTY = ('', 'nan')
"""Cells of a table that hold nothing."""


def read_text(path: str | Path) -> str:
    """Return a text file; `InputError` where it is missing or not UTF-8."""
    try:
        require_file(path)
        return Path(path).read_text(encoding='utf-8-sig')
    except OSError as e:
        raise InputError(f'{path} cannot be read ({e.strerror or e}). Check `data_root` and the name of the file.',
                         'file') from e
    except UnicodeDecodeError as e:
        raise InputError(f'{path} is not UTF-8 ({e}): cut short, or another file.', 'file') from e


def read_json(path: str | Path) -> Any:
    """Return a JSON file; `InputError` where it is missing or not JSON."""
    try:
        return parse_json(read_text(path))
    except ValueError as e:
        if isinstance(e, InputError):
            raise
        raise InputError(f'{path} is not valid JSON ({e}): cut short, or another file.', 'file') from e


def read_rows(path: str | Path, expected: Mapping[str, type | tuple[type, ...]]) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines, or of one list, whatever its suffix.

    Args:
        path: of the file.
        expected: key -> type of its value, as in `check_keys`.

    Raises:
        InputError: no such file, not JSON, or a row without one of the keys.
    """
    text = read_text(path)
    if text.lstrip().startswith('['):
        rows = read_json(path)
    elif Path(path).suffix.lower() == '.jsonl':
        rows = read_json_rows(path)
    else:
        rows = []
        for number, line in enumerate(text.split('\n'), 1):
            if line.strip():
                try:
                    rows.append(parse_json(line))
                except ValueError as e:
                    raise InputError(f'{path}, line {number}, is not valid JSON ({e}): cut short, or another file.',
                                     'file') from e
    for number, row in enumerate(rows, 1):
        check_keys(row, expected, f'{path}, row {number}')
    return rows


def check_keys(row: Any, expected: Mapping[str, type | tuple[type, ...]], where: str) -> None:
    """Raise `InputError` unless a row is an object with some keys.

    Args:
        row: as it was read.
        expected: key -> type of its value.
        where: the file and the row, for messages.
    """
    if not isinstance(row, Mapping):
        raise InputError(f'{where}, is {describe(row)}; expected an object with {", ".join(expected)}.', 'file')
    missing = [name for name in expected if name not in row]
    if missing:
        raise InputError(f'{where}, has the keys {", ".join(map(str, row)) or "(none)"}; expected '
                         f'{", ".join(expected)}. It is another version of the file, or another file.', 'file')
    for name, kind in expected.items():
        value = row[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            kinds = ' or '.join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise InputError(f'{where}, has `{name}` {describe(value)}; expected {kinds}. It is another version of the '
                             'file, or another file.', 'file')


def read_table(path: str | Path, expected: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a table divided by tabs, as pandas writes it: column -> cell; cells that hold nothing are left
    out.

    Args:
        path: of the file.
        expected: columns that must be there.

    Raises:
        InputError: no such file, a column that is missing, a row of another length.
    """
    limit = csv.field_size_limit(sys.maxsize)  # images as base64 are longer than a cell may be by default
    try:
        rows = list(csv.reader(io.StringIO(read_text(path), newline=''), delimiter='\t'))
    except csv.Error as e:
        raise InputError(f'{path} is not a table divided by tabs ({e}).', 'file') from e
    finally:
        csv.field_size_limit(limit)
    names = rows[0] if rows else []
    missing = [name for name in expected if name not in names]
    if missing:
        raise InputError(f'{path} has the columns {", ".join(names)[:300] or "(none)"}; expected '
                         f'{", ".join(expected)}. It is another version of the file, or another file.', 'file')
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(names):
            raise InputError(f'{path}, row {number}, has {format_count(len(row), "cell")}; the first row names '
                             f'{format_count(len(names), "column")}.',
                             'file')
    return [{name: cell for name, cell in zip(names, row) if cell not in EMPTY} for row in rows[1:]]


def write_table(rows: Sequence[Mapping[str, Any]], names: Sequence[str], handle: Any) -> None:
    """Write rows as a table divided by tabs that `read_table` and pandas read; absent cells are empty."""
    writer = csv.DictWriter(handle, names, restval='', delimiter='\t', lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
