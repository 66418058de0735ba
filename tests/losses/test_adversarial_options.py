"""What an adversarial loss may add: non-saturating terms, augmentation, a second view, LeCam regularisation."""
import math

import pytest
import torch

from dtbox.discriminators.patch import PatchDiscriminator
from dtbox.errors import InputError
from dtbox.losses.adversarial import MEANS, AdversarialLoss, lecam, non_saturating
from dtbox.registry import AUGMENTATIONS
from dtbox.training.tokenizer_objective import _differentiate_generator

REAL, FAKE = torch.tensor([2.0, 0.0]), torch.tensor([-3.0, 1.0])


@AUGMENTATIONS.register_module(force=True)
class _Ages:
    """Adds the age that it is told, times `step`."""

    def __init__(self, step=1.0):
        self.step = step

    def __call__(self, images, age=0):
        return images + self.step * age


def test_non_saturating_by_hand():
    """softplus(x) = log(1 + e^x); half of both sides for the discriminator, one for the generator."""
    real = (math.log1p(math.exp(-2)) + math.log(2)) / 2
    fake = (math.log1p(math.exp(-3)) + math.log1p(math.exp(1))) / 2
    assert non_saturating(REAL, FAKE).item() == pytest.approx((real + fake) / 2)
    loss = AdversarialLoss(kind='non_saturating')
    assert loss.discriminator_terms(REAL, FAKE, 0)[1]['discriminator'].item() == pytest.approx((real + fake) / 2)
    generator = (math.log1p(math.exp(3)) + math.log1p(math.exp(-1))) / 2
    assert loss.generator_term(FAKE).item() == pytest.approx(generator)
    assert AdversarialLoss().generator_term(FAKE).item() == 1.0


def test_lecam_by_hand():
    """relu(2 + 1)^2 and relu(0 + 1)^2 against -1; relu(0.5 + 3)^2 and relu(0.5 - 1)^2 = 0 against 0.5."""
    assert lecam(REAL, FAKE, torch.tensor([0.5, -1.0])).item() == pytest.approx((9 + 1) / 2 + 3.5 ** 2 / 2)


def test_lecam_in_the_discriminators_term():
    """The term counts with its factor; the running means are part of the discriminator's state."""
    loss, discriminator = AdversarialLoss(kind='hinge', lecam=0.1, lecam_decay=0.75), torch.nn.Linear(1, 1)
    loss.prepare(discriminator)
    assert discriminator.state_dict()[MEANS].tolist() == [0, 0]
    getattr(discriminator, MEANS).copy_(torch.tensor([0.5, -1.0]))
    total, logs = loss.discriminator_terms(REAL, FAKE, 0, means=getattr(discriminator, MEANS))
    assert logs['lecam'].item() == pytest.approx(11.125)
    assert total.item() == pytest.approx(0.75 + 1.1125)
    loss.update_means(discriminator, logs)
    assert getattr(discriminator, MEANS).tolist() == pytest.approx([0.5 * 0.75 + 1 * 0.25, -1 * 0.75 - 1 * 0.25])
    plain = torch.nn.Linear(1, 1)
    AdversarialLoss().prepare(plain)
    assert MEANS not in plain.state_dict()


def test_augmented_views():
    """The age is counted from `start`; second views come after all first ones."""
    x = torch.zeros(2, 3, 1, 1)
    loss = AdversarialLoss(start=3, augment=dict(type='_Ages'), consistency=4.0,
                           consistency_augment=dict(type='_Ages', step=10.0))
    assert loss.augment_images(x, 5).unique().tolist() == [2]
    assert loss.make_views(x, 5)[:, 0, 0, 0].tolist() == [2, 2, 20, 20]
    assert AdversarialLoss().make_views(x, 5) is x


def test_consistency_by_hand():
    """Mean squares of the distances between both views, of images plus of reconstructions, times the factor."""
    loss = AdversarialLoss(kind='hinge', consistency=4.0, consistency_augment=dict(type='DiffAug'))
    again = (torch.tensor([2.5, 1.0]), torch.tensor([-3.0, 3.0]))
    total, logs = loss.discriminator_terms(REAL, FAKE, 0, again)
    assert logs['consistency'].item() == pytest.approx((0.25 + 1) / 2 + 4 / 2)
    assert total.item() == pytest.approx(0.75 + 4 * 2.625)


def test_the_generator_sees_augmented_images():
    """Its term and gradient are those of the augmented reconstructions, by the kind's own term."""
    torch.manual_seed(0)
    discriminator, cut = PatchDiscriminator(width=32), torch.rand(2, 3, 16, 16, requires_grad=True)
    loss = AdversarialLoss(kind='non_saturating', augment=dict(type='_Ages', step=0.1))
    term, pull = _differentiate_generator(discriminator, cut, loss, 2)
    want = loss.generator_term(discriminator(cut + 0.2))
    assert torch.allclose(term, want)
    assert torch.allclose(pull, torch.autograd.grad(want, cut)[0])
    assert all(p.requires_grad for p in discriminator.parameters())


@pytest.mark.parametrize('change, message', [
    (dict(augment=dict(type='DiffAugs')), 'Did you mean `DiffAug`'),
    (dict(consistency=1.0), 'expected both or neither'),
    (dict(consistency_augment=dict(type='DiffAug')), 'expected both or neither'), (dict(lecam=-1.0), '`lecam` is -1'),
    (dict(augment=dict(type='DiffAug', cut=1)), 'takes no argument `cut`')])
def test_bad_options_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        AdversarialLoss(**change)
