"""Plugins: found by folder, file or module name, loaded once, and nothing left of those that fail."""
import re
import sys

import pytest
from mmengine.registry import HOOKS as MM_HOOKS
from mmengine.registry import VISBACKENDS

from dtbox import extend as plugins
from dtbox.errors import InputError
from dtbox.extend.find import hash_content
from dtbox.extend.plugin import list_plugin_parts
from dtbox.registry import ALL, DATASETS, HEADS, HOOKS, LOSSES, METRICS, QUANTIZERS
from tests.plugins_kit import HEAD, SIGN, install, write
from tests.plugins_kit import clean as clean  # noqa: F401

pytestmark = pytest.mark.usefixtures('clean')


@pytest.mark.parametrize('file, given', [
    ('mine.py', 'mine.py'), ('mine/__init__.py', 'mine'), ('mine/mine.py', 'mine/'),
    ('mine/__init__.py', 'mine/__init__.py'),
    ('my-plugin/my-plugin.py', 'my-plugin'), ('mine/mine.py', './mine')])
def test_files_and_folders(tmp_path, monkeypatch, file, given):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / file, HEAD.format(name='FromPath'))
    plugin, = plugins.load_plugins([given])
    assert HEADS.get('FromPath').__doc__ == 'A head from outside.'
    assert HEADS.get('FromPath').__module__.startswith('dtbox_plugin_m')
    assert plugin.source == str(path if file == 'mine.py' else path.parent) and plugin.version == '1.2'
    assert plugins.load_plugins([given, tmp_path / given]) == [plugin, plugin]  # registering it again would raise
    assert list_plugin_parts(plugin) == ['heads/FromPath'] and plugins.find_origin(HEADS, 'FromPath') is plugin


def test_two_spellings_are_one(tmp_path, monkeypatch):
    path = write(tmp_path / 'two' / 'mine' / 'mine.py', HEAD.format(name='Twice'))
    (tmp_path / 'link').symlink_to(tmp_path / 'two', target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path / 'two' / 'mine')
    spellings = ['two/mine', 'two/../two/mine/', str(path), 'link/mine/mine.py', '~/two/mine', path.parent, 'mine']
    assert len({id(p) for p in plugins.load_plugins(spellings)}) == 1 and len(plugins.LOADED) == 1


def test_no_module_is_imported_twice(tmp_path, monkeypatch):
    """A module that is imported already is not imported again."""
    monkeypatch.syspath_prepend(tmp_path)
    path = write(tmp_path / 'imported_before.py', HEAD.format(name='Before'))
    import imported_before
    plugin, = plugins.load_plugins(str(path))
    assert HEADS.get('Before') is imported_before.Before
    assert list_plugin_parts(plugin) == ['heads/Before'] and plugin.version == '1.2'


@pytest.mark.parametrize('entry', ['__init__.py', 'mine.py'])
def test_a_folder_imports_its_own_modules(tmp_path, entry):
    write(tmp_path / 'mine' / entry, 'from . import parts\nfrom .parts.one import ANSWER\n')
    write(tmp_path / 'mine' / 'parts' / '__init__.py', 'from .one import ANSWER\n')
    write(tmp_path / 'mine' / 'parts' / 'one.py', HEAD.format(name='FromPart') + '\n\nANSWER = 42\n')
    plugin, = plugins.load_plugins(tmp_path / 'mine')
    assert list_plugin_parts(plugin) == ['heads/FromPart'] and plugin.name == 'mine'


def test_modules(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path / 'lone_plugin.py', HEAD.format(name='Lone'))
    write(tmp_path / 'my_pkg' / '__init__.py', '__version__ = "7"\n')
    write(tmp_path / 'my_pkg' / 'parts' / 'head.py',
          HEAD.format(name='Inner').replace('__version__', 'version'))  # `parts` is a namespace
    write(tmp_path / 'my_pkg' / 'real' / '__init__.py', HEAD.format(name='Real').replace('__version__', 'version'))
    lone, inner, real = plugins.load_plugins(['lone_plugin', 'my_pkg.parts.head', 'my_pkg.real'])
    assert (lone.kind, lone.path, lone.source) == ('module', str(tmp_path / 'lone_plugin.py'), 'lone_plugin')
    assert (inner.path, inner.version) == (str(tmp_path / 'my_pkg' / 'parts' / 'head.py'), '7')
    assert (real.path, real.version) == (str(tmp_path / 'my_pkg'), '7')  # it may import anything of its package
    assert {'Lone', 'Inner', 'Real'} <= set(HEADS.module_dict)


