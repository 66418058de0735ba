"""What makes a trial another trial."""
import copy

from dtbox.ablation import identity as ids
from dtbox.ablation import read_grid


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
    assert ids.config_hash(same) == ids.config_hash(cfg) != ids.config_hash(other)
    assert ids.config_hash(dict(a={1: 2})) != ids.config_hash(dict(a={'1': 2}))


def test_data_hash_sees_data_and_the_files_of_the_config(tmp_path):
    weights = tmp_path / 'w.pt'
    weights.write_bytes(b'one')
    cfg = dict(model=dict(weights=str(weights)))
    first = ids.data_hash(cfg, Data('a'), Data('b'))
    assert first == ids.data_hash(cfg, Data('a'), Data('b')) != ids.data_hash(cfg, Data('a'), Data('c'))
    weights.write_bytes(b'other')
    assert ids.data_hash(cfg, Data('a'), Data('b')) != first
    assert ids.data_hash({}, None, None) != ids.data_hash({}, Data('a'), None)


def test_code_hash_sees_every_file_of_the_package(tmp_path, monkeypatch):
    (tmp_path / 'dtbox' / 'a').mkdir(parents=True)
    (tmp_path / 'dtbox' / '__init__.py').write_text('')
    (tmp_path / 'dtbox' / 'a' / 'b.py').write_text('x = 1')
    monkeypatch.setattr(ids.dtbox, '__file__', str(tmp_path / 'dtbox' / '__init__.py'))
    before = ids.code_hash()
    (tmp_path / 'dtbox' / 'a' / 'notes.txt').write_text('not code')
    assert ids.code_hash() == before
    (tmp_path / 'dtbox' / 'a' / 'b.py').write_text('x = 2')
    assert ids.code_hash() != before


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
