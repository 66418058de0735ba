"""A run that is interrupted and resumed ends as if nothing had happened; checkpoints are whole or not there."""
import json
import os
import signal
import subprocess
import time

import pytest
import torch

import dtbox
from dtbox.config import load_config, set_option
from dtbox.errors import Stopped
from dtbox.training import checkpoint
from dtbox.training.runner import Runner
from tests.child_processes import fork_child

OPTIONS = {'batch_size': 4, 'max_iters': 6, 'val_dataloader': None, 'gan.adversarial.start': 2,
           'hooks': dict(_delete_=True, log=dict(type='Log', interval=2),
                         checkpoint=dict(type='Checkpoint', interval=2))}


def config(**changes):
    cfg = load_config('configs/dualtoken_rq.py')
    for key, value in {**OPTIONS, **changes}.items():
        set_option(cfg, key, value)
    return cfg


def train(folder, resume=False, stop_after=None, **changes):
    runner = Runner.from_config(config(**changes), work_dir=str(folder), resume=resume)
    if stop_after is not None:
        step = runner.model.train_step

        def stopping(*args, **kwargs):
            if int(runner.model.iteration) == stop_after:
                raise KeyboardInterrupt
            return step(*args, **kwargs)
        runner.model.train_step = stopping
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    else:
        runner.train()
    return checkpoint.load(folder)


def same(a, b, path=''):
    """Bit-identical, all the way down."""
    assert type(a) is type(b), path
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b), path
    elif isinstance(a, dict):
        assert list(a) == list(b), path
        for key in a:
            same(a[key], b[key], f'{path}.{key}')
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b)):
            same(x, y, f'{path}.{i}')
    else:
        assert a == b, path


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """The uninterrupted run."""
    return train(tmp_path_factory.mktemp('runs') / 'whole')


def test_resumed_run_is_bit_identical(whole, tmp_path):
    folder = tmp_path / 'cut'
    train(folder, stop_after=5)
    assert checkpoint.load(folder)['iteration'] == 4
    again = train(folder, resume=True)
    assert set(whole) == {'format', 'meta', 'state_dict', 'optimizer', 'param_schedulers', 'iteration',
                          'backward_passes', 'random'}
    assert any(k.startswith('discriminator.') for k in whole['state_dict'])
    same(whole, again)
    rows = [json.loads(line) for line in open(folder / 'history.jsonl')]
    assert [r['iteration'] for r in rows] == [2, 4, 6]