def test_the_version_of_a_module_is_that_of_its_package(tmp_path, monkeypatch):
    write(tmp_path / 'lone_plugin.py', 'x = 1\n')
    write(tmp_path / 'other_plugin.py', 'x = 1\n')
    install(tmp_path, 'lone-plugin', {}, version='5.0')
    install(tmp_path, 'others', {}, version='6.0')
    write(tmp_path / 'others-6.0.dist-info' / 'top_level.txt', 'other_plugin\n')
    monkeypatch.syspath_prepend(tmp_path)
    lone, other = plugins.load_plugins(['lone_plugin', 'other_plugin'])
    assert lone.version == '5.0' and other.version == ('6.0' if sys.version_info >= (3, 10) else None)


def test_nothing_to_load():
    assert plugins.load_plugins(None) == plugins.load_plugins([]) == []


KINDS = {'quantizers': SIGN.format(name='New')}
KINDS.update({room: f'''
from dtbox.registry import ALL
from {module} import {base}
@ALL[{room!r}].register_module()
class New({base}):
    """New."""
''' for room, module, base in (
    ('encoders', 'dtbox.encoders.base', 'Encoder'), ('decoders', 'dtbox.decoders.base', 'Decoder'),
    ('losses', 'dtbox.losses.base', 'Loss'),
    ('metrics', 'dtbox.evaluation', 'Metric'), ('datasets', 'dtbox.datasets.base', 'PairDataset'),
    ('hooks', 'mmengine.hooks', 'Hook'),
    ('discriminators', 'torch.nn', 'Module'), ('heads', 'torch.nn', 'Module'), ('projections', 'torch.nn', 'Module'),
    ('texts', 'torch.nn', 'Module'), ('transforms', 'builtins', 'object'), ('schedules', 'builtins', 'object'))})


@pytest.mark.parametrize('room', KINDS)
def test_every_kind_of_part(tmp_path, room):
    plugin, = plugins.load_plugins(write(tmp_path / 'new.py', KINDS[room]))
    assert ALL[room].get('New').__name__ == 'New' and list_plugin_parts(plugin) == [f'{room}/New']


@pytest.mark.parametrize('make, given, says', [
    ({}, 'gone.py', r'gone\.py does not exist \(tried from the current directory /\S+\)\. Give a folder'),
    ({}, 'gone/x', r'gone/x does not exist'),
    ({}, '/gone/x', r'/gone/x does not exist\. Give'), ({}, 'my-gone', r'my-gone does not exist'),
    ({}, '', r"plugins: got ''; expected a path"),
    ({'empty/notes.txt': ''}, './empty', r'folder /\S+empty has neither __init__\.py nor empty\.py'),
    ({'x/notes.txt': ''}, 'x/notes.txt', r'notes\.txt is not a \.py file'),
    ({}, 'no_such_module', r'no_such_module is neither a module .*no `no_such_module`.*PYTHONPATH.* nor a folder '
     r'\(tried from'),
    ({}, 'json.gone.x', r'there is no `json\.gone`'), ({}, 'sys', r'sys is a module without a file'),
    ({'bad.py': 'x = 1\n\n1 / 0\n'}, 'bad.py',
     r'bad \(/\S+/bad\.py:3\) cannot be imported: ZeroDivisionError: division'),
    ({'bad.py': 'x = 1\ndef f(:\n'}, 'bad.py', r'bad \(/\S+/bad\.py:2\) cannot be imported: SyntaxError'),
    ({'bad/__init__.py': 'from . import part', 'bad/part.py': '\nimport gone_module'}, './bad',
     r"bad \(/\S+/bad/part\.py:2\) cannot be imported: ModuleNotFoundError: No module named 'gone_module'"),
    ({'bad.py': 'import json\njson.loads("{")'}, 'bad.py', r'bad\.py:2\) cannot be imported: JSONDecodeError'),
    ({'bad.py': 'raise SystemExit(3)'}, 'bad.py', r'bad\.py:1\) cannot be imported: SystemExit: 3'),
    ({'bad.py': 'from dtbox.errors import InputError\nraise InputError("no luck.")'}, 'bad.py',
     r'bad\.py:2\) cannot be imported: InputError: no luck')])
