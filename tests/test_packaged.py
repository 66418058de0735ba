"""Folders that travel with dtbox: those of a clone, and those of a wheel."""
import os
import re
from pathlib import Path

import pytest

from dtbox import packaged
from dtbox.config.find import find_config, list_configs
from dtbox.extend import find
from dtbox.packaged import FOLDERS, IMPORT_ROOT, find_packaged_folder, find_packaged_path

CLIMBS = re.compile(r'dirname\(\s*(os\.path\.)?dirname|parent\.parent|parents\[')


def test_folders_of_a_clone():
    for name in FOLDERS:
        assert find_packaged_folder(name) == os.path.join(IMPORT_ROOT, name)


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """Let dtbox lie in site-packages, its folders in dtbox/.mim, and the process in an empty folder."""
    package = tmp_path / 'site-packages' / 'dtbox'
    for file in ('configs/mine.py', 'configs/ablations/grid.py', 'plugins/idea/__init__.py', 'plugins/idea/config.py'):
        path = package / '.mim' / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('"""Mine."""\n')
    (tmp_path / 'site-packages' / 'plugins' / 'stranger').mkdir(parents=True)
    (tmp_path / 'empty').mkdir()
    monkeypatch.setattr(packaged, 'PACKAGE', str(package))
    monkeypatch.setattr(packaged, 'IMPORT_ROOT', str(package.parent))
    monkeypatch.chdir(tmp_path / 'empty')
    return package


def test_folders_of_a_wheel(wheel):
    configs, plugins = wheel / '.mim' / 'configs', wheel / '.mim' / 'plugins'
    assert find_packaged_folder('configs') == str(configs) and find_packaged_folder('tools') is None
    assert find_config('mine') == find_config('configs/mine.py') == str(configs / 'mine.py')
    assert find_config('plugins/idea/config.py') == str(plugins / 'idea' / 'config.py')
    assert list_configs() == {'mine': str(configs / 'mine.py'), 'grid': str(configs / 'ablations' / 'grid.py')}
    assert find.find('idea').root == find.find('plugins/idea').root == os.path.realpath(plugins / 'idea')


def test_current_folder_goes_before_a_packaged_plugin(wheel):
    Path('idea').mkdir()
    Path('idea/__init__.py').touch()
    assert find.find('idea').root == os.path.realpath('idea')


def test_site_packages_without_folders(wheel):
    """Other packages leave a folder `plugins` in site-packages: it is not ours."""
    (wheel / '.mim').rename(wheel / 'gone')
    assert find_packaged_folder('plugins') is None and find_packaged_path('plugins/stranger') is None


def test_paths_that_are_not_there():
    assert find_packaged_path('configs/gone.py') is None
    assert find_packaged_path('dtbox/cli') is None
    assert find_packaged_path('configs') is None


def test_no_other_module_climbs_to_the_repository():
    """Only `dtbox/packaged.py` knows where the folders are."""
    files = [*Path(IMPORT_ROOT, 'dtbox').rglob('*.py'), *Path(IMPORT_ROOT, 'tools').rglob('*.py')]
    bad = [f'{path}:{number}' for path in files for number,
           line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1)
           if CLIMBS.search(line) and path.name != 'packaged.py']
    assert len(files) > 200 and not bad, bad
