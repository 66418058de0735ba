"""A run that cannot start, or go on, leaves everything as it was; ranks start by torchrun without GPUs."""
import os
import pty
import shutil
import socket
import sys

import pytest

import dtbox
from dtbox.config import load_config
from dtbox.errors import InputError
from dtbox.training.build import build_hooks
from dtbox.training.remarks import warn_of_no_scores
from dtbox.training.runner import Runner
from tests.child_processes import fork_child, run_fork


def files(folder):
    """Return path -> content of everything below a folder."""
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file() and p.suffix
            != '.log'}


@pytest.mark.parametrize('options, says', [
     ({'train_cfg.max_iters': 0}, r'train_cfg\.max_iters: `max_iters` is 0'),
     ({'train_cfg.max_iters': 'abc'}, "`max_iters` is 'abc'"),
     ({'encoder.weights': 'dtbox://nope'}, 'no weights named `nope`'), ({'load_from': 'gone.pth'}, 'gone.pth'),
     ({'vis_backends': [dict(type='TensorbordVisBackend')]},
      r'vis_backends\.0: .*Did you mean `TensorboardVisBackend`'),
     ({'hooks': dict(_delete_=True, log=dict(type='Log', intervall=1))}, 'Did you mean `interval`')])
def test_a_start_that_fails_moves_nothing(options, says, tiny_config, tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / 'run')
    before = files(run)
    with pytest.raises(InputError, match=says):
        Runner.from_config(load_config(tiny_config, options), work_dir=str(run))
    assert files(run) == before and [p.name for p in tmp_path.iterdir()] == ['run']


def test_hooks_are_a_dict_by_name():
    """None takes a hook out; an error names the hook by its name."""
    hooks = dict(log=dict(type='Log', interval=2), results=None, checkpoint=dict(type='Checkpoint', interval=6))
    built = build_hooks(hooks)
    assert {name: type(hook).__name__ for name, hook in built.items()} == dict(log='Log', checkpoint='Checkpoint')
    with pytest.raises(InputError, match=r'^hooks\.log: .*Did you mean `interval`'):
        build_hooks(dict(log=dict(type='Log', intervall=1)))
    assert build_hooks(None) == {}


def test_a_refused_resume_changes_nothing(tiny_config, tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / 'run')
    before = files(run)
    for options in ({'quantizer.size': 32}, {'train_dataloader.batch_size': 2}):
        with pytest.raises(InputError):
            Runner.from_config(load_config(tiny_config, options), work_dir=str(run), resume=True)
    assert files(run) == before
    dtbox.load(run)


@pytest.mark.parametrize('metric, says', [
    (dict(type='PNSR'), 'val_evaluator.odd.*`PNSR` is not registered.*PSNR'),
    (dict(type='PSNR', prefx='x'), 'val_evaluator.odd.*takes no argument `?prefx'),
    (dict(type='FID', weights='none.pt'), 'val_evaluator.odd.weights: .*none.pt, do not exist')])
def test_a_wrong_metric_is_told_before_the_run(tiny_config, tmp_path, metric, says):
    cfg = load_config(tiny_config)
    cfg.val_evaluator.odd = metric
    with pytest.raises(InputError, match=says):
        Runner.from_config(cfg, work_dir=str(tmp_path / 'run'))
    assert not (tmp_path / 'run').exists()


def test_a_missing_backend_package_is_named(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'wandb', None)
    with pytest.raises(InputError, match=r'pip install "dtbox\[wandb\]"'):
        Runner.from_config(load_config(tiny_config, {'vis_backends': [dict(type='WandbVisBackend')]}),
                           work_dir=str(tmp_path / 'run'))
    assert not (tmp_path / 'run').exists()


def test_a_discriminator_that_never_starts_is_said(tiny_config, tmp_path):
    Runner.from_config(load_config(tiny_config, {'gan.adversarial.start': 6}), work_dir=str(tmp_path / 'run'))
    log, = (tmp_path / 'run').rglob('*.log')
    assert 'would begin at iteration 6' in log.read_text() and 'ends at 6' in log.read_text()


