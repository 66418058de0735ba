"""Small versions of the configs of the published sizes, and ways to train them: killed, resumed to the same end,
evaluated; stage after stage."""
import json
import shutil
from pathlib import Path

import pytest
import torch

import dtbox
from dtbox.apis.evaluation import evaluate_run
from dtbox.config import load_config, resolve, set_option
from dtbox.errors import InputError
from dtbox.registry import MODELS
from dtbox.training import checkpoint
from dtbox.training.runner import Runner
from tests.format_data import imagenet
from tests.shard_data import write_set
from tests.training.test_resume import same

ONE = 'dualtoken_so400m_384_rq8'
WAYS = {
    'averaged': (ONE, {'ema': dict(decay=0.9), 'optim_wrapper.generator.accumulative_counts': 2, 'amp': 'bfloat16',
                       'model.tokenizer.attention': 'eager'}),
    'remembered': (f'{ONE}_stage0', {'model.teacher.cache': 'teacher', 'train_dataloader.last': 'smaller',
                                     'train_dataloader.batch_size': 4})}
"""Name -> (config, options): ways to train beside the plain ones."""
RUNS = {**{path.stem: (path.stem, {}) for path in sorted(Path('configs/paper').glob('*.py'))
           if not path.stem.startswith('mllm')}, **WAYS}
