"""Which room may import which: arrows point down only. And `import dtbox` stays cheap."""
import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dtbox

ROOT = Path(dtbox.__file__).parent

def read_levels(text):
    """Read the table of levels in dtbox/README.md: (room -> (level, place in its line), side room -> number of its
    line)."""
    level = {'': (0, -1)}
    side = {}
    lines = 0
    for line in text.splitlines():
        row = re.match(r'\| (\d+|side|top) \| ([^|]+) \|', line)
        if row:
            rooms = re.findall(r'`(\w+)`', row[2])
            lines += 1
            if row[1] == 'side':
                side.update(dict.fromkeys(rooms, lines))
            else:
                level.update({room: (int(row[1].replace('top', '9')), place) for place, room in enumerate(rooms)})
    return level, side


LEVEL, SIDE = read_levels((ROOT / 'README.md').read_text(encoding='utf-8'))
"""Room or module of level 0 ('' is dtbox/__init__.py) -> (level, place in its line); and side room -> number of its
line."""
BASES = ('encoders.base',)
"""All that level 3 may know of level 2: parts come through the registries."""
OUTSIDE = ('configs', 'tools', 'plugins', 'tests')


def imports(nodes, module):
    """Yield (line, dotted name) of every import among syntax nodes of `module`; relative names are made absolute."""
    package = module.split('.')[:-1]
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = '.'.join(package[:len(package) - node.level + 1]) if node.level else ''
            base = '.'.join(p for p in (base, node.module) if p)
            for alias in node.names:
                yield node.lineno, f'{base}.{alias.name}'
        elif isinstance(node, ast.Call) and getattr(node.func, 'attr',
                                                    getattr(node.func, 'id', '')) in ('import_module', '__import__'):
            if node.args and isinstance(node.args[0], ast.Constant):
                yield node.lineno, node.args[0].value


def is_module(parts):
    path = ROOT.joinpath(*parts)
    return path.is_dir() or path.with_suffix('.py').is_file()


def why_not(importer, imported):
    """Return why module `importer` (dotted, below dtbox) may not import `imported` (absolute), or None where it may."""
    top, *parts = imported.split('.')
    if top in OUTSIDE:
        return f'dtbox never imports {top}/'
    if top != 'dtbox':
        return None
    parts = parts[:next((i for i in range(len(parts)) if not is_module(parts[:i + 1])), len(parts))]
    here = importer.split('.')[0]
    there = parts[0] if parts else ''
    target = '.'.join(parts)
    here = '' if here == '__init__' else here
    for room in (here, there):
        if room not in LEVEL and room not in SIDE:
            return f'the room {room} has no level; give it one in dtbox/README.md'
    if here == there:
        return None
    if here in SIDE:
        allowed = SIDE.get(there, 99) < SIDE[here] or LEVEL.get(there, (9,))[0] <= 1
    elif there in SIDE:
        allowed = LEVEL[here][0] >= 4
    elif LEVEL[here][0] == 3 and LEVEL[there][0] == 2:
        allowed = target in BASES
    elif LEVEL[here][0] == LEVEL[there][0] == 2:
        allowed = False
    else:
        allowed = there == '' or LEVEL[there] < LEVEL[here]
    return None if allowed else f'{here or "dtbox"} may not know {target}'


@pytest.fixture(scope='module')
def modules():
    """Every module of dtbox, dotted name below dtbox -> syntax tree."""
    return {'.'.join(p.relative_to(ROOT).with_suffix('').parts): ast.parse(p.read_text(encoding='utf-8'))
            for p in sorted(ROOT.rglob('*.py'))}


def walk(module, tree):
    """Yield the syntax nodes of a module; of `dtbox/__init__.py` without what only type checkers read: the public
    names."""
    for node in tree.body:
        if module != '__init__' or getattr(getattr(node, 'test', None), 'id', '') != 'TYPE_CHECKING':
            yield from ast.walk(node)


def test_arrows_point_down(modules):
    bad = [f'dtbox.{module}:{line} imports {name}: {why}' for module, tree in modules.items()
           for line, name in imports(walk(module, tree), f'dtbox.{module}') if (why := why_not(module, name))]
    assert not bad, '\n' + '\n'.join(bad)


def test_no_circles(modules):
    """Neither at the top of a module nor inside a function: what needs each other belongs together."""
    known = {('dtbox.' + m).removesuffix('.__init__') for m in modules}
    graph = {}
    for module, tree in modules.items():
        name = ('dtbox.' + module).removesuffix('.__init__')
        targets = {longest(target, known) for _, target in imports(ast.walk(tree), f'dtbox.{module}')}
        graph[name] = targets - {None, name, 'dtbox'}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


