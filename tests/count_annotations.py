"""Count the public functions of dtbox whose signature is fully annotated: `python tests/count_annotations.py
[--missing]`.

A public function is a function, a method or a property whose name begins without an underscore, or the `__init__` or
`__call__` of a public class. Functions inside functions and what stands in a private class are not public. A signature
is fully annotated when every parameter (without `self` and `cls`) and the return have an annotation; `__init__` needs
only its parameters.
"""
from __future__ import annotations

import argparse
import ast
from collections import defaultdict
from pathlib import Path
from typing import Iterator, NamedTuple

ROOT = Path(__file__).parent.parent / 'dtbox'


class Signature(NamedTuple):
    """A public function: its room, where it stands, its dotted name, and whether it is fully annotated."""
    room: str
    place: str
    name: str
    annotated: bool


def public_functions(tree: ast.AST, prefix: str = '') -> Iterator[tuple[str, ast.FunctionDef, bool]]:
    """Yield (dotted name, function, whether it is a method) of a module's or class's public functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
            yield from public_functions(node, f'{prefix}{node.name}.')
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if not node.name.startswith('_') or node.name in ('__init__', '__call__'):
                yield prefix + node.name, node, bool(prefix)
        elif isinstance(node, (ast.If, ast.Try)):
            yield from public_functions(node, prefix)


def is_annotated(function: ast.FunctionDef, is_method: bool) -> bool:
    """Whether every parameter and the return of a function are annotated."""
    arguments = function.args
    parameters = [*arguments.posonlyargs, *arguments.args]
    static = any(isinstance(d, ast.Name) and d.id == 'staticmethod' for d in function.decorator_list)
    parameters = parameters[1:] if is_method and not static else parameters
    parameters += [*arguments.kwonlyargs, *(a for a in (arguments.vararg, arguments.kwarg) if a)]
    has_return = function.returns is not None or function.name == '__init__'
    return has_return and all(parameter.annotation is not None for parameter in parameters)


def signatures(root: Path = ROOT) -> list[Signature]:
    """Return the Signature of every public function below a folder."""
    found = []
    for path in sorted(root.rglob('*.py')):
        inside = path.relative_to(root)
        room = inside.parts[0] if len(inside.parts) > 1 else '(modules)'
        for name, function, is_method in public_functions(ast.parse(path.read_text(encoding='utf-8'))):
            place = f'{root.name}/{inside.as_posix()}:{function.lineno}'
            found.append(Signature(room, place, name, is_annotated(function, is_method)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--missing', action='store_true', help='list the functions that are not fully annotated')
    args = parser.parse_args()
    rooms = defaultdict(list)
    for signature in signatures():
        rooms[signature.room].append(signature)
    for room, own in sorted(rooms.items()):
        done = sum(s.annotated for s in own)
        print(f'{room:16s} {done:5d} of {len(own):5d}  {100 * done / len(own):5.1f} %')
        if args.missing:
            print(*(f'    {s.place} {s.name}' for s in own if not s.annotated), sep='\n')
    everything = [s for own in rooms.values() for s in own]
    done = sum(s.annotated for s in everything)
    print(f'{"all":16s} {done:5d} of {len(everything):5d}  {100 * done / len(everything):5.1f} %')


if __name__ == '__main__':
    main()