@pytest.mark.parametrize('options, missing', [
    ({'val_dataloader': None}, 'val_dataloader'), ({'val_evaluator': None}, 'val_evaluator'), ({}, None),
    ({'val_dataloader': None, 'val_evaluator': None}, None)])
def test_half_an_evaluation_is_said(options, missing, tiny_config):
    """Held-out data without metrics, or metrics without data, measure nothing."""
    remarks = warn_of_no_scores(load_config(tiny_config, options))
    assert [f'no `{missing}`: this run measures no scores' in remark for remark in remarks] == [True] * bool(missing)


def test_half_an_evaluation_is_logged(tiny_config, tmp_path):
    Runner.from_config(load_config(tiny_config, {'val_evaluator': None}), work_dir=str(tmp_path / 'run'))
    log, = (tmp_path / 'run').rglob('*.log')
    assert 'The config has `val_dataloader` and no `val_evaluator`' in log.read_text()


def test_torchrun(tiny_config, tmp_path):
    """One rank by torchrun's variables, all the way through the command line: with gloo, as on a machine without
    GPUs."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    env = dict(os.environ, RANK='0', LOCAL_RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port),
               GLOO_SOCKET_IFNAME='lo', OMP_NUM_THREADS='1')
    done = run_fork(['tools/train.py', str(tiny_config), '--launcher', 'pytorch', '--work-dir',
                     str(tmp_path / 'run'), '--cfg-options', 'train_cfg.max_iters=2'], env=env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'run' / 'metrics.json').is_file() and (tmp_path / 'run' / 'checkpoint.pth').is_file()


def test_on_a_terminal(tiny_config, tmp_path):
    """A bar while it trains, then the table and the place of the run on the screen."""
    main, other = pty.openpty()
    child = fork_child(['tools/train.py', tiny_config, '--work-dir', tmp_path / 'run'],
                       dict(os.environ, OMP_NUM_THREADS='1', COLUMNS='100'), stdout=other, stderr=other)
    os.close(other)
    shown = b''
    while True:
        try:
            part = os.read(main, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    assert child.wait() == 0
    shown = shown.decode()
    assert 'train' in shown and '6/6' in shown and 'PSNR [dB]' in shown and f'The run is in {tmp_path / "run"}' in shown
    assert '[2/6]' not in shown  # plain lines stay in the file while the bar is on


def test_evaluation_after_autocast(tiny_config, tmp_path):
    """What bfloat16 made is measured in float32, the teacher's view of it included."""
    cfg = load_config(tiny_config, {'train_cfg.max_iters': 1, 'amp': 'bfloat16',
                                    'hooks': dict(_delete_=True, results=dict(type='Results'))})
    runner = Runner.from_config(cfg, work_dir=str(tmp_path / 'run'))
    runner.train()
    scores = runner.val_loop.results.sets['all']
    assert scores['frechet_teacher'] > 0 and scores['psnr'] > 3


def test_scores_and_pictures_reach_the_backends(tiny_config, tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    cfg = load_config(tiny_config, {'train_cfg.max_iters': 3, 'vis_backends': [dict(type='TensorboardVisBackend')]})
    runner = Runner.from_config(cfg, work_dir=str(tmp_path / 'run'))
    runner.train()
    writer = runner.visualizer.get_backend('TensorboardVisBackend')._tensorboard
    assert writer.all_writers is None, 'the writer is open: its last entries may be lost'
    folder, = {p.parent for p in (tmp_path / 'run').rglob('events.*')}
    events = EventAccumulator(str(folder)).Reload()
    tags = events.Tags()
    assert {'train/l2', 'all/psnr'} <= set(tags['scalars']) and {'images', 'reconstructions',
                                                                 'losses'} <= set(tags['images'])
