"""A second, tiny task (`linear_task.py`) goes through the whole Runner, which names no tokenizer."""
import json
import signal
from pathlib import Path

import pytest
import torch

from dtbox.config import load_config
from dtbox.errors import InputError
from dtbox.testing.rank_group import SHARED
from dtbox.training import checkpoint
from dtbox.training.runner import Runner
from tests.child_processes import run_fork
from tests.training.test_resume import same

PLUGIN = Path(__file__).with_name('linear_task.py')
CONFIG = f'''
plugins = [{str(PLUGIN)!r}]
model = dict(type='LinearTask', classes=4, size=8)
train_dataloader = dict(batch_size=4, dataset=dict(type='RandomImages', count=26))
val_dataloader = dict(batch_size=5, dataset=dict(type='RandomImages', count=11, split='heldout'))
val_evaluator = dict(accuracy=dict(type='Accuracy'))
optim_wrapper = dict(classifier=dict(optimizer=dict(type='AdamW', lr=0.01)))
param_scheduler = dict(classifier=dict(type='WarmupCosineLR', total=16))
train_cfg = dict(max_iters=16)
ema = dict(decay=0.5)
hooks = dict(log=dict(type='Log', interval=4), checkpoint=dict(type='Checkpoint', interval=4),
             results=dict(type='Results'), images=dict(type='Images', interval=0), kill=dict(type='KillAt', at=0))
seed = 0
'''


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """Path of the task's config."""
    path = tmp_path_factory.mktemp('linear') / 'linear.py'
    path.write_text(CONFIG)
    return path


def train(config, folder, resume=False, launcher='none', **options):
    cfg = load_config(config, {k.replace('__', '.'): v for k, v in options.items()})
    runner = Runner.from_config(cfg, work_dir=str(folder), resume=resume, launcher=launcher)
    runner.train()
    return runner


@pytest.fixture(scope='module')
def whole(config):
    """The folder of an uninterrupted run."""
    train(config, config.parent / 'whole')
    return config.parent / 'whole'


def read_scores(folder):
    return json.loads((folder / 'metrics.json').read_text())['heldout']


def test_it_learns_and_is_evaluated(whole):
    """Right above three of four held-out images, and what a run leaves is there; images of reconstructions are not."""
    assert read_scores(whole)['accuracy'] > 0.75
    names = {p.name for p in whole.iterdir()}
    assert {'checkpoint.pth', 'config.py', 'history.jsonl', 'metrics.json', 'losses.png'} <= names
    assert 'reconstructions.png' not in names
    assert 'No images of reconstructions' not in next(whole.rglob('*.log')).read_text()


def test_its_checkpoint(whole):
    """The names are those of the task; the average of the weights is that of its first part."""
    state = checkpoint.load(whole)
    assert list(state['state_dict']) == ['iteration', 'classifier.2.weight', 'classifier.2.bias']
    assert list(state['ema']['raw']) == ['2.weight', '2.bias'] and state['ema']['steps'] == 16
    assert not torch.equal(state['ema']['raw']['2.weight'], state['state_dict']['classifier.2.weight'])
    assert list(state['optimizer']) == ['classifier'] and 'teacher' not in state['meta']


def test_killed_and_resumed_bit_for_bit(whole, config, tmp_path):
    """SIGKILL after iteration 10, two iterations after a checkpoint; dropout, noise of the data and EMA continue."""
    folder = tmp_path / 'run'
    done = run_fork(['tools/train.py', config, '--work-dir', folder, '--cfg-options', 'hooks.kill.at=10'])
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert checkpoint.load(folder)['iteration'] == 8
    train(config, folder, resume=True)
    same(checkpoint.load(whole), checkpoint.load(folder))
    assert read_scores(folder) == read_scores(whole)


def train_on_ranks(rank, world, config, folder, options):
    """Train on a rank; returns the weights."""
    runner = train(config, folder, launcher='pytorch', **options)
    return dict(runner.task.state_dict())


