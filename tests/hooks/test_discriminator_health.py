"""The alarms of the discriminator: numbers that are handed in, and real trainings in which it wins and collapses."""
from types import SimpleNamespace

import pytest
import torch

from dtbox.config import load_config
from dtbox.errors import Diverged, InputError
from dtbox.hooks.discriminator_health import DiscriminatorHealth
from dtbox.training.runner import Runner


class Feed:
    """A runner's double that hands outputs to a hook."""

    def __init__(self, **options):
        self.hook = DiscriminatorHealth(interval=2, patience=2, **options)
        self.iter_done, self.said = 0, []
        self.hook.check(SimpleNamespace(discriminator_terms=('discriminator', 'logits_real', 'logits_fake')))
        self.logger = SimpleNamespace(warning=self.said.append)

    def __call__(self, hinge, real, fake, count=2):
        for _ in range(count):
            self.iter_done += 1
            values = zip(('discriminator', 'logits_real', 'logits_fake'), (hinge, real, fake))
            outputs = {} if hinge is None else {k: torch.tensor(v) for k, v in values}
            self.hook.after_train_iter(self, self.iter_done, outputs=outputs)
        return len(self.said)


def test_warned_once_until_it_recovers():
    feed = Feed()
    assert [feed(0.01, 3.0, -3.0), feed(0.01, 3.0, -3.0), feed(0.0, 3.0, -3.0)] == [0, 1, 1]
    assert 'has won since iteration 0: its term is 0.01, its mean logits are 3 for images and -3' in feed.said[0]
    assert [feed(0.5, 1.0, -1.0), feed(0.0, 3.0, -3.0), feed(0.0, 3.0, -3.0)] == [1, 1, 2]
    assert [feed(1.0, 0.1, 0.1), feed(1.0, 0.1, 0.1)] == [2, 3] and 'has collapsed' in feed.said[2]


def test_nothing_is_said_without_it():
    feed = Feed()
    assert feed(None, 0, 0, 20) == 0 and feed(0.5, 0.2, -0.2, 20) == 0
    with pytest.raises(Diverged, match='has won'):
        Feed(stop=True)(0.0, 3.0, -3.0, 4)


@pytest.mark.parametrize('zeroed, kind', [(False, 'won'), (True, 'collapsed')])
def test_real_trainings(zeroed, kind, tiny_config, tmp_path):
    cfg = load_config(tiny_config, {
        'train_cfg.max_iters': 60, 'val_dataloader': None, 'gan.adversarial.start': 0,
        'optim_wrapper.generator.optimizer.lr': 1e-6, 'optim_wrapper.discriminator.optimizer.lr': 1e-9 if zeroed
        else 3e-3, 'hooks': dict(_delete_=True, discriminator_health=dict(type='DiscriminatorHealth', interval=2,
                                                                          patience=2, won=0.2, stop=True))})
    runner = Runner.from_config(cfg, work_dir=str(tmp_path / 'run'))
    if zeroed:
        for parameter in runner.task.discriminator.parameters():
            parameter.data.zero_()
    with pytest.raises(Diverged, match=f'the discriminator has {kind}'):
        runner.train()


def test_what_it_refuses(tiny_config, tmp_path):
    for options, says in ((dict(interval=0), '`interval` is 0'), (dict(won=-1), '`won` is -1'), (dict(patience=True),
                                                                                                 '`patience` is True')):
        with pytest.raises(InputError, match=says):
            DiscriminatorHealth(**options)


def test_without_a_discriminator(tiny_config, tmp_path):
    """Where a recipe leaves the GAN out, its hook is left out, too."""
    cfg = load_config(tiny_config, {'gan': None, 'hooks.health': dict(type='DiscriminatorHealth')})
    runner = Runner.from_config(cfg, work_dir=str(tmp_path / 'run'))
    assert not any(isinstance(hook, DiscriminatorHealth) for hook in runner.hooks)
