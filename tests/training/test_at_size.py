"""What training at size adds: an average of the weights, compiled parts, a teacher that shares the trunk or remembers,
sharded runs, signals."""
import os
import signal
import socket
import subprocess
import time

import pytest
import torch

from dtbox.config import load_config, resolve
from dtbox.errors import InputError
from dtbox.registry import MODELS
from dtbox.rows import read_rows
from dtbox.structures import Batch
from dtbox.testing.rank_group import SHARED
from dtbox.training import checkpoint
from dtbox.training.compiling import compile_task
from dtbox.training.ema import WeightEMA
from dtbox.training.optim import build_optim_wrappers
from dtbox.training.runner import Runner
from dtbox.training.teacher.cache import TeacherCache
from tests.child_processes import fork_child

QUIET = {'val_dataloader': None, 'hooks': dict(_delete_=True, log=dict(type='Log', interval=2),
                                               checkpoint=dict(type='Checkpoint', interval=2))}
FREEZE = ['encoders.trunk.trunk.patch_embed.*', 'encoders.trunk.trunk.pos_embed', 'encoders.trunk.trunk.blocks.[01].*']


def run(config, folder, resume=False, **options):
    runner = Runner.from_config(load_config(config, {**QUIET, **options}), work_dir=str(folder), resume=resume)
    runner.train()
    return runner


def same(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a), [k for k in a if not torch.equal(a[k], b[k])][:3]


def test_average_of_the_weights(tiny_config, tmp_path):
    """The checkpoint has the average, by hand here; a resumed run goes on with the weights that train, and ends as one
    that was not stopped."""
    ema = WeightEMA(0.5)
    line = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        line.weight.fill_(1.0)
    ema.attach(line)
    for value in (2.0, 3.0):
        with torch.no_grad():
            line.weight.fill_(value)
        ema.update()  # decays 1/10 and 2/11
    want = 2 / 11 * (0.1 * 1 + 0.9 * 2) + 9 / 11 * 3
    with ema.applied():
        assert line.weight.item() == pytest.approx(want)
    assert line.weight.item() == 3.0
    options = {'ema': dict(decay=0.9), 'train_cfg.max_iters': 4}
    runner = run(tiny_config, tmp_path / 'whole', **options)
    whole = checkpoint.load(tmp_path / 'whole')
    name = 'decoder.conv_out.weight'
    assert torch.equal(whole['ema']['raw'][name], runner.task.tokenizer.state_dict()[name])
    assert not torch.equal(whole['ema']['raw'][name],
                           whole['state_dict'][f'tokenizer.{name}']) and whole['ema']['steps'] == 4
    run(tiny_config, tmp_path / 'cut', **{**options, 'train_cfg.max_iters': 2})
    run(tiny_config, tmp_path / 'cut', True, **options)
    cut = checkpoint.load(tmp_path / 'cut')
    same(whole['state_dict'], cut['state_dict'])
    same(whole['ema']['raw'], cut['ema']['raw'])
    with pytest.raises(InputError, match="ema.decay: 0.9 then, 'not set' now"):
        run(tiny_config, tmp_path / 'cut', True, **{'train_cfg.max_iters': 6})
    with pytest.raises(InputError, match='`decay` is 2'):
        run(tiny_config, tmp_path / 'no', **{'ema': dict(decay=2)})


def model_of(config, **options):
    cfg = resolve(load_config(config, {'gan': None, **options}))
    torch.manual_seed(0)
    model = MODELS.build(cfg.model, where='model')
    optim = build_optim_wrappers(model.parts, cfg.optim_wrapper, model.optional_parts)
    model.init_weights()
    model.train()
    return model, optim


def steps(config, count=2, **options):
    """Train a few steps on fixed pictures: (logs of the last, the model)."""
    model, optim = model_of(config, **options)
    for i in range(count):
        images = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(i % 2),
                               dtype=torch.uint8)
        logs = model.train_step(Batch(images=images), optim)
    return {k: float(v) for k, v in logs.items()}, model


