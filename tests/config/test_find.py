"""Configs by path and by name: the current folder first, then those that travel with dtbox."""
import os

import pytest

from dtbox.config import load_config
from dtbox.config.find import find_config, list_configs, read_summary
from dtbox.errors import InputError
from dtbox.packaged import FOLDERS, find_packaged_folder

CONFIGS = find_packaged_folder('configs')


@pytest.mark.parametrize('name, path', [
    ('dualtoken_rq', 'dualtoken_rq.py'), ('dualtoken_rq.py', 'dualtoken_rq.py'),
    ('paper/vqgan_f16', 'paper/vqgan_f16.py'),
    ('vqgan_f16', 'paper/vqgan_f16.py'), ('decoupling', 'ablations/decoupling.py'),
    ('imagenet', '_base_/datasets/imagenet.py'),
    ('configs/dualtoken_rq.py', 'dualtoken_rq.py'), ('configs/ablations/decoupling.py', 'ablations/decoupling.py')])
def test_name_far_from_any_clone(name, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(name) == os.path.join(CONFIGS, path)


def test_current_folder_goes_first(tmp_path, monkeypatch):
    """A path that exists, then NAME.py here, then configs/ here, then the packaged configs."""
    monkeypatch.chdir(tmp_path)
    for path in ('configs/ablations/decoupling.py', 'configs/dualtoken_rq.py', 'dualtoken_rq.py'):
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        with open(path, 'w') as file:
            file.write('"""Mine."""\nseed = 5\n')
        assert find_config(path) == path
    assert find_config('decoupling') == 'configs/ablations/decoupling.py'
    assert find_config('dualtoken_rq') == 'dualtoken_rq.py'
    os.remove('dualtoken_rq.py')
    assert find_config('dualtoken_rq') == 'configs/dualtoken_rq.py' and load_config('dualtoken_rq').seed == 5
    os.mkdir('vqgan')  # a folder without config.py is not a run
    assert find_config('vqgan') == os.path.join(CONFIGS, 'vqgan.py')
    (tmp_path / 'vqgan' / 'config.py').write_text('')
    assert find_config(tmp_path / 'vqgan') == str(tmp_path / 'vqgan') and find_config('vqgan') == 'vqgan'


@pytest.mark.parametrize('name, says', [
    ('dualtoken_rqq', 'the config dualtoken_rqq does not exist. Did you mean `dualtoken_rq`'),
    ('./dualtoken_rq', 'the config ./dualtoken_rq does not exist.'), ('/gone/dualtoken_rq.py', 'does not exist.'),
    ('!', 'or a name that `dtbox print-config --list` shows.')])
def test_unknown_name_says_the_closest(name, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        find_config(name, where='--data')
    assert says in str(error.value) and error.value.where == '--data'


def test_kind_goes_first(tmp_path, monkeypatch):
    """`video` is a protocol and a config of data."""
    monkeypatch.chdir(tmp_path)
    assert find_config('video', 'data') == os.path.join(CONFIGS, '_base_', 'datasets', 'video.py')
    assert find_config('video', 'protocol') == find_config('video') == os.path.join(CONFIGS, 'protocols', 'video.py')
    with pytest.raises(InputError, match='the grid decouplin does not exist. Did you mean `decoupling`'):
        find_config('decouplin', 'grid')


def test_bases_of_a_packaged_config_resolve(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config('dualtoken_fsq', data='imagenet').train_dataloader


def test_list_names_what_can_be_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert set(list_configs('grid')) == {f[:-3] for f in os.listdir(os.path.join(CONFIGS, 'ablations'))
                                         if f.endswith('.py')}
    configs = list_configs()
    assert {'dualtoken_rq', 'paper/vqgan_f16', 'decoupling', 'imagenet'} < set(configs)
    assert all(find_config(name) == path and read_summary(path) for name, path in configs.items())


def test_packaged_folders_of_a_clone():
    assert all(os.path.isabs(find_packaged_folder(name)) for name in FOLDERS)
