"""The names of metric values, read and written by one module."""
import ast
import re
from pathlib import Path

import pytest

import dtbox
from dtbox.evaluation.names import add_protocol, read_name, split_protocol, split_set, split_side


@pytest.mark.parametrize('name, expected', [
    ('all/psnr', ('all', '', 'psnr', 'psnr', '', None, False)),
    ('val/psnr@reconstruction/stderr', ('val', 'reconstruction', 'psnr/stderr', 'psnr', '', None, True)),
    ('val/zeroshot_top1@zeroshot/tokens', ('val', 'zeroshot', 'zeroshot_top1/tokens', 'zeroshot_top1', 'tokens', None,
                                           False)),
    ('all/usage/pixel/depth12', ('all', '', 'usage/pixel/depth12', 'usage/pixel', '', 12, False)),
    ('a/region_top1@lvis/rare/teacher', ('a', 'lvis', 'region_top1/rare/teacher', 'region_top1/rare', 'teacher', None,
                                         False)),
    ('all/frechet_teacher', ('all', '', 'frechet_teacher', 'frechet_teacher', '', None, False))])
def test_a_name_has_parts(name, expected):
    read = read_name(name)
    assert (read.set, read.protocol, read.plain, read.value, read.side, read.depth, read.is_stderr) == expected
    plain = read_name(read.plain, has_set=False)
    assert (plain.set, plain.value, plain.side, plain.depth) == ('', *expected[3:6])


def test_the_key_of_a_row_has_no_side():
    assert read_name('a/t2i_r1/tokens').key == read_name('a/t2i_r1/teacher').key == 't2i_r1'
    assert read_name('a/usage/x/depth0').key == 'usage/x/depth0'


def test_protocols_are_added_and_split_off():
    assert add_protocol('a/b/c', 'P') == 'a@P/b/c' and split_protocol('a@P/b/c') == ('a/b/c', 'P')
    assert split_protocol('psnr/stderr') == ('psnr/stderr', '') and split_set('all/psnr/stderr') == ('all',
                                                                                                     'psnr/stderr')
    assert split_side('tokens') == ('tokens', '') and split_side('a/b') == ('a/b', '')


ROOMS = ('evaluation', 'report', 'ablation', 'protocols', 'apis')
OWNERS = {'evaluation/names.py', 'evaluation/samples.py'}


def test_no_other_module_reads_names():
    """No word of a name (`/stderr`, `/tokens`, `/depth`) is looked for outside of names.py; samples.py reads arrays,
    not values."""
    root, found = Path(dtbox.__file__).parent, []
    for room in ROOMS:
        for path in sorted((root / room).glob('*.py')):
            tests = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
                     and getattr(node.func, 'attr', '') in ('startswith', 'endswith', 'partition', 'rpartition',
                                                            'fullmatch')]
            words = [a.value for node in tests for a in ast.walk(node) if isinstance(a, ast.Constant)
                     and isinstance(a.value, str)]
            hits = [w for w in words if re.search('stderr|tokens|teacher|depth|^all/|psnr|usage', w)]
            found += [f'{room}/{path.name}: {hits}'] if hits and f'{room}/{path.name}' not in OWNERS else []
    assert not found
