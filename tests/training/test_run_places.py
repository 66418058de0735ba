"""Where a run is: folders that were renamed, links, other work dirs; and what a resumed run may not become."""
import os
import shutil

import pytest

from dtbox.cli.main import main
from dtbox.config import load_config, resolve
from dtbox.errors import InputError
from dtbox.locks import Locked, take_folder
from dtbox.runs import choose_run_folder
from dtbox.training import checkpoint
from dtbox.training.runner import Runner
from dtbox.training.startup import build_run


def test_a_run_cannot_become_shorter(tiny_config, tiny_run, tmp_path):
    """Its config would tell of fewer iterations than its weights have."""
    run = shutil.copytree(tiny_run, tmp_path / 'run')
    with pytest.raises(InputError, match='train_cfg.max_iters: .* has 6 iterations, more than `max_iters` 5'):
        Runner.from_config(load_config(tiny_config, {'train_cfg.max_iters': 5}), work_dir=str(run), resume=True)


def test_a_run_without_a_checkpoint_is_its_own_folder(tmp_path):
    """One that was killed before the first checkpoint resumes there, not in work_dirs/NAME."""
    (tmp_path / 'config.py').write_text("work_dir = '/elsewhere'\nseed = 3\n")
    assert load_config(tmp_path / 'config.py').work_dir == '/elsewhere'
    (tmp_path / 'run.json').write_text('{"format": 2, "dtbox": "0.2.0"}')
    assert choose_run_folder(str(tmp_path / 'config.py')).path == str(tmp_path)
    assert 'work_dir' not in load_config(tmp_path)  # it was renamed, or copied
    assert load_config(tmp_path, {'work_dir': 'new'}).work_dir == 'new'


def test_a_run_is_not_resumed_in_an_empty_folder(tiny_run, tmp_path, capsys):
    """`--work-dir` of a folder that holds no run would begin a new one."""
    with pytest.raises(SystemExit) as left:
        main(['train', str(tiny_run), '--resume', '--work-dir', str(tmp_path / 'new')])
    said = capsys.readouterr().err
    assert left.value.code == 2 and 'holds no run that could be resumed' in said and not list(tmp_path.iterdir())


@pytest.mark.parametrize('there', [True, False])
def test_a_link_stays_a_link(there, tmp_path):
    """What it leads to, on a larger disk perhaps, is moved aside and made anew."""
    (tmp_path / 'disk').mkdir()
    if there:
        (tmp_path / 'disk' / 'run').mkdir()
        (tmp_path / 'disk' / 'run' / 'old').touch()
    os.symlink('disk/run', tmp_path / 'link')
    lock = Locked(str(tmp_path / 'link' / '.running'), 'the run')
    moved = take_folder(str(tmp_path / 'link'), lock, move=True)
    lock.release()
    assert os.path.islink(tmp_path / 'link') and os.listdir(tmp_path / 'disk' / 'run') == ['.running']
    assert moved == (str(tmp_path / 'disk' / 'run.1') if there else None)


def test_a_run_that_keeps_nothing_says_so(tiny_config):
    cfg = resolve(load_config(tiny_config, {'hooks.checkpoint': None, 'val_dataloader': None}))
    assert any('nothing keeps the weights' in remark for remark in build_run(cfg, 0).remarks)


def test_a_file_that_is_no_checkpoint(tmp_path):
    """An empty one, as a full disk leaves it, and an image."""
    for content in (b'', b'\x89PNG\r\n\x1a\n' * 9):
        (tmp_path / 'x.pth').write_bytes(content)
        with pytest.raises(InputError, match=r'x.pth cannot be read \(it is not a zip file'):
            checkpoint.load(tmp_path / 'x.pth')