def test_a_teacher_that_shares_the_frozen_trunk(tiny_config):
    """The same numbers; frozen blocks run once a step and are in memory once."""
    frozen = {'optim_wrapper.generator.freeze': FREEZE}
    counts = {}
    for share in ('auto', False):
        model, optim = model_of(tiny_config, **frozen,
                                **{'model.teacher': dict(encoder='${encoder}', layer=2, trunk_sharing=share)})
        seen = []
        images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
        model.train_step(Batch(images=images), optim)
        for encoder in (model.teacher.encoder, model.tokenizer.encoders['trunk']):
            for block in encoder.trunk.blocks:
                block.register_forward_hook(lambda *_: seen.append(1))
        logs = model.train_step(Batch(images=images), optim)
        counts[share] = len(seen), {k: float(v) for k, v in logs.items()}, model
    assert counts['auto'][1] == counts[False][1]
    assert (counts['auto'][0], counts[False][0]) == (4, 6)  # three of the student's, and the last of the teacher's own
    assert counts['auto'][2].teacher.shared_trunk == ('trunk', 2)
    assert counts[False][2].teacher.shared_trunk == 'unknown'
    model = counts['auto'][2]
    pairs = zip(model.teacher.encoder.trunk.blocks, model.tokenizer.encoders['trunk'].trunk.blocks)
    assert [a.mlp.fc1.weight.data_ptr() == b.mlp.fc1.weight.data_ptr() for a, b in pairs] == [True, True, False]


def test_a_teacher_that_cannot_share(tiny_config):
    share = {'model.teacher': dict(encoder='${encoder}', layer=2, trunk_sharing=True)}
    with pytest.raises(InputError, match=r'model\.teacher\.trunk_sharing: `trunk_sharing` is True, but no layer'):
        steps(tiny_config, **share)
    assert steps(tiny_config)[1].teacher.shared_trunk is None  # nothing is frozen
    with pytest.raises(InputError, match="`trunk_sharing` is 'yes'"):
        steps(tiny_config, **{'model.teacher': dict(encoder='${encoder}', layer=2, trunk_sharing='yes')})


def test_a_teacher_that_remembers(tiny_config, tmp_path, monkeypatch):
    """What is read from disk is what the teacher said, in a second run as well; nothing is computed again."""
    plain = steps(tiny_config, 4)[0]
    cached = {'model.teacher': dict(encoder='${encoder}', layer=2, cache=str(tmp_path / 'cache'))}
    first, model = steps(tiny_config, 4, **cached)
    assert first == pytest.approx(plain, abs=1e-5) and (model.teacher.cache.hits, model.teacher.cache.misses) == (4, 4)
    monkeypatch.setattr('dtbox.training.teacher.Teacher.forward', None)
    second, model = steps(tiny_config, 4, **cached)
    assert second == pytest.approx(plain, abs=1e-5) and (model.teacher.cache.hits, model.teacher.cache.misses) == (8, 0)
    (tmp_path / 'file').write_text('x')
    for wrong, says in (((str(tmp_path / 'file'),), 'is a file'), ((str(tmp_path / 'new'), 'float16'),
                                                                   '`cache_dtype` is')):
        with pytest.raises(InputError, match=says):
            TeacherCache(*wrong)


def test_records_that_a_kill_cut_short_are_not_read(tiny_config, tmp_path):
    cached = {'model.teacher': dict(encoder='${encoder}', layer=2, cache=str(tmp_path / 'cache'),
                                    cache_dtype='bfloat16')}
    steps(tiny_config, 1, **cached)
    keys, = (tmp_path / 'cache').rglob('*.keys')
    keys.write_bytes(keys.read_bytes()[:25])  # the second of two keys is torn
    model = steps(tiny_config, 1, **cached)[1]
    assert (model.teacher.cache.hits, model.teacher.cache.misses) == (1, 1)
    data, = (p for p in (tmp_path / 'cache').rglob('*.data') if p.stem == keys.stem)
    data.write_bytes(b'')
    with pytest.raises(InputError, match='is shorter than its keys say'):
        steps(tiny_config, 1, **cached)