def test_what_cannot_be_loaded(tmp_path, monkeypatch, make, given, says):
    monkeypatch.chdir(tmp_path)
    for file, text in make.items():
        write(tmp_path / file, text)
    with pytest.raises(InputError, match=says):
        plugins.load_plugins([given])
    assert plugins.LOADED == {}


@pytest.mark.parametrize('given', [[3], 5, {'a.py': 1}])
def test_plugins_that_are_no_list(given):
    with pytest.raises(InputError, match=rf'plugins: `plugins` is {re.escape(repr(given))}; expected a list of paths'):
        plugins.load_plugins(given)


PARTS = '''
from mmengine.registry import HOOKS as MM_HOOKS, VISBACKENDS
from dtbox.registry import *
for registry in (QUANTIZERS, LOSSES, METRICS, DATASETS, HOOKS, MM_HOOKS, VISBACKENDS):
    registry.register_module(name=f'Half{registry.name}', module=dict)
'''
REGISTRIES = (QUANTIZERS, LOSSES, METRICS, DATASETS, HOOKS, MM_HOOKS, VISBACKENDS)


def test_nothing_is_left_of_a_plugin_that_fails(tmp_path):
    before = {r: dict(r.module_dict) for r in REGISTRIES}
    write(tmp_path / 'mine' / 'part.py', HEAD.format(name='OfPart'))
    path = write(tmp_path / 'mine' / '__init__.py', f'from . import part\n{PARTS}\n1 / 0\n')
    there = set(sys.modules)
    for _ in range(2):
        with pytest.raises(InputError, match='ZeroDivisionError'):
            plugins.load_plugins(tmp_path / 'mine')
        assert all(dict(r.module_dict) == parts for r, parts in before.items()) and 'OfPart' not in HEADS.module_dict
        assert not [m for m in set(sys.modules) - there if m.startswith('dtbox_plugin_mine')]
    path.write_text(f'from . import part\n{PARTS}\n')
    plugin, = plugins.load_plugins(tmp_path / 'mine')  # once repaired, it can be loaded in the same process
    assert len(list_plugin_parts(plugin)) == len(REGISTRIES) + 1
    assert [r.get(f'Half{r.name}') for r in REGISTRIES] == [dict] * len(REGISTRIES)


def test_nothing_is_left_of_a_module_that_fails(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path / 'half_pkg' / '__init__.py', 'from half_pkg import part\n')
    write(tmp_path / 'half_pkg' / 'part.py', HEAD.format(name='OfPart'))
    path = write(tmp_path / 'half_pkg' / 'head.py', '1 / 0\n')
    with pytest.raises(InputError, match=r'half_pkg\.head \(\S+head\.py:1\) cannot be imported'):
        plugins.load_plugins('half_pkg.head')
    assert 'OfPart' not in HEADS.module_dict and not [m for m in sys.modules if m.startswith('half_pkg')]
    path.write_text('ANSWER = 42\n')
    plugins.load_plugins('half_pkg.head')
    assert 'OfPart' in HEADS.module_dict


def test_rooms_that_a_failing_plugin_imports_stay(tmp_path):
    """They are imported once a process; without their parts nothing could be built any more."""
    room = 'HEADS.register_module(name=NAME, module=dict)'
    path = write(tmp_path / 'bad.py', f'''
from dtbox.registry import HEADS
for room in ('dtbox.heads.new', 'mmengine.new', __name__):
    exec({room!r}, dict(__name__=room, HEADS=HEADS, NAME=f'From {{room}}'))
1 / 0
''')
    with pytest.raises(InputError, match='bad.py:5.*ZeroDivisionError'):
        plugins.load_plugins(path)
    assert {name for name in HEADS.module_dict if name.startswith('From ')} == {'From dtbox.heads.new',
                                                                                'From mmengine.new'}


@pytest.mark.parametrize('code, says', [
    ('QUANTIZERS.register_module(name="FSQ", module=dict)',
     r'mine \(\S+mine\.py:4\) registers `FSQ` under quantizers, a name that dtbox '
                                                            r'\(dtbox\.quantizers\.fsq\) has taken\. Give it another'),
    ('QUANTIZERS.register_module(name="FSQ", module=dict, force=True)', r'registers `FSQ` under quantizers'),
    ('LOSSES.register_module(name="L2Loss", module=dict)', r'registers `L2Loss` under losses, a name that dtbox '),
    ('HOOKS.register_module(name="EMAHook", module=dict)',
     r'registers `EMAHook` under hooks, a name that mmengine \(mmengine\.hooks'),
    ('MM_HOOKS.register_module(name="Log", module=dict)',
     r'registers `Log` under hook, a name that dtbox \(dtbox\.hooks\.log\)'),
    ('HEADS.register_module(name=["Fine", "Mine"], module=dict)', None),
    ('HEADS.register_module(name="Mine", module=dict)\nHEADS.register_module(name="Mine", module=dict)',
     r'`Mine` under heads, .* the plugin mine')])
