"""What comes late in a run is exercised on two images before the run folder is touched, and leaves no trace."""
import os

import pytest
import torch
from mmengine.hooks import Hook
from torch import nn

from dtbox.config import load_config, resolve, set_option
from dtbox.decoders.light import LightCNNDecoder
from dtbox.errors import InputError
from dtbox.evaluation import Metric, MetricInfo
from dtbox.training import startup
from dtbox.training.checkpoint import get_random_state
from dtbox.training.rehearsal import choose_training_places, divide_places, rehearse_evaluation, rehearse_training
from dtbox.training.runner import Runner


class Divides(Metric):
    """Fails once all is summed."""
    info = [MetricInfo('share', 'share')]

    def update(self, batch, outputs):
        self.add('sum', outputs.images.sum())

    def values(self):
        return dict(share=self.state['sum'] / {})


class Blind(nn.Module):
    """Takes images of one channel."""

    def __init__(self):
        super().__init__()
        self.net = nn.Conv2d(1, 1, 3)

    def forward(self, images):
        return self.net(images)


class Headless(LightCNNDecoder):
    """Names no last layer."""
    last_layer = None


class Watcher(Hook):
    """Asks a task for what it does not have."""

    def rehearse(self, task, batch):
        return task.no_such_thing


def change(config, options):
    """Return the tiny recipe with parts that are classes."""
    cfg = load_config(config)
    for key, value in options.items():
        set_option(cfg, key, value)
    return cfg


@pytest.mark.parametrize('options, says', [
    ({'val_evaluator.mine': dict(type=Divides)},
     r'^val_evaluator\.mine: the metric fails on two images: TypeError: .* \(test_rehearsal\.py, line \d+\)\.$'),
    ({'gan.discriminator': dict(type=Blind, _delete_=True), 'gan.adversarial.start': 5},
     '^a training step on two images fails: RuntimeError: .*channels'),
    ({'model.tokenizer.decoder.type': Headless}, '^a training step on two images fails: '),
    ({'hooks.mine': dict(type=Watcher)},
     r'^hooks\.mine: the hook fails on two images: AttributeError: .*no_such_thing'),
    ({'gan.adversarial.start': 5, 'gan.adversarial.against': ['l1']}, '`l1`, which the criterion does not have'),
    ({'train_dataloader.dataset.pipeline': [dict(type='RandomResizedCrop', size=32)]},
     r'^train_dataloader\.dataset: '),
    ({'val_dataloader.dataset.pipeline': [dict(type='ResizeCrop', size=16), dict(type='PackImage')]},
     'an evaluation of two images fails|images have the shape'),
    ({'model.losses.pixels.weight': 0.0, 'gan': None}, 'get no gradient: .*Freeze them')])
def test_late_faults_are_told_early(options, says, tiny_config, tmp_path):
    """A metric, a discriminator that begins late, a decoder's last layer, a hook, the data, a loss that trains
    nothing."""
    with pytest.raises(InputError, match=says):
        Runner.from_config(change(tiny_config, options), work_dir=str(tmp_path / 'run'))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('args, says', [
    (dict(type='LBFGS', lr=0.1), '`LBFGS` cannot take a step'), (dict(type='AdamW', lr='abc'), "`lr` is 'abc'"),
    (dict(type='AdamW', lr=1e-3, amsgrad='no'), "`amsgrad` is 'no'; expected True or False")])
def test_optimizers_take_a_step(args, says, tiny_config, tmp_path):
    """One that needs a closure fails in the first iteration: it moves a weight of its own before."""
    with pytest.raises(InputError, match=f'^optim_wrapper.generator.optimizer.*{says}'):
        Runner.from_config(change(tiny_config, {'optim_wrapper.generator.optimizer': dict(_delete_=True, **args)}),
                           work_dir=str(tmp_path / 'run'))
    assert os.listdir(tmp_path) == []


def test_no_trace(tiny_config, tmp_path):
    """Weights, buffers, gradients, attributes, the teacher's cache and random states are as before."""
    cache = tmp_path / 'cache'
    cfg = resolve(change(tiny_config, {
        'model.teacher.cache': str(cache), 'hooks.conflict': dict(type='GradientConflict'),
        'quantizer.codebook': dict(type='EMACodebook', start=dict(type='KMeansStart'))}))
    built = startup.build_run(cfg, 0)
    task = built.parts['model']
    task.init_weights()

    def look():
        state = {k: v.clone() for k, v in task.state_dict().items()}
        return state, [(type(m), m.training, set(vars(m))) for m in task.all_modules], str(get_random_state())
    before, calls = look(), []
    task.criterion.register_forward_hook(lambda *args: calls.append(int(task.iteration)))
    rehearse_training(task, built.parts['optim'], built.parts['train'], built.hooks, 6)
    rehearse_evaluation(task, built.parts['val'], built.parts['metrics'])
    after = look()
    assert calls[0] == 5 and before[1:] == after[1:]
    assert all(torch.equal(value, after[0][name]) for name, value in before[0].items())
    assert all(p.grad is None for p in task.parameters()) and not cache.exists()
    assert task.teacher.shared_trunk == 'unknown' and not task._checked
    assert all(not quantizer.book(0).pending for quantizer in task.quantizers.values())


@pytest.mark.parametrize('places, chosen', [
    ([4, 1, 5], [4, 1, 9]),           # of the first, the second and the third dataset; the third has none in the batch
    ([104, 103, 110], [104, 103, 110]),  # of another epoch
    ([12, 11, 10, 13], [12, 0, 4])])
def test_every_dataset_of_a_mixture_takes_part(places, chosen):
    """Three datasets of 4, 5 and 11 samples: the first place of each in a batch, else its first sample."""
    mixture = type('Mixture', (list,), dict(boundaries=[4, 9]))(range(20))
    assert sorted(choose_training_places(mixture, places)) == sorted(chosen)
    assert choose_training_places(list(range(20)), places) == places[:2]


def test_places_by_dataset():
    mixture = type('Mixture', (list,), dict(boundaries=[4, 9]))(range(20))
    assert divide_places(mixture, [0, 3, 9, 19, 10]) == [[0, 3], [9, 19, 10]]
    assert divide_places([1, 2, 3], [2, 0]) == [[2, 0]] and divide_places(mixture, []) == [[]]
