"""dtbox check-data: what is there, what is broken, and a sheet."""
import json
import os

import pytest
from PIL import Image

from dtbox.cli.check_data import VERB
from tests.format_data import WNIDS, coco_objects, imagenet
from tests.shard_data import write_set

DATA = 'configs/_base_/datasets/{}.py'


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def checked(tmp_path, data, *options, words=(), code=None):
    """Run the command; returns (data.json, folder)."""
    out = str(tmp_path / 'out')
    call = [DATA.format(data), '--out', out, '--workers', '0', *words, '--cfg-options', *options]
    if code is None:
        VERB.main(call)
    else:
        with pytest.raises(SystemExit) as left:
            VERB.main(call)
        assert left.value.code == code
    return json.load(open(os.path.join(out, 'data.json'))) if code in (None, 1) else None, out


def test_what_is_there(tmp_path, capsys):
    found, out = checked(tmp_path, 'imagenet', f'data_root={imagenet(tmp_path / "data")}')
    for part in ('train', 'heldout'):
        assert found[part]['samples'] == found[part]['read'] == 12
        assert found[part]['sizes']['median'] == [40, 30]
        assert found[part]['broken'] == []
        assert found[part]['classes'] == dict(names=1000, seen=4, fewest=3, most=3, without=0)
        assert Image.open(os.path.join(out, f'{part}.png')).width > 1000
    said = capsys.readouterr().out
    assert 'train: 12 samples' in said and 'classes   4 of 1,000 seen, 3 to 3 images each' in said
    assert open(os.path.join(out, 'data.txt')).read() in said


def test_what_is_broken_is_named(tmp_path, capsys):
    root = imagenet(tmp_path / 'data')
    path = root / 'val' / WNIDS[1] / f'{WNIDS[1]}_0.JPEG'
    path.write_bytes(path.read_bytes()[:100])
    found, _ = checked(tmp_path, 'imagenet', f'data_root={root}', code=1)
    assert found['train']['broken'] == []
    assert len(found['heldout']['broken']) == 1
    assert f'{WNIDS[1]}_0.JPEG' in found['heldout']['broken'][0]
    assert 'broken: 1' in capsys.readouterr().out


def test_some_of_many_and_parts_that_are_not_given(tmp_path, capsys):
    found, _ = checked(tmp_path, 'cc12m', f'shards={write_set(tmp_path / "s", [30, 30])}', words=('--limit', '10'))
    assert found['train']['samples'] == 60
    assert found['train']['read'] == 10
    assert found['train']['captions']['mean'] == 1
    assert 'heldout' not in found
    assert 'heldout: not given (urls is None)' in capsys.readouterr().out


def test_masks_and_workers(tmp_path):
    root = coco_objects(tmp_path / 'data')
    found, _ = checked(tmp_path, 'coco_objects', f'data_root={root}', words=('--workers', '1'), code=1)
    assert found['heldout']['objects'] == 4 and len(found['heldout']['flaws']) == 2


@pytest.mark.parametrize('data, options, words, says', [
    ('imagenet', ['resize=squash'], (), 'has no data to check.*data_root=PATH'),
    ('imagenet', ['data_root=no/such'], (), 'does not exist'),
    ('imagenet', ['data_root=.'], ('--limit', '0'), '--limit: 0 is too small')])
def test_what_cannot_be_checked(tmp_path, capsys, data, options, words, says):
    import re
    checked(tmp_path, data, *options, words=words, code=2)
    assert re.search(says, capsys.readouterr().err)
