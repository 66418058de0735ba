"""The folder of a grid that somebody else ran: resuming it runs their code only with the user's word."""
import json
import os

import pytest

from dtbox.ablation.start import find_grid
from dtbox.errors import InputError
from dtbox.trust import trust_remote_code


@pytest.fixture
def grid(tmp_path):
    """A function that writes grid.json: returns the folder of a grid whose config is that of the user."""
    (tmp_path / 'archive' / 'grid').mkdir(parents=True)
    for file in ('mine.py', 'archive/beside.py', 'archive/grid/inside.py', 'archive/grid/plugin.py'):
        (tmp_path / file).write_text('')

    def write(**about):
        folder = tmp_path / 'archive' / 'grid'
        values = dict(format=1, config='mine.py', place=str(tmp_path / 'mine.py'))
        (folder / 'grid.json').write_text(json.dumps({**values, **about}))
        return folder
    return write


@pytest.mark.parametrize('place', ['INSIDE', 'beside.py', '/proc/self/cwd/beside.py', './grid/inside.py'])
def test_a_config_that_came_with_the_folder(grid, monkeypatch, place):
    folder = grid()
    folder = grid(place=place.replace('INSIDE', str(folder / 'inside.py')))
    monkeypatch.chdir(folder.parent)
    with pytest.raises(InputError, match='grid.json in .* names the config .*--trust-remote-code'):
        find_grid(str(folder), resume=True)
    with trust_remote_code():
        assert os.path.isfile(find_grid(str(folder), resume=True)[0])


@pytest.mark.parametrize('plugin', ['INSIDE', 'grid/plugin.py', '~/grid/plugin.py'])
def test_a_plugin_that_came_with_the_folder(grid, monkeypatch, plugin):
    folder = grid()
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv('HOME', str(folder.parent))
    folder = grid(given=dict(plugins=[plugin.replace('INSIDE', str(folder / 'plugin.py'))]))
    with pytest.raises(InputError, match='names the plugin .*plugin.py.*--trust-remote-code'):
        find_grid(str(folder), resume=True)
    assert find_grid(str(folder))[0].endswith('mine.py')


def test_ones_own_grid_is_resumed(grid):
    assert find_grid(str(grid()), resume=True)[0].endswith('mine.py')


def test_a_grid_that_names_no_config(grid):
    folder = grid(config=7, place=None)
    with pytest.raises(InputError, match='grid.json in .* names no config. Give its path: dtbox ablate CONFIG'):
        find_grid(str(folder))
