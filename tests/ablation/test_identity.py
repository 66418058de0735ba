"""What makes a trial another trial."""
import copy

from mmengine.config import Config

from dtbox.ablation import identity as ids
from dtbox.ablation import read_grid
from dtbox.ablation.identity import hash_plugins
from dtbox.extend import load_plugins
from tests.plugins_kit import SIGN, write
from tests.plugins_kit import clean as clean  # noqa: F401


class Data:
    def __init__(self, name):
        self.name = name

    def fingerprint(self):
        return self.name


def test_config_hash_sees_values_and_not_order_or_places(write_grid):
    cfg = read_grid(write_grid()).trials[0].config
    same, other = copy.deepcopy(cfg), copy.deepcopy(cfg)
    same.work_dir = '/somewhere'
    same._cfg_dict['quantizer'] = type(cfg.quantizer)(dict(reversed(list(cfg.quantizer.items()))))
    other.quantizer.depth = 7  # seen through the reference that follows it
    assert ids.hash_config(same) == ids.hash_config(cfg) != ids.hash_config(other)
    assert ids.hash_config(dict(a={1: 2})) != ids.hash_config(dict(a={'1': 2}))


def test_data_hash_sees_data_and_the_files_of_the_config(tmp_path):
    weights = tmp_path / 'w.pt'
    weights.write_bytes(b'one')
    cfg = dict(model=dict(weights=str(weights)))
    first = ids.hash_data(cfg, Data('a'), Data('b'))
    assert first == ids.hash_data(cfg, Data('a'), Data('b')) != ids.hash_data(cfg, Data('a'), Data('c'))
    weights.write_bytes(b'other')
    assert ids.hash_data(cfg, Data('a'), Data('b')) != first
    assert ids.hash_data({}, None, None) != ids.hash_data({}, Data('a'), None)


def test_code_hash_sees_every_file_of_the_package(tmp_path, monkeypatch):
    (tmp_path / 'dtbox' / 'a').mkdir(parents=True)
    (tmp_path / 'dtbox' / '__init__.py').write_text('')
    (tmp_path / 'dtbox' / 'a' / 'b.py').write_text('x = 1')
    monkeypatch.setattr(ids.dtbox, '__file__', str(tmp_path / 'dtbox' / '__init__.py'))
    before = ids.hash_code()
    (tmp_path / 'dtbox' / 'a' / 'notes.txt').write_text('not code')
    assert ids.hash_code() == before
    (tmp_path / 'dtbox' / 'a' / 'b.py').write_text('x = 2')
    assert ids.hash_code() != before


def test_fingerprints_of_data_sets(tmp_path):
    from PIL import Image

    from dtbox.datasets import ImageFolder
    for name, colour in (('one', 'red'), ('two', 'blue'), ('three', 'green')):
        Image.new('RGB', (40, 40), colour).save(tmp_path / f'{name}.png')
    before = ImageFolder(tmp_path, min_size=8).fingerprint()
    assert ImageFolder(tmp_path, min_size=8).fingerprint() == before
    for path in tmp_path.glob('*.png'):  # in which split a name falls is no matter here
        Image.new('RGB', (80, 40), 'red').save(path)
    assert ImageFolder(tmp_path, min_size=8).fingerprint() != before


def test_plugin_hash_counts_what_a_run_computes_with(tmp_path, clean):
    """A plugin that another one imports from counts, and one that registers nothing; one whose parts the config does
    not name does not."""
    write(tmp_path / 'one.py', SIGN.format(name='SignOne'))
    write(tmp_path / 'other.py', SIGN.format(name='SignOther'))
    write(tmp_path / 'silent.py', 'import torch\n')

    def hash_now(quantizer):
        clean()
        paths = [str(tmp_path / f'{name}.py') for name in ('one', 'other', 'silent')]
        load_plugins(paths)
        return hash_plugins(Config(dict(plugins=paths, quantizer=dict(type=quantizer, dim=3))))
    first = {name: hash_now(name) for name in ('SignOne', 'SignOther', 'RQ')}
    assert len(set(first.values())) == 3 and all(first.values())
    write(tmp_path / 'other.py', SIGN.format(name='SignOther') + '# a change\n')
    assert hash_now('SignOne') == first['SignOne']
    assert hash_now('RQ') == first['RQ']
    assert hash_now('SignOther') != first['SignOther']
    write(tmp_path / 'silent.py', 'import torch\n\nVALUE = 1\n')
    assert hash_now('RQ') != first['RQ']


def test_plugin_hash_counts_plugins_that_a_plugin_imports(tmp_path, clean, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path / 'signbase.py', SIGN.format(name='SignBase'))
    write(tmp_path / 'signuser.py', 'from signbase import SignBase\n' + SIGN.format(name='SignUser'))

    def hash_now():
        clean()
        load_plugins(['signbase', 'signuser'])
        return hash_plugins(Config(dict(plugins=['signbase', 'signuser'], quantizer=dict(type='SignUser', dim=3))))
    first = hash_now()
    write(tmp_path / 'signbase.py', SIGN.format(name='SignBase') + '# a change\n')
    assert hash_now() != first
