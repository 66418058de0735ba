"""House rules that a reader should not have to enforce: lengths, packed assignments, test names, annotated signatures.

`MOST` is a ratchet: the number of violations may only go down. To lower it, run `python tests/test_style.py`, which
prints today's numbers and every violation, and write the smaller number here. A rule that holds everywhere has 0.
"""
from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tests.count_annotations import signatures

ROOT = Path(__file__).parent.parent
CODE = ('dtbox', 'tools', 'plugins')
COLUMNS = 120
MODULE = 250
FUNCTION = 60
TARGETS = 2
NAME = 60
MOST = {
    'lines over 120 columns': 0,
    'modules over 250 lines': 0,
    'functions over 60 lines': 0,
    'assignments of more than two packed targets': 0,
    'test names of 60 characters or more': 0,
}
LEAST_ANNOTATED = 0.98
"""Fraction of the public signatures that are fully annotated."""


def sources(*rooms: str) -> dict[str, str]:
    """Return the text of every Python file of the rooms, by its path below the repository."""
    paths = [path for room in rooms for path in sorted((ROOT / room).rglob('*.py'))]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding='utf-8') for path in paths}


def packed_targets(node: ast.AST) -> int:
    """Return how many targets an assignment such as `a, b, c = 1, 2, 3` packs into one line; 0 for everything else."""
    if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Tuple, ast.List)):
        return max((len(t.elts) for t in node.targets if isinstance(t, (ast.Tuple, ast.List))), default=0)
    return 0


def violations() -> dict[str, list[str]]:
    """Return what breaks each rule, as `path:line what`."""
    found: dict[str, list[str]] = {rule: [] for rule in MOST}
    lines, modules, functions, packed, names = found.values()
    for path, text in sources(*CODE, 'configs', 'tests').items():
        rows, is_code = text.splitlines(), path.startswith(CODE) and '/test_' not in path
        lines += [f'{path}:{i} {len(row)} columns' for i, row in enumerate(rows, 1) if len(row) > COLUMNS]
        if is_code and len(rows) > MODULE:
            modules.append(f'{path}:1 {len(rows)} lines')
        for node in ast.walk(ast.parse(text)):
            if packed_targets(node) > TARGETS:
                packed.append(f'{path}:{node.lineno} {packed_targets(node)} targets')
            if isinstance(node, ast.FunctionDef):
                if is_code and node.end_lineno - node.lineno >= FUNCTION:
                    functions.append(f'{path}:{node.lineno} {node.name} has {node.end_lineno - node.lineno + 1} lines')
                if node.name.startswith('test_') and len(node.name) >= NAME:
                    names.append(f'{path}:{node.lineno} {node.name}')
    return found


@pytest.fixture(scope='module')
def found():
    return violations()


@pytest.mark.parametrize('rule', MOST)
def test_rule(found, rule):
    assert len(found[rule]) <= MOST[rule], '\n'.join([f'{len(found[rule])} {rule}, allowed {MOST[rule]}:',
                                                      *found[rule]])


def test_annotations():
    """`python tests/count_annotations.py --missing` lists what is not annotated yet."""
    everything = signatures()
    annotated = sum(s.annotated for s in everything) / len(everything)
    says = f'{annotated:.1%} of the public signatures are annotated, expected {LEAST_ANNOTATED:.0%}'
    assert annotated >= LEAST_ANNOTATED, says


@pytest.mark.parametrize('code, annotated', [
     ('def f(a: int, *b: int, c: int = 1, **d: int) -> None: ...', [True]), ('def f(a) -> None: ...', [False]),
     ('def f(a: int): ...', [False]), ('def _f(a): ...', []), ('class _A:\n    def f(self): ...', []),
     ('class A:\n    def __init__(self, a: int): ...\n    def __len__(self): ...', [True]),
     ('class A:\n    @staticmethod\n    def f(a) -> int: ...\n    @property\n    def g(self) -> int: ...', [False,
      True]),
     ('def f() -> int:\n    def g(a): ...', [True])])
def test_count_of_annotations(tmp_path, code, annotated):
    (tmp_path / 'module.py').write_text(code)
    assert [s.annotated for s in signatures(tmp_path)] == annotated


@pytest.mark.parametrize('code, targets', [
     ('a, b, c = 1, 2, 3', 3), ('a, b = 1, 2', 2), ('a, b, c = f()', 0), ('a = b = c = 1', 0)])
def test_count_of_packed_targets(code, targets):
    assert packed_targets(ast.parse(code).body[0]) == targets


if __name__ == '__main__':
    for title, places in violations().items():
        print(f'{len(places)} {title}', *(f'    {place}' for place in places), sep='\n', file=sys.stdout)