KILLED = ('averaged', 'remembered', f'{ONE}_stage2', 'vila_u_384', 'unitok_256', 'vqgan_f16')
"""Those of RUNS that are killed here, each kind of training once; tests/kill_runs.py kills every recipe."""


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch):
    """Figures take a sixth of the time here; tests/hooks/ looks at them."""
    monkeypatch.setattr('dtbox.hooks.codebook_health.draw_curves', lambda *args: None)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Data of both kinds, a perceptual network, and room for runs."""
    return write_data(tmp_path_factory.mktemp('paper'))


def write_data(root):
    """Write data of both kinds and a perceptual network below `root`; returns it."""
    import torchvision
    imagenet(root / 'imagenet')
    write_set(root / 'shards', [3, 3])
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), root / 'squeeze.pth')
    return root


def config(name, root):
    """The config of a run at its tiny size."""
    path, options = RUNS[name]
    cfg = load_config(f'configs/paper/{path}.py', tiny=True)
    for key, value in options.items():
        set_option(cfg, key, str(root / value) if key.endswith('cache') else value)
    if cfg.train_dataloader.dataset.type == 'ImageNet':
        set_option(cfg, 'data_root', str(root / 'imagenet'))
    else:
        set_option(cfg, 'shards', str(root / 'shards')), set_option(cfg, 'heldout', str(root / 'shards'))
    if cfg.model.losses.get('perceptual'):
        set_option(cfg, 'lpips', str(root / 'squeeze.pth')), set_option(cfg, 'model.losses.perceptual.net', 'squeeze')
    watch = dict(discriminator_health=dict(type='DiscriminatorHealth')) if cfg.get('gan') else {}
    set_option(cfg, 'hooks', dict(images=None, **watch))
    for name in ('log', 'codebook_health', 'checkpoint', *watch):
        set_option(cfg, f'hooks.{name}.interval', 2)
    for key, value in {'max_iters': 4, 'train_cfg.val_interval': 4}.items():
        set_option(cfg, key, value)
    if 'siglip' in cfg:
        set_option(cfg, 'siglip', towers(cfg, root / f'{path.partition("_stage")[0]}.pth'))
    return cfg


def towers(cfg, file):
    """Write random weights of a config's SigLIP in open_clip's layout, once; returns the file."""
    if not file.exists():
        torch.manual_seed(1)
        tokenizer = MODELS.build(resolve(cfg).model).tokenizer
        state = {f'visual.trunk.{k}': v for k, v in tokenizer.encoders['trunk'].trunk.state_dict().items()}
        if tokenizer.text is not None:
            state.update({f'text.{k}': v for k, v in tokenizer.text.tower.state_dict().items()})
            state.update({k: getattr(tokenizer.text, k).detach() for k in ('logit_scale', 'logit_bias')})
        torch.save(state, file)
    return str(file)


def train(name, root, run, resume=False, copy_to=None):
    """Train a run. Its folder is copied to `copy_to` in the middle of iteration 4: what SIGKILL would leave there."""
    runner = Runner.from_config(config(name, root), work_dir=str(run), resume=resume)
    step = runner.task.train_step

    def copied(*args, **kwargs):
        if int(runner.task.iteration) == 3 and copy_to is not None:
            shutil.copytree(run, copy_to)
        return step(*args, **kwargs)
    runner.task.train_step = copied
    runner.train()


@pytest.mark.parametrize('name', KILLED)
def test_killed_resumed_evaluated(name, folder):
    """A run that ended in its fourth iteration resumes from the second to the same end, and evaluates to it."""
    whole, cut = folder / f'{name}_whole', folder / f'{name}_cut'
    train(name, folder, whole, copy_to=cut)
    assert checkpoint.load(cut)['iteration'] == 2
    train(name, folder, cut, resume=True)
    ends = checkpoint.load(whole), checkpoint.load(cut)
    assert ends[0]['iteration'] == 4
    for part in ('state_dict', 'optimizer', 'param_schedulers', *(['ema'] if name == 'averaged' else [])):
        same(ends[0][part], ends[1][part], part)
    scores = [json.loads((run / 'metrics.json').read_text()) for run in (whole, cut)]
    again = json.loads(json.dumps(evaluate_run(cut).to_dict()))
    assert scores[0] == scores[1] == {k: v for k, v in again.items() if k != 'evaluation'}
    assert [json.loads(line)['iteration'] for line in (cut / 'codebooks.jsonl').read_text().splitlines()] == [2, 4]
    tokenizer = dtbox.load(cut)
    assert tokenizer.encode(torch.zeros(1, 3, *tokenizer.image_size))


def stage(name, root, before):
    cfg = config(name, root)
    for key, value in {'load_from': str(before), 'max_iters': 1, 'val_dataloader': None}.items():
        set_option(cfg, key, value)
    runner = Runner.from_config(cfg, work_dir=str(root / f'after_{name}'))
    return runner, (root / f'after_{name}').rglob('*.log')


@pytest.fixture
def stage0(folder):
    """A run of stage 0."""
    if not (folder / 'remembered_whole').exists():
        train('remembered', folder, folder / 'remembered_whole')
    return folder / 'remembered_whole'


def test_stage_after_stage(folder, stage0):
    """The tokenizer of a stage starts from that before, its discriminator where there was one; iterations, and what
    begins with them, from 0."""
    before = stage0
    for name, says in (
        (ONE, 'has no discriminator, a new one is trained'),
        (ONE, None),
        (f'{ONE}_stage2', 'its discriminator is left out'),
    ):
        runner, logs = stage(name, folder, before)
        said = ' '.join(path.read_text() for path in logs)
        assert f'Starting from {before}, iteration ' in said and (says is None or says in said)
        state, own = checkpoint.load(before)['state_dict'], runner.task.state_dict()
        for key, value in state.items():
            if key in own and key != 'iteration':
                assert torch.equal(own[key], value), key
        assert int(runner.task.iteration) == 0 and any(k.startswith('tokenizer.') for k in state)
        runner.train()
        before = (folder / f'after_{name}').rename(folder / f'{name}_{len(list(folder.iterdir()))}')


def test_a_converted_checkpoint_starts_a_run(folder, stage0, tmp_path):
    """Weights alone, as the converters write them; another model's are refused before anything is written."""
    state = {k: v for k, v in checkpoint.load(stage0)['state_dict'].items() if k.startswith('tokenizer.')}
    checkpoint.save(dict(meta=dict(converted=True), state_dict=state), str(tmp_path / 'converted.pth'))
    runner, _ = stage(ONE, folder, tmp_path / 'converted.pth')
    assert torch.equal(runner.task.state_dict()['tokenizer.decoder.decoder.conv_out.weight'],
                       state['tokenizer.decoder.decoder.conv_out.weight'])
    state.pop('tokenizer.decoder.decoder.conv_out.weight')
    checkpoint.save(dict(meta=dict(converted=True), state_dict=state), str(tmp_path / 'less.pth'))
    cfg = config(ONE, folder)
    set_option(cfg, 'load_from', str(tmp_path / 'less.pth'))
    with pytest.raises(InputError, match='1 missing: tokenizer.decoder.decoder.conv_out.weight'):
        Runner.from_config(cfg, work_dir=str(tmp_path / 'run'))
    assert not (tmp_path / 'run').exists()