def test_compiled_parts(tiny_config, monkeypatch):
    """Blocks, decoder and discriminator are compiled under names that stay; what comes out is the same."""
    want = steps(tiny_config)[0]
    model, optim = model_of(tiny_config)
    names = list(model.state_dict())
    # three blocks each of trunk and teacher, and the decoder
    assert compile_task(model, dict(backend='aot_eager')) == 7
    for i in range(2):
        images = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(i), dtype=torch.uint8)
        logs = model.train_step(Batch(images=images), optim)
    assert {k: float(v) for k, v in logs.items()} == pytest.approx(want, abs=1e-4) and list(model.state_dict()) == names
    with pytest.raises(InputError, match='compile: torch.compile does not work here'):
        compile_task(model, dict(backend='no_such_backend'))


def test_a_compiled_run(tiny_config, tmp_path):
    """Through the Runner, discriminator included: the terms of an ordinary run, and a checkpoint with the same
    names."""
    rows = []
    for name, options in (('plain', {}), ('compiled', dict(compile=dict(backend='aot_eager')))):
        run(tiny_config, tmp_path / name, **options)
        rows.append([{k: v for k, v in row.items() if k != 'seconds'}
                     for row in read_rows(tmp_path / name / 'history.jsonl')])
    for plain, compiled in zip(*rows, strict=True):
        assert compiled == pytest.approx(plain, rel=1e-3, abs=1e-3)
    assert 'adaptive_weight' in rows[1][-1]
    states = [checkpoint.load(tmp_path / name)['state_dict'] for name in ('plain', 'compiled')]
    assert list(states[0]) == list(states[1])


def sharded(rank, world, config, folder, iterations, resume, options):
    """Train on ranks; returns the weights (of rank 0) and why a start was refused."""
    try:
        own = options[rank] if isinstance(options, list) else options
        cfg = load_config(config, {**QUIET, 'train_cfg.max_iters': iterations, **own})
        runner = Runner.from_config(cfg, work_dir=folder, resume=resume, launcher='pytorch')
        runner.train()
    except InputError as e:
        return str(e)
    return 'done'


def test_sharded_then_whole(tiny_config, tmp_path):
    """FSDP2 with the discriminator, evaluated, drawn and saved by two ranks, goes on in one process: the same end as
    one process all along."""
    # one form of Adam for all: rounding grows a thousandfold in six steps
    fine = {f'optim_wrapper.{side}.optimizer': dict(type='Adam', lr=1e-3, eps=1e-3, fused=False)
            for side in ('generator', 'discriminator')}
    heldout = dict(type='ImageFolder', data_root='${data_root}', split='heldout',
                   pipeline=[dict(type='ResizeCrop', size=32), dict(type='PackImage')])
    fsdp = {'model_wrapper_cfg': dict(type='FSDP2'), 'train_dataloader.batch_size': 2,
            'val_dataloader': dict(batch_size=4, dataset=heldout), 'hooks.images': dict(type='Images', interval=3),
            **fine}
    assert SHARED.run(sharded, str(tiny_config), str(tmp_path / 'run'), 4, False, fsdp) == ['done', 'done']
    drawn = {path.relative_to(tmp_path / 'run').as_posix() for path in (tmp_path / 'run').rglob('*.png')}
    assert {'images/iter_000003.png', 'reconstructions.png', 'heldout.png'} <= drawn
    state = checkpoint.load(tmp_path / 'run')
    assert state['meta']['world_size'] == 2 and all(type(v) is torch.Tensor for v in state['state_dict'].values())
    fine['train_cfg.max_iters'] = 6
    run(tiny_config, tmp_path / 'run', True, **{**fine, 'train_dataloader.batch_size': 2})
    again = checkpoint.load(tmp_path / 'run')
    assert again['meta']['world_size'] == 1 and again['meta']['batch_size'] == 4  # the global batch stays
    # the same command again
    run(tiny_config, tmp_path / 'run', True, **{**fine, 'train_dataloader.batch_size': 2, 'train_cfg.max_iters': 6})
    again = checkpoint.load(tmp_path / 'run')
    assert again['meta']['batch_size'] == 4 and again['meta']['configured_batch'] == 2
    run(tiny_config, tmp_path / 'whole', **fine)
    whole = checkpoint.load(tmp_path / 'whole')
    for name, value in whole['state_dict'].items():
        # 5e-4 is half of a step of Adam at this rate; kernels of AVX2 differ by 2e-4
        assert torch.allclose(again['state_dict'][name].double(), value.double(), rtol=1e-3, atol=5e-4), name
    logs = [(tmp_path / 'run' / p).read_text() for p in (tmp_path / 'run').rglob('*.log')]
    assert any('written by 2 ranks, with 1' in log for log in logs)


