"""The table of old and new names: every entry is right, and modules, registered names, arguments and config keys are
told by it."""
import importlib
import importlib.util
import re
import sys
from pathlib import Path

import pytest

import dtbox
from dtbox import renames
from dtbox.errors import InputError
from dtbox.extend import load_plugins
from dtbox.registry import ALL, Slot, check_arguments
from dtbox.renames import Renamed

ROOT = Path(dtbox.__file__).parent


def is_module(name):
    path = ROOT.parent.joinpath(*name.split('.'))
    return path.with_suffix('.py').is_file() or (path / '__init__.py').is_file()


@pytest.mark.parametrize('old', renames.MODULES)
def test_modules_have_moved(old):
    """The new module (or function of one) is there, the old one is not, and importing the old one names the new one."""
    moved = renames.find_module(old)
    new = moved.new
    if ' ' in new:
        with pytest.raises(ModuleNotFoundError, match=re.escape(moved.tell(old))):
            importlib.import_module(old)
        return
    module, _, name = new.rpartition('.')
    assert is_module(new) or hasattr(importlib.import_module(module), name)
    assert not is_module(old)
    with pytest.raises(ModuleNotFoundError, match=re.escape(f'`{old}` is now called `{new}` (since dtbox ')):
        importlib.import_module(old)


@pytest.mark.parametrize('registry, old', [(registry, old) for registry, table in renames.NAMES.items()
                                           for old in table])
def test_names_have_changed(registry, old):
    slot = next(slot for slot in ALL.values() if slot.name == registry)
    new = renames.find_name(registry, old).new
    assert slot.get(new) is not None
    with pytest.raises(InputError, match=rf"^at: `{old}` of {registry} is now called `{new}` \(since dtbox .*\)\. "
                                         rf"Write type='{new}'"):
        slot.build(dict(type=old), where='at')


def test_nothing_has_moved_twice():
    """A new name is never an old one of the same table."""
    for table in (renames.MODULES, renames.KEYS, *renames.NAMES.values(), *renames.ARGUMENTS.values()):
        assert not {renames._read(table, old).new for old in table} & set(table)


def test_the_changelog_lists_the_table():
    """`python -m dtbox.renames` prints the rows that dtbox/CHANGELOG.md is to have."""
    listed, heading = {}, None
    for line in (ROOT / 'CHANGELOG.md').read_text().splitlines():
        heading = line[4:] if line.startswith('### ') else heading
        if re.match(r'\| (?!old )[^-]', line):
            listed.setdefault(heading, []).append(line)
    wanted = {heading: rows for heading, rows in renames.list_rows().items() if rows}
    assert {heading: sorted(rows) for heading, rows in listed.items()} == {heading: sorted(rows)
                                                                           for heading, rows in wanted.items()}
    assert f'\n## {dtbox.__version__}\n' in (ROOT / 'CHANGELOG.md').read_text()


def test_entries_may_name_a_version(monkeypatch):
    monkeypatch.setitem(renames.KEYS, 'a.b', ('c', '0.9'))
    monkeypatch.setitem(renames.KEYS, 'gone', 'Write something else.')
    assert renames.find_key('a.b') == Renamed('c', '0.9') and renames.find_key('a.b.d') == Renamed('c.d', '0.9')
    assert renames.find_key('gone.x').tell('gone') == '`gone` is gone since dtbox 0.2.0. Write something else.'
    assert renames.find_key('a') is None


def test_modules_below_a_moved_package():
    assert renames.find_module('dtbox.plugins.load') == Renamed('dtbox.extend.load', '0.2.0')
    assert renames.find_module('dtbox.layers') is None


def test_from_imports_name_the_new_module():
    with pytest.raises(ModuleNotFoundError, match='`dtbox.hooks.pictures` is now called `dtbox.hooks.images`'):
        from dtbox.hooks import pictures  # noqa: F401


def test_other_missing_modules_are_as_ever():
    with pytest.raises(ModuleNotFoundError, match="No module named 'dtbox.nothing'"):
        importlib.import_module('dtbox.nothing')
    assert importlib.util.find_spec('dtbox.nothing') is None
    importlib.reload(dtbox)
    assert sum(getattr(finder, '__name__', '') == '_OldModules' for finder in sys.meta_path) == 1


def test_a_plugin_with_an_old_import(tmp_path):
    path = tmp_path / 'old_import.py'
    path.write_text('from dtbox.layers.weights import load_state\n')
    with pytest.raises(InputError, match=r'the plugin old_import \(.*old_import\.py:1\) cannot be imported: '
                                         r'ModuleNotFoundError: '
                                         r'`dtbox\.layers\.weights` is now called `dtbox\.weights\.state_dicts`'):
        load_plugins([str(path)])


def test_arguments_have_changed(monkeypatch):
    monkeypatch.setitem(renames.ARGUMENTS, 'Horse', dict(feet='legs'))

    class Horse:
        def __init__(self, legs):
            self.legs = legs
    with pytest.raises(InputError, match=r'^the horse takes no argument `feet`: `feet` is now called `legs` \(since '
                                         r'dtbox 0\.2\.0\)\.$'):
        check_arguments(Horse, dict(feet=4), 'the horse')
    slot = Slot('animals', scope='dtbox', locations=[])
    slot.register_module(module=Horse)
    with pytest.raises(InputError, match='^stable: `Horse` takes no argument `feet`: `feet` is now called `legs`'):
        slot.build(dict(type='Horse', feet=4), where='stable')
