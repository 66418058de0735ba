"""The discriminator against the golden data; hinge terms and the adaptive weight by hand."""
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from dtbox.discriminators.patch import PatchDiscriminator
from dtbox.errors import InputError
from dtbox.losses.adversarial import AdversarialLoss, adaptive_weight, generator_term, hinge, leaky_hinge
from dtbox.registry import DISCRIMINATORS, LOSSES

DATA = Path(__file__).parents[1] / 'data'


@pytest.fixture(scope='module')
def golden():
    return torch.load(DATA / 'golden_disc.pt', weights_only=True)


def test_discriminator_matches_the_golden_data(golden):
    discriminator = DISCRIMINATORS.build(dict(type='PatchDiscriminator', width=32))
    discriminator.load_state_dict({k: v.float() for k, v in golden['state_dict'].items()}, strict=True)
    want = golden['outputs']
    fake = golden['inputs']['fake'].float().requires_grad_()
    logits_fake, logits_real = discriminator(fake), discriminator(golden['inputs']['real'].float())
    assert (logits_fake - want['logits_fake']).abs().max() < 1e-5
    assert (logits_real - want['logits_real']).abs().max() < 1e-5
    assert generator_term(logits_fake).item() == pytest.approx(want['loss_gen'].item(), abs=1e-5)
    assert leaky_hinge(logits_real, logits_fake).item() == pytest.approx(want['loss_disc_hinge'].item(), abs=1e-5)
    assert leaky_hinge(8 * logits_real, 8
                       * logits_fake).item() == pytest.approx(want['loss_disc_hinge_logits_x8'].item(), abs=1e-5)
    grad = torch.autograd.grad(generator_term(logits_fake), fake)[0]
    assert (grad - want['grad_fake_of_loss_gen']).abs().max() < 1e-6


def test_published_discriminator_size_and_start():
    torch.manual_seed(0)
    discriminator = PatchDiscriminator()
    assert round(sum(p.numel() for p in discriminator.parameters()) / 1e6, 3) == 1.729
    assert discriminator.main[3].conv1.weight.std().item() == pytest.approx(.02, rel=.02)
    with torch.no_grad():
        assert discriminator(torch.zeros(1, 3, 64, 60)).shape == (1, 1, 8, 8)
    with pytest.raises(InputError, match=r'expected \[B, 3, H, W\]'):
        discriminator(torch.zeros(3, 64, 64))


def test_hinge_by_hand():
    real, fake = torch.tensor([2., 0.]), torch.tensor([-3., 1.])
    assert hinge(real, fake).item() == pytest.approx(.5 * ((0 + 1) / 2 + (0 + 2) / 2))
    assert leaky_hinge(real, fake).item() == pytest.approx(.5 * ((-.01 + 1) / 2 + (-.02 + 2) / 2))
    assert generator_term(fake).item() == 1.


def test_adaptive_weight_by_hand():
    nll, gen = torch.tensor([[3., 4.]]), torch.tensor([[0., 2.]])
    assert adaptive_weight(nll, gen).item() == pytest.approx(5 / 2.0001)
    assert adaptive_weight(nll, gen, high=2.).item() == 2.
    assert adaptive_weight(nll / 1000, gen).item() == pytest.approx(.3)
    assert adaptive_weight(nll, gen * 0).item() == 10.


def test_balance_by_hand():
    nll, gen = torch.tensor([3., 4.]), torch.tensor([0., -1.])
    assert AdversarialLoss().balance(nll, gen).item() == pytest.approx(5 / 1.0001)
    assert AdversarialLoss(adaptive=(.1, 2.)).balance(nll, gen, batch_weight=.5).item() == 2.
    assert AdversarialLoss(eps=.25).balance(nll, gen).item() == pytest.approx(5 / 1.25)


def test_terms_that_the_adaptive_weight_compares_with():
    """Names count 1 each; a dict, also that of a config, gives the factors."""
    assert AdversarialLoss().compared_terms() == {'l2': 1, 'lpips': 1}
    assert AdversarialLoss(against='l1').compared_terms() == {'l1': 1}
    loss = LOSSES.build(Config(dict(gan=dict(type='AdversarialLoss', against=dict(l1=.2, l2=1)))).gan)
    assert loss.compared_terms() == {'l1': .2, 'l2': 1}


def test_ramp():
    gan = AdversarialLoss(weight=.8, start=10, ramp=4, adaptive=None)
    assert [gan.generator_factor(i) for i in (10, 11, 13, 14, 99)] == pytest.approx([.2, .4, .8, .8, .8])
    assert AdversarialLoss(weight=.8).generator_factor(0) == .8
    with pytest.raises(InputError, match='`ramp` is -1'):
        AdversarialLoss(ramp=-1)


def test_discriminator_terms_start_and_factor():
    config = LOSSES.build(dict(type='AdversarialLoss', kind='hinge', start=3, later=(5, .75)))
    assert [config.active(i) for i in (2, 3)] == [False, True]
    real, fake = torch.tensor([2., 0.]), torch.tensor([-3., 1.])
    assert [config.discriminator_terms(real, fake, i)[0].item() for i in (4, 5)] == pytest.approx([.75, .5625])
    assert {k: v.item() for k, v in config.discriminator_terms(real, fake, 5)[1].items()} == dict(
        discriminator=.75, logits_real=1., logits_fake=-1.)


def test_gradient_of_half_precision_logits_is_found_in_float32():
    assert hinge(torch.ones(4, dtype=torch.bfloat16), torch.ones(4, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize('change, message', [
    (dict(kind='leaky'), 'Did you mean `leaky_hinge`'), (dict(weight=-1.), 'at least 0'),
    (dict(start=-1), 'at least 0'), (dict(adaptive=(10., .3)), 'low <= high'), (dict(adaptive=(1.,)), '2 values'),
    (dict(later=(5,)), '2 values'), (dict(eps=0), '`eps` is 0'), (dict(against={'l1': None}), 'expected'),
    (dict(against={'l1': float('inf')}), 'name -> number')])
def test_bad_settings_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        AdversarialLoss(**change)
