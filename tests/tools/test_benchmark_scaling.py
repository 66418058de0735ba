"""How cost grows: which points are measured, what one measures, and what is written."""
import json

import pytest
from PIL import Image

from tools.benchmarks import scaling


def test_one_point(tiny_config):
    found = scaling.work(dict(config=str(tiny_config), options={'quantizer.depth': 3}, plugins=[], tiny=False, batch=2,
                              threads=1, seconds=0.0, side=64))
    assert set(found) == {'encode', 'decode', 'encode_limit', 'decode_limit', 'rate', 'megabytes'}
    assert all(value > 0 for name, value in found.items() if name != 'megabytes')


def test_what_it_writes(tmp_path, monkeypatch, capsys, tiny_config):
    """One value changes at a time; 50 of 200 images a second are 25 % of the rate; an axis without numbers is left
    out."""
    points = {}

    def run_process(name, code, point):
        points[name] = json.loads(point)
        return dict(encode=50.0, decode=80.0, encode_limit=200.0, decode_limit=100.0, megabytes=30.0 + len(points),
                    rate=1e9)
    monkeypatch.setattr(scaling, 'run_process', run_process)
    scaling.main([str(tiny_config), '--out', str(tmp_path), '--image-size', '32', '64', '--depth', '--codes', '4096',
                  '--batch', '--threads', '1', '2', '--cfg-options', 'quantizer.dim=4'])
    assert list(points) == ['image_size 32', 'image_size 64', 'codes 4096', 'threads 1', 'threads 2']
    assert points['image_size 64']['options'] == {'quantizer.dim': 4, 'image_size': 64}
    assert (points['threads 2']['threads'], points['threads 2']['options']) == (2, {'quantizer.dim': 4})
    page = (tmp_path / 'scaling.md').read_text()
    assert '| 4,096 | 50 | 25 % | 80 | 80 % | 33 |' in page and page in capsys.readouterr().out
    assert [row['axis'] for row in json.loads((tmp_path / 'scaling.json').read_text())['rows']].count('threads') == 2
    assert min(Image.open(tmp_path / 'scaling.png').size) > 600


@pytest.mark.parametrize('words, says', [(['--batch', '1', '0'], 'a value below 1 came'),
                                         (['gone.py'], 'the config gone.py does not exist')])
def test_one_sentence(words, says, capsys, tmp_path):
    with pytest.raises(SystemExit) as left:
        scaling.main([*words, '--out', str(tmp_path / 'out')])
    assert left.value.code == 2 and says in capsys.readouterr().err
