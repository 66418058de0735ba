"""A resumed run continues the run of its checkpoint: other settings and other data are refused, a longer run goes
on."""
import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
from mmengine.config import Config

from dtbox.cli.train import VERB, describe_new_run
from dtbox.config import load_config
from dtbox.errors import InputError
from dtbox.runs import RunFolder
from dtbox.training import checkpoint
from dtbox.training.runner import Runner
from dtbox.training.same_run import compare_configs, describe_config
from dtbox.training.tokenizer_task import TokenizerTask
from tests.child_processes import fork_child
from tests.tiny_run import write_photos
from tests.training.test_resume import same

BASE = dict(model=dict(type='A', gan=None, teacher=dict(weights='/a/b.pt', cache='/c')), seed=0, batch_size=4,
            train_dataloader=dict(batch_size=4, num_workers=0, dataset=dict(type='D', data_root='/data/a', limit=3)),
            optim_wrapper=dict(generator=dict(optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.95)))),
            param_scheduler=dict(generator=[dict(type='W', total=8, warmup=0.1)]), train_cfg=dict(max_iters=8),
            hooks=dict(log=dict(interval=1)), val_dataloader=dict(batch_size=2))


def changed(**changes):
    cfg = Config(BASE)
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return set(compare_configs(describe_config(Config(BASE)), describe_config(cfg), TokenizerTask.safe_settings))


@pytest.mark.parametrize('changes, keys', [
    (dict(optim_wrapper__generator__optimizer__lr=2e-3), {'optim_wrapper.generator.optimizer.lr'}),
    (dict(model__type='B', amp='bfloat16'), {'model.type', 'amp'}),
    (dict(param_scheduler__generator=[dict(type='W', total=8, warmup=0.2)]), {'param_scheduler.generator.0.warmup'}),
    (dict(param_scheduler__generator=[dict(type='W', total=16, warmup=0.1)]), {'param_scheduler.generator.0.total'}),
    (dict(train_dataloader__dataset__limit=4), {'train_dataloader.dataset.limit'}),
    (dict(model__gan='on'), {'model.gan'}), (dict(model__type='hub/model'), {'model.type'}),
    # a longer run, its schedule with it; what computes, logs and evaluates; where things are
    (dict(train_cfg__max_iters=16, param_scheduler__generator=[dict(type='W', total=16, warmup=0.1)]), set()),
    (dict(train_dataloader__num_workers=2, hooks__log__interval=7, val_dataloader=None), set()),
    (dict(train_dataloader__dataset__data_root='/data/b', model__teacher__weights='/x/y.pt',
          model__teacher__cache=None), set()),
    (dict(load_from='/stages/0/checkpoint.pth'), {'load_from'}),  # not read again: config.py would tell a tale
    (dict(batch_size=8, work_dir='elsewhere'), set())])  # a variable that nothing refers to
def test_what_may_change(changes, keys):
    assert changed(**changes) == keys


def test_a_checkpoint_that_does_not_note_what_it_began_from():
    """Those of an older dtbox resume as before."""
    noted = describe_config(Config(BASE))
    older = json.dumps({key: value for key, value in json.loads(noted).items() if key != 'load_from'})
    assert not compare_configs(older, describe_config(Config({**BASE, 'load_from': '/a/b'})))


def train(config, folder, resume=False, **options):
    cfg = load_config(config, {'hooks.images': None, **{k.replace('__', '.'): v for k, v in options.items()}})
    runner = Runner.from_config(cfg, work_dir=str(folder), resume=resume)
    runner.train()
    return runner


def history(folder):
    return [json.loads(line) for line in (folder / 'history.jsonl').read_text().splitlines()]