@pytest.mark.parametrize('wrapper', [None, dict(type='FSDP2')])
def test_two_ranks(config, tmp_path, wrapper):
    """Halves of each batch, unequal ones at the end of an epoch (26 = 6 x 4 + 2 samples): the run of one rank."""
    options = dict(model__dropout=0.0, train_dataloader__last='smaller',
                   optim_wrapper__classifier__optimizer=dict(type='SGD', lr=0.1))
    train(config, tmp_path / 'one', **options)
    shared = dict(options, train_dataloader__batch_size=2, model_wrapper_cfg=wrapper)
    SHARED.run(train_on_ranks, str(config), str(tmp_path / 'two'), shared)
    one, two = checkpoint.load(tmp_path / 'one'), checkpoint.load(tmp_path / 'two')
    assert two['meta']['world_size'] == 2 and list(one['state_dict']) == list(two['state_dict'])
    for part in ('state_dict', 'ema'):
        tensors = [state['ema']['raw'] if part == 'ema' else state[part] for state in (one, two)]
        for name, value in tensors[0].items():
            assert torch.allclose(value.double(), tensors[1][name].double(), rtol=1e-4, atol=1e-6), name
    assert read_scores(tmp_path / 'one') == read_scores(tmp_path / 'two')


def test_start_from_another_run(whole, config, tmp_path):
    """`load_from` takes the weights, and the iterations begin at 0."""
    runner = Runner.from_config(load_config(config, {'load_from': str(whole)}), work_dir=str(tmp_path / 'run'))
    assert int(runner.task.iteration) == 0
    assert torch.equal(runner.task.classifier[2].weight, checkpoint.load(whole)['state_dict']['classifier.2.weight'])


@pytest.mark.parametrize('options, says', [
    ({'optim_wrapper.decoder2': dict(optimizer=dict(type='SGD', lr=0.1))},
     'optim_wrapper: there is an optimizer for `decoder2`, which the model does not have. It has: classifier.'),
    ({'optim_wrapper.clasifier': dict(optimizer=dict(type='SGD', lr=0.1))}, 'Did you mean `classifier`?'),
    ({'param_scheduler.clasifier': dict(type='WarmupCosineLR', total=16)},
     'which has no optimizer. Did you mean `classifier`?'),
    ({'hooks.books': dict(type='CodebookHealth')}, 'hooks.books: the task has no codebooks to watch'),
    ({'hooks.gan': dict(type='DiscriminatorHealth')}, 'hooks.gan: the recipe has no discriminator to watch'),
    ({'hooks.pull': dict(type='GradientConflict')}, 'hooks.pull: the task has no terms of reconstruction and '
                                                    'semantics'),
    ({'model': dict(type='ImgDataPreprocessor')}, 'model: `ImgDataPreprocessor` is not a Task')])
def test_parts_that_the_task_does_not_have(config, tmp_path, options, says):
    """The start is refused before anything is written."""
    cfg = load_config(config)
    for key, value in options.items():
        *path, last = key.split('.')
        place = cfg
        for name in path:
            place = place[name]
        place[last] = value
    with pytest.raises(InputError) as caught:
        Runner.from_config(cfg, work_dir=str(tmp_path / 'run'))
    assert says in str(caught.value) and not (tmp_path / 'run').exists()


@pytest.mark.parametrize('gan', [dict(discriminator=None), dict(adversarial=None), 3])
def test_half_a_gan(gan, tiny_config, tmp_path):
    """Discriminator and adversarial loss come together."""
    with pytest.raises(InputError, match=r'^model\.gan: `gan` is .*expected (dict\(discriminator=\.\.\., '
                                         r'adversarial=\.\.\.\), or|a dict or) None'):
        Runner.from_config(load_config(tiny_config, {'gan': gan}), work_dir=str(tmp_path / 'run'))


def test_optimizer_of_an_absent_part(tiny_config, tmp_path):
    """A discriminator that the recipe leaves out takes its optimizer and its schedule along."""
    cfg = load_config(tiny_config, {'gan': None})
    cfg.param_scheduler.discriminator = dict(type='WarmupCosineLR', total=6)
    runner = Runner.from_config(cfg, work_dir=str(tmp_path / 'run'))
    assert list(runner.optim_wrapper.keys()) == ['generator'] and list(runner.param_schedulers) == ['generator']