def test_an_earlier_run_is_moved_aside(whole, tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    (folder / 'precious.txt').write_text('mine')
    train(folder, max_iters=1)
    assert (tmp_path / 'run.1' / 'precious.txt').read_text() == 'mine'
    assert (folder / 'checkpoint.pth').is_file()


def test_a_folder_that_another_run_uses_is_refused(whole, tmp_path):
    from dtbox.locks import Locked
    folder = tmp_path / 'run'
    train(folder, max_iters=1)
    with Locked(str(folder / '.running'), 'the run'):
        for resume in (False, True):
            with pytest.raises(dtbox.InputError, match=rf'another run \(pid {os.getpid()}\) uses the folder .*run. '
                                                       r'Wait .* another --work-dir'):
                train(folder, resume=resume, max_iters=1)
    assert not (tmp_path / 'run.1').exists()
    train(folder, max_iters=1)  # it is free again
    assert (tmp_path / 'run.1').exists()


def test_resume_refuses_another_run(whole, tmp_path):
    folder = tmp_path / 'run'
    train(folder, max_iters=2)
    with pytest.raises(dtbox.InputError, match='trained with 4 samples a batch, this run has 2'):
        Runner.from_config(config(batch_size=2), work_dir=str(folder), resume=True).train()


def test_half_written_checkpoint_replaces_nothing(tmp_path, monkeypatch):
    path = tmp_path / 'checkpoint.pth'
    checkpoint.save(dict(state_dict={'a': torch.ones(3)}), path)

    def torn(obj, file, real=torch.save):
        file.write(b'half')
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(torch, 'save', torn)
    with pytest.raises(OSError):
        checkpoint.save(dict(state_dict={'a': torch.zeros(3)}), path)
    assert torch.equal(checkpoint.load(path)['state_dict']['a'], torch.ones(3))
    assert os.listdir(tmp_path) == ['checkpoint.pth']


@pytest.mark.parametrize('content, says', [(b'no zip at all', 'cannot be read'), (None, 'does not exist')])
def test_broken_checkpoints(tmp_path, content, says):
    if content:
        (tmp_path / 'checkpoint.pth').write_bytes(content)
    with pytest.raises(dtbox.InputError, match=says):
        checkpoint.load(tmp_path)


def test_foreign_checkpoint(tmp_path):
    torch.save({'model': {}}, tmp_path / 'x.pth')
    with pytest.raises(dtbox.InputError, match='not a checkpoint of dtbox'):
        checkpoint.load(tmp_path / 'x.pth')


def test_nan_stops_the_run_and_keeps_the_last_good_state(tmp_path):
    runner = Runner.from_config(config(), work_dir=str(tmp_path / 'run'))
    step = runner.model.train_step

    def poisoned(data, optim_wrapper):
        if int(runner.model.iteration) == 3:
            with torch.no_grad():
                runner.model.tokenizer.decoder.last_layer.fill_(float('nan'))
        return step(data, optim_wrapper)
    runner.model.train_step = poisoned
    with pytest.raises(dtbox.errors.Diverged, match=r'iteration 4, .*`l2` is nan.*checkpoint\.pth'):
        runner.train()
    kept = checkpoint.load(tmp_path / 'run')
    assert kept['iteration'] == 2
    assert all(torch.isfinite(v).all() for v in kept['state_dict'].values() if v.is_floating_point())


def test_killed_process_resumes(whole, tmp_path):
    """SIGKILL at a random moment, then `--resume` on the command line: the same end."""
    folder = tmp_path / 'run'
    options = ['batch_size=4', 'max_iters=6', 'val_dataloader=None', 'gan.adversarial.start=2', 'hooks.log.interval=2',
               'hooks.checkpoint.interval=2']
    command = ['tools/train.py', 'configs/dualtoken_rq.py', '--work-dir', folder, '--cfg-options', *options]
    env = dict(os.environ, OMP_NUM_THREADS=str(torch.get_num_threads()))
    process = fork_child(command, env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.time() + 90
    while not (folder / 'checkpoint.pth').is_file() and time.time() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (folder / 'checkpoint.pth').is_file()
    again = train(folder, resume=True)
    same(whole['state_dict'], again['state_dict'])
    same(whole['optimizer'], again['optimizer'])


def test_checkpoints_wait_for_accumulated_gradients(tmp_path):
    """Due after iterations 2 and 5, written after 3 and 6, as gradients of three make an update; also for a signal, and
    in step with skipped ones."""
    options = {'max_iters': 9, 'optim_wrapper.generator.accumulative_counts': 3, 'train_cfg.tolerate': 2,
               'gan.adversarial.start': 100,
               'hooks': dict(_delete_=True, checkpoint=dict(type='Checkpoint', interval=5, keep_every=2))}
    whole = train(tmp_path / 'whole', **options)
    assert sorted(p.name for p in (tmp_path / 'whole').glob('checkpoint*')) == [f'checkpoint{n}.pth'
                                                                                for n in ('', '_3', '_6', '_9')]

    runner = Runner.from_config(config(**options), work_dir=str(tmp_path / 'cut'))
    step, seen = runner.model.train_step, []

    def stopping(*args, **kwargs):
        seen.append(int(runner.model.iteration))
        runner.model.stop_wanted = seen[-1] >= 4
        return step(*args, **kwargs)
    runner.model.train_step = stopping
    with pytest.raises(Stopped, match='the state of iteration 6 is saved'):
        runner.train()
    state = checkpoint.load(tmp_path / 'cut')
    assert state['iteration'] == 6 and state['backward_passes'] == dict(generator=6, discriminator=0)
    same(whole['state_dict'], train(tmp_path / 'cut', resume=True, **options)['state_dict'])

    state['backward_passes']['generator'] = 5  # as after a skipped iteration
    checkpoint.save(state, str(tmp_path / 'cut' / 'checkpoint.pth'))
    runner = Runner.from_config(config(**options), work_dir=str(tmp_path / 'cut'), resume=True)
    update, at = runner.optim_wrapper['generator'].optimizer.step, []
    runner.optim_wrapper['generator'].optimizer.step = lambda: (at.append(runner.iter_done), update())
    runner.train()
    assert at == [6]  # after the seventh: the sixth backward pass


def test_a_checkpoint_before_an_evaluation(tiny_config, tmp_path):
    cfg = load_config(tiny_config, {'train_cfg.val_interval': 2, 'train_cfg.max_iters': 3,
                                    'hooks': dict(_delete_=True, checkpoint=dict(type='Checkpoint', interval=100))})
    runner = Runner.from_config(cfg, work_dir=str(tmp_path / 'run'))

    def killed():
        raise KeyboardInterrupt
    runner.val_loop.run = killed
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert checkpoint.load(tmp_path / 'run')['iteration'] == 2


def test_a_signal_in_the_last_evaluation(tiny_config, tmp_path):
    """It ends before the next batch, with the state saved; the same command again evaluates."""
    cfg = load_config(tiny_config, {'train_cfg.max_iters': 1, 'val_dataloader.batch_size': 1})
    runner = Runner.from_config(cfg, work_dir=str(tmp_path / 'run'))
    predict, seen = runner.task.predict, []

    def interrupted(batch):
        seen.append(len(batch))
        os.kill(os.getpid(), signal.SIGTERM)
        return predict(batch)
    runner.task.predict = interrupted
    with pytest.raises(Stopped, match='the state of iteration 1 is saved'):
        runner.train()
    assert seen == [1] and checkpoint.load(tmp_path / 'run')['iteration'] == 1
    assert not (tmp_path / 'run' / 'metrics.json').exists()
    Runner.from_config(cfg, work_dir=str(tmp_path / 'run'), resume=True).train()
    assert (tmp_path / 'run' / 'metrics.json').exists()


def test_gradient_accumulation_equals_one_batch(tmp_path):
    """Two micro-batches of 2 make the update of one batch of 4: weights and codebooks."""
    def run(accumulate, batch):
        cfg = config(max_iters=1)
        set_option(cfg, 'optim_wrapper.generator.accumulative_counts', accumulate)
        from dtbox.config import resolve
        from dtbox.training.build import build_parts
        parts = build_parts(resolve(cfg), seed=0)
        model, optim = parts['model'], parts['optim']
        model.init_weights()
        model.train()
        data = next(iter(parts['train']))
        optim['generator'].initialize_count_status(model, 0, accumulate)
        for part in torch.arange(4).split(batch):
            from dtbox.structures import take
            model.train_step(take(data, part, 4), optim)
        return model.state_dict()
    one, two = run(1, 4), run(2, 2)
    for key in one:
        if key.startswith('tokenizer') and one[key].is_floating_point():
            # Adam's first step is lr * sign(gradient) wherever the gradient is not tiny, so compare what the step is
            # made of
            assert (one[key] - two[key]).abs().max() < 2.5e-3, key
        if '.quantizer.' in key and one[key].is_floating_point():
            assert torch.allclose(one[key], two[key], atol=1e-5), key