def tables(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def test_other_settings_are_refused_and_nothing_changes(tiny_config, tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / 'run')
    before = tables(run)
    key = 'optim_wrapper.generator.optimizer'
    for options, says in (
        ({key: dict(type='AdamW', lr=1e-9, weight_decay=0.7)}, rf'{key}.lr: 0.001 then, 1e-09 now\n '
                                                               rf'*{key}.weight_decay: '
                                                          r"'not set' then, 0.7 now\nRestore .* "
                                                          r"load_from=.*checkpoint"),
        ({f'{key}.type': 'SGD'}, "'AdamW' then, 'SGD' now"),
        ({'optim_wrapper.generator': dict(optimizer=dict(type='AdamW', lr=1e-3), clip_grad=dict(max_norm=1.0), groups={
            'decoder.*': dict(lr_mult=0.1)})}, "'not set' then, 0.1 now"),
        ({'model.losses.pixels.weight': 1.0}, 'model.losses.pixels.weight: 5.0 then, 1.0 now'),
        ({'param_scheduler.generator': dict(type='WarmupCosineLR', total=6, floor=0.5)}, "floor: 'not set' then, 0.5 "
                                                                                         "now")):
        with pytest.raises(InputError, match=f'with these it would not continue the same run:\n(.|\n)*{says}'):
            Runner.from_config(load_config(tiny_config, options), work_dir=str(run), resume=True)
    assert tables(run) == before


def test_the_command_of_a_new_run(tiny_config, tiny_run, tmp_path, capsys):
    """It has what the user has changed, and another folder."""
    run = shutil.copytree(tiny_run, tmp_path / 'run')
    with pytest.raises(SystemExit):
        VERB.main([str(run), '--resume', '--cfg-options', 'model.losses.pixels.weight=1.0'])
    said = capsys.readouterr().err
    assert 'weight: 5.0 then, 1.0 now' in said and said.splitlines()[-1] == (
        f'With what you have set now, that is: dtbox train {run} --cfg-options model.losses.pixels.weight=1.0 '
        f'--cfg-options load_from={run}/checkpoint.pth --work-dir {run}_new')


@pytest.mark.parametrize('typed, words', [
    ('a.py --resume --work-dir r', 'a.py --cfg-options load_from=r/checkpoint.pth --work-dir r_new'),
    ('a.py --work-dir=r --resume --tiny --seed 3', 'a.py --tiny --seed 3 --cfg-options load_from=r/checkpoint.pth '
                                                   '--work-dir r_new'),
    ('r --resume --cfg-options load_from=b lr=1', 'r --cfg-options load_from=b lr=1 --work-dir r_new')])
def test_words_of_the_new_command(typed, words):
    """A start that the user has named stays."""
    assert describe_new_run(typed.split(), RunFolder('r')) == f'dtbox train {words}'


def test_other_data_are_refused(tiny_config, tiny_run, tmp_path):
    """As many photographs of the same names, but other ones; the same ones in another place are fine."""
    write_photos(tmp_path / 'same')
    write_photos(tmp_path / 'other')
    from PIL import Image
    Image.fromarray(np.full((40, 48, 3), 7, np.uint8)).save(tmp_path / 'other' / 'train' / 'photo_03.png')
    run = shutil.copytree(tiny_run, tmp_path / 'run')
    for name, refused in (('other', True), ('same', False)):
        cfg = load_config(tiny_config, {'data_root': str(tmp_path / name), 'train_cfg.max_iters': 6})
        if refused:
            with pytest.raises(InputError, match='trained on other images or texts than this run has .fingerprint '
                                                 '[0-9a-f]{16}, now'):
                Runner.from_config(cfg, work_dir=str(run), resume=True)
        else:
            Runner.from_config(cfg, work_dir=str(run), resume=True)


def test_a_longer_run_continues_the_schedule(tiny_config, tmp_path):
    """A finished run of 6 iterations, resumed with 12: the rates are those of the schedule of 12, and weights move."""
    run = tmp_path / 'run'
    groups = dict(optim_wrapper__generator__optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.1),
                  val_dataloader=None)
    train(tiny_config, run, **groups)
    before = checkpoint.load(run)['state_dict']
    longer = dict(**groups, train_cfg__max_iters=12, param_scheduler__generator__total=12, hooks__log__interval=1)
    runner = train(tiny_config, run, resume=True, **longer)
    schedule, = runner.param_schedulers['generator']
    assert schedule.total == 12 and 'total=12' in (run / 'config.py').read_text().replace(' ', '')
    rows = {row['iteration']: row for row in history(run) if row['iteration'] > 6}
    for done, row in rows.items():
        assert row['generator_lr'] == pytest.approx(1e-3 * schedule.factor(done - 1),
                                                    rel=1e-6) and row['generator_lr'] > 0
        assert row['generator_base_lr'] == row['generator_lr']  # also in the first row
    after = checkpoint.load(run)['state_dict']
    assert any(not torch.equal(before[k], after[k]) for k in before if 'decoder' in k)
    logged = next(iter(sorted(run.glob('*/*.log'), key=os.path.getmtime)[-1:])).read_text()
    assert f'lr {rows[7]["generator_lr"]:.2e}' in logged


def test_evaluation_does_not_move_the_random_state(tiny_config, tmp_path):
    """A run that evaluates twice on its way ends like one that does not, whatever evaluation draws."""
    ends = []
    for interval in (0, 2):
        runner = Runner.from_config(load_config(tiny_config, {'train_cfg.val_interval': interval,
                                                              'hooks.images': None}),
                                    work_dir=str(tmp_path / str(interval)))
        predict = runner.task.predict
        runner.task.predict = lambda batch, predict=predict: (torch.rand(3), np.random.rand(), predict(batch))[-1]
        runner.train()
        state = checkpoint.load(tmp_path / str(interval))
        ends.append({k: state[k] for k in ('state_dict', 'random')})
    same(*ends)


def test_ctrl_c_saves(tiny_config, tmp_path):
    """Also before the first checkpoint of the interval."""
    options = ['hooks.checkpoint.interval=500', 'train_cfg.max_iters=500', 'param_scheduler.generator.total=500',
               'hooks.log.interval=1', 'hooks.images=None']
    child = fork_child(['tools/train.py', tiny_config, '--work-dir', tmp_path / 'run', '--cfg-options', *options],
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    path = tmp_path / 'run' / 'history.jsonl'
    while child.poll() is None and not (path.exists() and path.read_text().count('\n') > 1):
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    said = child.communicate(timeout=60)[1]
    done = checkpoint.load(tmp_path / 'run')['iteration']
    assert child.returncode == 130 and 1 < done < 500
    assert 'Ctrl-C: the run saves its state after this iteration' in said and '--resume' in said, said


def test_ctrl_c_in_the_last_step(tiny_config, tmp_path):
    """No step follows in which the ranks could agree: the run ends all the same, saved, and is not evaluated."""
    runner = Runner.from_config(load_config(tiny_config, {'hooks.images': None}), work_dir=str(tmp_path / 'run'))
    step = runner.task.train_step

    def interrupted(*args, **kwargs):
        if int(runner.task.iteration) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*args, **kwargs)
    runner.task.train_step = interrupted
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert checkpoint.load(tmp_path / 'run')['iteration'] == 6 and not (tmp_path / 'run' / 'metrics.json').exists()