def test_names_that_are_taken(tmp_path, code, says):
    fsq, heads = QUANTIZERS.get('FSQ'), dict(HEADS.module_dict)
    path = write(tmp_path / 'mine.py', 'from mmengine.registry import HOOKS as MM_HOOKS\nfrom dtbox.registry import '
                 f'*\n\n{code}\n')
    if says is None:
        plugins.load_plugins(path)
        assert HEADS.get('Mine') is HEADS.get('Fine') is dict
        return
    with pytest.raises(InputError, match=says):
        plugins.load_plugins(path)
    assert QUANTIZERS.get('FSQ') is fsq and HEADS.module_dict == heads


def test_names_of_a_room_that_nobody_has_asked_yet(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path / 'animals.py', 'from dtbox.registry import Slot\nANIMALS = Slot("animals", scope="dtbox", '
          'locations=["animals_room"])\n')
    write(tmp_path / 'animals_room.py', 'from animals import ANIMALS\nANIMALS.register_module(name="Cow", '
          'module=dict)\n')
    path = write(tmp_path / 'mine.py', 'from animals import ANIMALS\nANIMALS.register_module(name="Cow", '
                 'module=list)\n')
    with pytest.raises(InputError, match=r'mine\.py:2\) registers `Cow` under animals'):
        plugins.load_plugins(path)


def test_two_plugins_of_one_basename(tmp_path):
    for folder, name in (('a', 'One'), ('b', 'Two'), ('c', 'One')):
        write(tmp_path / folder / 'mine.py', HEAD.format(name=name))
    a, b = plugins.load_plugins([tmp_path / 'a' / 'mine.py', tmp_path / 'b' / 'mine.py'])
    assert a.name == b.name and {'One', 'Two'} <= set(HEADS.module_dict)
    with pytest.raises(InputError, match=r'mine \(\S+/c/mine\.py:7\) registers `One` under heads, a name that the '
                       r'plugin mine \(\S+/a/mine\.py\)'):
        plugins.load_plugins(tmp_path / 'c' / 'mine.py')
    assert plugins.find_origin(HEADS, 'One') is a and len(plugins.LOADED) == 2


def test_a_plugin_may_load_another(tmp_path):
    write(tmp_path / 'other.py', 'from dtbox.extend import '
          f'load_plugins\nload_plugins({str(tmp_path / "mine.py")!r})\n' + HEAD.format(name='Other'))
    write(tmp_path / 'mine.py', 'from dtbox.extend import '
          f'load_plugins\nload_plugins({str(tmp_path / "other.py")!r})\n' + HEAD.format(name='Mine')
          + '\n\n1 / FACTOR\n')
    with pytest.raises(InputError, match='NameError'):
        plugins.load_plugins(tmp_path / 'mine.py')
    assert 'Other' in HEADS.module_dict and 'Mine' not in HEADS.module_dict
    assert [p.name for p in plugins.LOADED.values()] == ['other']


# ---- installed packages -------------------------------------------------------------------------------------------


def test_entry_point(tmp_path, monkeypatch):
    write(tmp_path / 'shop' / '__init__.py', '')
    write(tmp_path / 'shop' / 'heads.py', HEAD.format(name='Bought').replace('__version__', 'version'))
    write(tmp_path / 'shop' / 'late.py', 'from dtbox.registry import HEADS\ndef register():\n    '
          'HEADS.register_module(name="Called", module=dict)\n')
    install(tmp_path, 'head-shop', {'heads': 'shop.heads', 'late': 'shop.late:register'})
    monkeypatch.syspath_prepend(tmp_path)
    assert HEADS.get('Bought').__name__ == 'Bought'  # a name that is not found is looked for in installed packages
    assert plugins.load_installed() is False
    heads, late = plugins.LOADED.values()
    assert (heads.kind, heads.package, heads.version, heads.path) == ('installed', 'head-shop', '3.1',
                                                                      str(tmp_path / 'shop'))
    assert list_plugin_parts(heads) == ['heads/Bought'] and list_plugin_parts(late) == ['heads/Called']
    assert plugins.load_plugins(['shop.heads']) == [heads]