def longest(name, known):
    """Return the module that a dotted name is, or lies in."""
    while name and name not in known:
        name = name.rpartition('.')[0]
    return name or None


@pytest.mark.parametrize('module, line, fine', [
    ('layers.conv', 'from dtbox.registry import ATTENTION', True),
    ('layers.conv', 'from dtbox.layers.attention import sdpa', True),
    ('layers.conv', 'from dtbox.encoders.base import Encoder', False),
    ('registry', 'import dtbox.layers.attention', False),
    ('quantizers.rq', 'def f():\n    from dtbox.losses import base', False),
    ('quantizers.rq', 'from ..losses import base', False),
    ('quantizers.__init__', 'from . import rq', True),
    ('quantizers.__init__', 'from ..losses import base', False),
    ('tokenizers.visual', 'from dtbox.encoders.base import Encoder', True),
    ('tokenizers.visual', 'from dtbox.encoders.timm_vit import TimmViT', False),
    ('tokenizers.visual', 'import importlib\nimportlib.import_module("dtbox.decoders.cnn")', False),
    ('tokenizers.visual', 'from dtbox.datasets import collate', False),
    ('apis.tokenizer', 'from dtbox.datasets import collate', True),
    ('apis.loading', 'from dtbox.training import checkpoint as c', True),
    ('apis.loading', 'from dtbox.training.runner import Runner', True),
    ('training.runner', 'from dtbox.apis import load', False),
    ('evaluation.base', 'from dtbox.tokenizers.visual import VisualTokenizer', False),
    ('evaluation.base', 'from dtbox import datasets', False),
    ('hooks.results', 'from dtbox.evaluation.table import to_json', True),
    ('hooks.results', 'from dtbox.training.runner import Runner', False),
    ('apis.loading', 'from tools.train import main', False),
    ('apis.loading', 'import tests.conftest', False),
    ('newroom.part', 'import dtbox.errors', False),
])
def test_the_rule_itself(module, line, fine):
    found = [why for _, name in imports(ast.walk(ast.parse(line)), f'dtbox.{module}') if (why := why_not(module, name))]
    assert (not found) == fine


HEAVY = ('timm', 'open_clip', 'lpips', 'matplotlib', 'transformers', 'xformers', 'pandas', 'sklearn', 'wandb',
         'tensorboard', 'gradio', 'fastapi', 'playwright',
         'scipy', 'skimage', 'torchmetrics', 'torchvision', 'pycocotools', 'cv2')


def test_heavy_packages_are_imported_where_they_are_used(modules):
    """At the top of a file they would be loaded by everybody who asks the room for anything."""
    found = [f'dtbox.{module}:{line} {name}' for module, tree in modules.items()
             for line, name in imports(tree.body, f'dtbox.{module}') if name.split('.')[0] in HEAVY]
    assert not found


def fresh(code):
    """Run code in a fresh interpreter and return what it printed, split."""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_import_dtbox_is_cheap():
    names = ('timm', 'open_clip', 'mmcv', 'matplotlib', 'torchvision', 'lpips', 'transformers', 'cv2')
    assert fresh(f'import sys, dtbox; print(*[m for m in {names} if m in sys.modules])') == []


def test_load_imports_little():
    """What only training or some parts need is not imported by `dtbox.load`."""
    names = ('lpips', 'matplotlib', 'xformers', 'transformers', 'timm', 'open_clip', 'cv2', 'mmengine.runner',
             'mmengine.optim')
    assert fresh(f'import sys, dtbox; dtbox.load; print("open", *[m for m in {names} if m in sys.modules])') == ['open']


def test_public_names_are_typed(modules):
    """An editor completes the names that `dtbox` imports when they are first asked for."""
    block = next(node for node in modules['__init__'].body if getattr(getattr(node, 'test', None), 'id', '')
                 == 'TYPE_CHECKING')
    typed = {name.rpartition('.')[2]: name for _, name in imports(block.body, 'dtbox.__init__')}
    assert typed.keys() == dtbox._PUBLIC.keys()
    assert all(name.startswith(dtbox._PUBLIC[public]) for public, name in typed.items())


def test_public_names():
    for name in ('load', 'Tokenizer', 'load_config', 'InputError'):
        assert name in dir(dtbox) and getattr(dtbox, name).__name__ == name
    with pytest.raises(AttributeError, match='`dtbox` has no attribute `lode`'):
        dtbox.lode