def fused(rank, world, config, folder, options):
    """What a rank does: train, and say which form the optimizers have."""
    optims = run(config, folder, **options).optim_wrapper
    return {name: sorted({str(group['fused']) for group in optim.optimizer.param_groups})
            for name, optim in optims.items()}


def test_fused_steps_of_shards(tiny_config, tmp_path):
    """Fused Adam on shards: the step of one process."""
    adam = {f'optim_wrapper.{side}.optimizer': dict(type='Adam', lr=1e-3, eps=1e-3)
            for side in ('generator', 'discriminator')}
    options = {'train_cfg.max_iters': 1, 'gan.adversarial.start': 0, **adam}
    sharded = {'model_wrapper_cfg': dict(type='FSDP2'), 'train_dataloader.batch_size': 2, **options}
    assert SHARED.run(fused, str(tiny_config), str(tmp_path / 'ranks'), sharded)[0] == dict(generator=['True'],
                                                                                            discriminator=['True'])
    run(tiny_config, tmp_path / 'one', **options)
    ends = [checkpoint.load(tmp_path / name)['state_dict'] for name in ('ranks', 'one')]
    for name, value in ends[1].items():
        assert torch.allclose(ends[0][name].double(), value.double(), rtol=1e-4, atol=1e-5), name


def test_what_ranks_cannot_do(tiny_config, tmp_path):
    learned = {'model_wrapper_cfg': dict(type='FSDP2'), 'quantizer.codebook': dict(type='GradientCodebook'),
               'model.losses.commitment': dict(type='QuantizerLoss')}
    assert all('is learned by gradient' in said
               for said in SHARED.run(sharded, str(tiny_config), str(tmp_path / 'a'), 2, False, learned))
    meter = {'model_wrapper_cfg': dict(type='FSDP2'),
             'hooks': dict(_delete_=True, gradient_conflict=dict(type='GradientConflict'))}
    assert all('cannot be measured where FSDP2' in said
               for said in SHARED.run(sharded, str(tiny_config), str(tmp_path / 'm'), 2, False, meter))
    published = {'train_dataloader.last': 'smaller', 'quantizer.official': True, 'quantizer.variant': 'rq'}
    assert all("Take last='drop' or 'carry'" in said
               for said in SHARED.run(sharded, str(tiny_config), str(tmp_path / 'o'), 2, False, published))
    odd = {'train_dataloader.global_batch_size': 5}
    said = SHARED.run(sharded, str(tiny_config), str(tmp_path / 'b'), 2, False, odd)
    assert all('of 5 cannot be divided among 2 ranks. Start 1 or 5 of them' in s for s in said)
    with pytest.raises(InputError, match='shards a model over ranks, and there is one only'):
        run(tiny_config, tmp_path / 'c', **{'model_wrapper_cfg': dict(type='FSDP2')})
    with pytest.raises(InputError, match='compile: torch.compile does not work here'):
        run(tiny_config, tmp_path / 'c', compile=dict(backend='no_such_backend'))
    with pytest.raises(InputError, match='Did you mean `FSDP2`'):
        run(tiny_config, tmp_path / 'c', **{'model_wrapper_cfg': dict(type='FSDP')})
    assert not (tmp_path / 'c').exists()  # a start that is refused touches nothing