def test_entry_points_come_with_the_first_plugin(tmp_path, monkeypatch):
    write(tmp_path / 'shop.py', HEAD.format(name='Bought'))
    install(tmp_path, 'head-shop', {'heads': 'shop'})
    monkeypatch.syspath_prepend(tmp_path)
    plugins.load_plugins(None)
    assert 'Bought' in HEADS.module_dict


def test_a_package_that_is_there_twice(tmp_path, monkeypatch):
    """As Python imports it: the first on the path."""
    for folder, name in (('old', 'Old'), ('new', 'New')):
        write(tmp_path / folder / f'{folder}_shop.py', HEAD.format(name=name).replace('__version__', 'version'))
        install(tmp_path / folder, 'Head.Shop' if folder == 'old' else 'head-shop', {'heads': f'{folder}_shop'},
                version=f'{len(folder)}.{folder}')
        monkeypatch.syspath_prepend(tmp_path / folder)
    plugins.load_installed()
    assert [p.name for p in plugins.LOADED.values()] == ['new_shop']


@pytest.mark.parametrize('value, text, says', [
    ('shop', '\n1 / 0\n', r'shop \(\S+shop\.py:2\) cannot be imported: ZeroDivisionError'),
    ('gone_shop', '', r'there is no `gone_shop`'),
    ('shop:sell', '', r'InputError: \S+shop\.py has no `sell`'),
    ('shop:f', 'def f():\n    1 / 0\n', r'shop\.py:2\) cannot be imported: ZeroDivisionError'),
    ('shop', 'from dtbox.registry import HEADS\nHEADS.register_module(name="TrunkPool", module=dict)',
     r'shop\.py:2\) registers `TrunkPool` under heads')])
def test_broken_entry_points(tmp_path, monkeypatch, value, text, says):
    write(tmp_path / 'shop.py', text)
    install(tmp_path, 'head-shop', {'heads': value})
    monkeypatch.syspath_prepend(tmp_path)
    for _ in range(2):
        with pytest.raises(InputError, match=rf'entry point `heads = {value}` of the installed package head-shop is '
                           rf'broken: .*{says}'):
            plugins.load_plugins([])


# ---- the hash -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('file, counts', [
    ('mine/__init__.py', True), ('mine/part.py', True), ('mine/below/table.npz', True),
    ('mine/below/__init__.py', True),
    ('mine/__pycache__/part.cpython-311.pyc', False), ('mine/tests/test_it.py', False), ('mine/test_it.py', False),
    ('mine/README.md', False),
    ('mine/.cache/x', False), ('mine/work_dirs/x/config.py', False), ('mine/results/x.json', False),
    ('mine/mine.egg-info/PKG-INFO', False)])
def test_what_the_hash_of_a_folder_covers(tmp_path, file, counts):
    for known in ('mine/__init__.py', 'mine/part.py', 'mine/below/table.npz'):
        write(tmp_path / known, known)
    before = hash_content(str(tmp_path / 'mine'))
    write(tmp_path / file, 'changed = 1')
    assert (hash_content(str(tmp_path / 'mine')) != before) == counts


def test_recipes_beside_a_plugin_do_not_count(tmp_path):
    """A longer run of the same plugin is still of the same plugin."""
    write(tmp_path / '__init__.py', 'x = 1')
    before = hash_content(str(tmp_path))
    write(tmp_path / 'config.py', '"""A recipe."""\n_base_ = ["x.py"]\n')
    assert hash_content(str(tmp_path)) == before
    write(tmp_path / 'config.py', 'sizes = [1]\n')
    assert hash_content(str(tmp_path)) != before


def test_the_hash_depends_on_names_and_not_on_the_place(tmp_path):
    for folder, file in (('a', 'x.py'), ('b', 'x.py'), ('c', 'y.py')):
        write(tmp_path / folder / file, 'x = 1')
    a, b, c = (hash_content(str(tmp_path / folder)) for folder in 'abc')
    assert a == b != c and len(a) == 16
    files = [str(tmp_path / folder / name) for folder, name in (('a', 'x.py'), ('c', 'y.py'))]
    assert hash_content(files[0]) == hash_content(files[1])  # of a file, the content alone
