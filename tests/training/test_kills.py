"""Kills in an evaluation and in the write of a checkpoint; resumed, each run ends like one that nobody killed. Kills in
a step are in `test_resume.py`, `test_same_run.py` and `test_killed_on_shards.py`; `tests/kill_runs.py` does all of it
with every recipe, at moments that it draws."""
import sys

import pytest

from tests.kill_runs import Kill, Killer

CONFIG = '''
_base_ = [{base!r}]
max_iters = 4
train_cfg = dict(max_iters='${{max_iters}}', val_interval=2)
val_evaluator = dict(ssim=None, frechet=None, retrieval=None)
hooks = dict(log=dict(interval=1), checkpoint=dict(interval=1), images=None)
'''
KILLS = [Kill('evaluation', 'SIGTERM', 0, 0, 0), Kill('evaluation', 'SIGKILL', 1, 0, 0),
         Kill('write', 'SIGKILL', 1, 0, 40), Kill('write', 'SIGINT', 2, 0, 1000)]
"""The last one comes between the last record and the renaming."""

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='forks')


@pytest.fixture(scope='module')
def whole(tiny_config, tmp_path_factory):
    """(Killer, config file, folder of a run that nobody kills)."""
    place = tmp_path_factory.mktemp('kills')
    config = place / 'recipe.py'
    config.write_text(CONFIG.format(base=str(tiny_config)))
    killer = Killer(place, 'fork')
    assert killer.run(str(config), place / 'whole') == 0, killer.console.read_text()
    return killer, str(config), place / 'whole'


@pytest.mark.parametrize('kill', KILLS, ids=lambda kill: f'{kill.signal}-{kill.moment}-{kill.count}')
def test_killed_and_resumed(whole, kill, tmp_path):
    """Checkpoint, scores, history and config are the same, and no unfinished file stays."""
    killer, config, folder = whole
    assert killer.check(config, kill, folder, tmp_path / 'cut') == ''
