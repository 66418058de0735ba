"""A config as data: assignments of literals, as `dump_config` writes them, read without running anything."""
from __future__ import annotations

import ast
from typing import Any, NoReturn

from dtbox.counts import format_count
from dtbox.errors import InputError

NUMBERS = ('inf', '-inf', 'nan')
MOST = 10_000_000
"""Characters of a config that is read; those of runs have some thousands."""


def read_literals(text: str | bytes, path: str) -> dict[str, Any]:
    """Return name -> value of the assignments of a Python file, without running it.

    Numbers, strings, None, True, False, lists, tuples, dicts, `dict(key=value)` and `float('inf')` are read.

    Args:
        text: of the file.
        path: for messages.

    Raises:
        InputError: anything else, which would have to be run; a file that is not Python.
    """
    if len(text) > MOST:
        raise InputError(f'the config {path} has {format_count(len(text), "character")}; expected that of a run, at '
                         f'most {MOST:,}.')
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise InputError(f'the config {path} cannot be read: {type(e).__name__}: {e}') from e
    values = {}
    for number, node in enumerate(body):
        if number == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # its docstring
        target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
        if not isinstance(node, ast.Assign) or not isinstance(target, ast.Name):
            _refuse(node, path)
        try:
            values[target.id] = _read(node.value, path)
        except RecursionError as e:
            raise InputError(f'the config {path} cannot be read: line {node.lineno} is nested too deeply.') from e
    return values


def _read(node: ast.AST, path: str) -> Any:
    if isinstance(node, ast.Constant) and not isinstance(node.value, (complex, type(...))):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _read(node.operand, path)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.List):
        return [_read(part, path) for part in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_read(part, path) for part in node.elts)
    if isinstance(node, ast.Dict) and None not in node.keys:
        keys = [_read(key, path) for key in node.keys if key is not None]
        if all(isinstance(key, (str, int, float, bool, bytes, type(None))) for key in keys):
            return dict(zip(keys, (_read(part, path) for part in node.values)))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == 'dict' and is_plain_call(node):
            return {str(k.arg): _read(k.value, path) for k in node.keywords}
        if node.func.id == 'float' and len(node.args) == 1 and not node.keywords:
            if (number := _read(node.args[0], path)) in NUMBERS:
                return float(number)
    _refuse(node, path)


def is_plain_call(node: ast.Call) -> bool:
    """Whether a call has keywords alone, each once; `ast.parse` accepts one that stands twice, and Python does not."""
    names = [keyword.arg for keyword in node.keywords]
    return not node.args and None not in names and len(set(names)) == len(names)


def _refuse(node: ast.AST, path: str) -> NoReturn:
    text = ' '.join(ast.unparse(node).split())
    raise InputError(f'line {getattr(node, "lineno", "?")} of {path} is Python that would have to be run: '
                     f'{text[:80]}{"..." if len(text) > 80 else ""}. The config of a run folder is read as data: '
                     'numbers, strings, lists and dicts. If you trust whoever wrote it: --trust-remote-code, or '
                     'trust_remote_code=True from Python.')
