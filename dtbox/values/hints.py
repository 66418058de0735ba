"""Reads the annotations of what a config calls: of constructors, functions and tables."""
from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import sys
import types
from typing import Any, Mapping, Union

from dtbox.values.kinds import Table


def read_hints(target: Any) -> Mapping[str, Any]:
    """Return argument -> annotation of a class, function or `Table`, those that can be evaluated.

    The arguments that a constructor passes on by `**kwargs` are those of the constructors above it.
    """
    return _read(target)


@functools.lru_cache(maxsize=None)
def _read(target: Any) -> Mapping[str, Any]:
    if inspect.isclass(target) and issubclass(target, Table):
        return _evaluate({field.name: field.type for field in dataclasses.fields(target)},  # type: ignore[arg-type]
                         target.__module__)
    if not inspect.isclass(target):
        return _evaluate(getattr(target, '__annotations__', {}), getattr(target, '__module__', ''))
    found: dict[str, Any] = {}
    for owner in target.__mro__:
        init = vars(owner).get('__init__')
        if not inspect.isfunction(init):
            continue
        found = {**_evaluate(getattr(init, '__annotations__', {}), owner.__module__), **found}
        if not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(init).parameters.values()):
            break
    return found


def _evaluate(annotations: Mapping[str, Any], module: str) -> dict[str, Any]:
    names = {**vars(sys.modules.get(module, types)), '_Union': Union}
    found = {}
    for name, hint in annotations.items():
        if isinstance(hint, str):
            try:
                tree = ast.fix_missing_locations(_Unions().visit(ast.parse(hint, mode='eval')))
                hint = eval(compile(tree, module, 'eval'), names)  # as typing.get_type_hints does
            except Exception:
                continue
        if name != 'return' and not isinstance(hint, str):
            found[name] = hint
    return found


class _Unions(ast.NodeTransformer):
    """Writes `a | b` as Union[a, b], which Python 3.9 evaluates, too."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """Replace one `|`."""
        self.generic_visit(node)
        if not isinstance(node.op, ast.BitOr):
            return node
        return ast.Subscript(ast.Name('_Union', ast.Load()), ast.Tuple([node.left, node.right], ast.Load()), ast.Load())