def full_disk(rank, world, config, folder):
    """Train until the second checkpoint, for which rank 0 finds no room."""
    runner = Runner.from_config(load_config(config, QUIET), work_dir=folder, launcher='pytorch')
    save, seen = torch.save, []

    def torn(state, file, **options):
        if isinstance(state, dict) and 'state_dict' in state:  # and not something that ranks send each other
            seen.append(1)
            if len(seen) == 2:
                file.write(b'half')
                raise OSError(28, 'No space left on device')
        save(state, file, **options)
    torch.save = torn
    try:
        runner.train()
    except OSError as e:
        return e.errno
    finally:
        torch.save = save
    return 'done'


def test_a_full_disk_stops_all_ranks(tiny_config, tmp_path):
    assert SHARED.run(full_disk, str(tiny_config), str(tmp_path / 'run')) == [28, 28]
    assert checkpoint.load(tmp_path / 'run')['iteration'] == 2 and not list((tmp_path / 'run').glob('*.part*'))


def test_ranks_that_do_not_mean_the_same_run(tiny_config, tmp_path):
    """Another plugin version on one node, or another argument: every rank says what differs."""
    for rank in range(2):
        (tmp_path / str(rank)).mkdir()
        (tmp_path / str(rank) / 'mine.py').write_text(f'"""A plugin of this test."""\n__version__ = "1.{rank}"\n')
    options = [{'plugins': [str(tmp_path / str(rank) / 'mine.py')]} for rank in range(2)]
    said = SHARED.run(sharded, str(tiny_config), str(tmp_path / 'run'), 2, False, options)
    assert said[0] == said[1] and 'the plugin mine is hash' in said[0] and 'on rank 0 and hash' in said[0]
    said = SHARED.run(sharded, str(tiny_config), str(tmp_path / 'run'), 2, False, [{'seed': 0}, {'seed': 1}])
    assert 'do not mean the same run: the config is' in said[0] and not (tmp_path / 'run').exists()


def launch(config, folder, *options):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(2):
        env = dict(os.environ, SLURM_PROCID=str(rank), SLURM_NTASKS='2', SLURM_LOCALID=str(rank), SLURM_JOB_ID='7',
                   MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), GLOO_SOCKET_IFNAME='lo', OMP_NUM_THREADS='1')
        command = ['tools/train.py', config, '--launcher', 'slurm', '--work-dir', folder, '--cfg-options',
                   'train_cfg.max_iters=100000', 'val_dataloader=None', 'train_dataloader.batch_size=2', *options]
        children.append(fork_child(command, env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
    deadline = time.time() + 90
    while not (folder / 'checkpoint.pth').is_file() and time.time() < deadline and all(c.poll() is None
                                                                                       for c in children):
        time.sleep(0.05)
    return children


def test_a_signal_to_one_rank_stops_all_with_their_state_saved(tiny_config, tmp_path):
    children = launch(tiny_config, tmp_path / 'run', 'hooks.checkpoint.interval=5')
    children[1].send_signal(signal.SIGTERM)
    said = [child.communicate(timeout=60)[1] for child in children]
    assert [child.returncode for child in children] == [143, 143], said
    done = checkpoint.load(tmp_path / 'run')['iteration']
    assert all(f'stopped: a signal came; the state of iteration {done} is saved' in text for text in said)


def test_a_killed_rank_stops_the_other(tiny_config, tmp_path):
    children = launch(tiny_config, tmp_path / 'run', 'hooks.checkpoint.interval=5')
    children[0].kill()
    said = children[1].communicate(timeout=60)[1]
    children[0].communicate()
    assert children[1].returncode == 1
    assert 'stopped: another rank of this run has ended or does not answer' in said, said
    assert checkpoint.load(tmp_path / 'run')['iteration'] >= 5
