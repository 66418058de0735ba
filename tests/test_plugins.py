"""Plugins: found by folder, file or module name, loaded once, identified by a hash."""
import hashlib

import pytest

from dtbox import plugins
from dtbox.config import load_config
from dtbox.errors import InputError
from dtbox.registry import HEADS

CODE = '''"""A plugin."""
from dtbox.registry import HEADS


@HEADS.register_module()
class {name}:
    """A head from outside."""
'''


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """Forget what the test loads and registers."""
    monkeypatch.setattr(plugins, 'LOADED', {})
    before = set(HEADS.module_dict)
    yield
    for name in set(HEADS.module_dict) - before:
        del HEADS.module_dict[name]


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize('file, given', [('mine.py', 'mine.py'), ('mine/__init__.py', 'mine'), ('mine/mine.py', 'mine/')])
def test_file_and_folders(tmp_path, file, given):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(CODE.format(name='FromPath'))
    name = f'{tmp_path}/{given}'
    assert plugins.load_plugins([name]) == {name: digest(path.read_text())}
    assert HEADS.get('FromPath').__doc__ == 'A head from outside.'
    assert plugins.load_plugins([name, name]) == {name: digest(path.read_text())}  # registering it again would raise


def test_package_imports_its_own_parts(tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / '__init__.py').write_text('from .part import ANSWER\n')
    (tmp_path / 'mine' / 'part.py').write_text(CODE.format(name='FromPart') + '\n\nANSWER = 42\n')
    plugins.load_plugins(str(tmp_path / 'mine'))
    assert 'FromPart' in HEADS.module_dict


def test_module_name(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'dtbox_test_plugin.py').write_text(CODE.format(name='FromModule'))
    assert list(plugins.load_plugins(['dtbox_test_plugin'])) == ['dtbox_test_plugin'] and 'FromModule' in HEADS.module_dict


def test_nothing_to_load():
    assert plugins.load_plugins(None) == plugins.load_plugins([]) == {}


def test_config_names_its_plugins(tmp_path):
    (tmp_path / 'mine.py').write_text(CODE.format(name='FromConfig'))
    for i, given in enumerate((f'[{str(tmp_path / "mine.py")!r}]', repr(str(tmp_path / 'mine.py')))):
        (tmp_path / 'config.py').write_text(f'plugins = {given}\n')
        load_config(tmp_path / 'config.py')
    assert 'FromConfig' in HEADS.module_dict


@pytest.mark.parametrize('make, given, says', [
    (None, 'gone.py', r'gone\.py does not exist'), (None, 'gone/x', r'does not exist'), ('empty', 'empty', r'neither __init__\.py nor empty\.py'),
    ('bad.py', 'bad.py', r'bad\.py \(\S+bad\.py\) cannot be imported: ZeroDivisionError')])
def test_what_cannot_be_loaded(tmp_path, make, given, says):
    if make == 'empty':
        (tmp_path / make).mkdir()
    elif make:
        (tmp_path / make).write_text('1 / 0\n')
    with pytest.raises(InputError, match=says):
        plugins.load_plugins([str(tmp_path / given)])
    assert plugins.LOADED == {}


def test_unknown_module():
    with pytest.raises(InputError, match=r'no_such_module \(a module\) cannot be imported: ModuleNotFoundError'):
        plugins.load_plugins(['no_such_module'])
