"""The objective of a step with discriminator equals a direct implementation: values, adaptive weight, gradients of all
parameters."""
import pytest
import torch

from dtbox.config import load_config, resolve
from dtbox.discriminators.patch import PatchDiscriminator
from dtbox.errors import InputError
from dtbox.losses.adversarial import AdversarialLoss, adaptive_weight, generator_term
from dtbox.losses.base import Loss
from dtbox.losses.criterion import Criterion
from dtbox.registry import LOSSES
from dtbox.structures import Batch, TokenizerOutput
from dtbox.training.build import build_parts
from dtbox.training.tokenizer_objective import compute_adversarial_objective


@LOSSES.register_module(force=True)
class _PicturesAndFeatures(Loss):
    """Reads both: part of its gradient goes through the reconstructions, part does not."""
    requires = ('reconstructions', 'features.semantic')
    names = ('both',)

    def terms(self, outputs, batch):
        return {'both': (outputs.reconstructions.mean() * outputs.features['semantic']).square().mean()}


LOSSES_OF = dict(pixels=dict(type='L2Loss', weight=5.0), absolute=dict(type='L1Loss', weight=1.0),
                 both=dict(type='_PicturesAndFeatures', weight=0.7), semantic=dict(type='SemanticLoss', weight=2.0))


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.last = torch.nn.Conv2d(8, 3, 3, padding=1)
        self.deep = torch.nn.Linear(8, 6)

    def forward(self, images):
        shared = self.trunk(images)
        from dtbox.structures import TeacherOutput
        tokens = self.deep(shared.flatten(2).mT)
        return TokenizerOutput(images=images, reconstructions=self.last(shared.relu()), features=dict(semantic=tokens),
                               teacher=TeacherOutput(tokens=torch.ones_like(tokens)))


def setting(**changes):
    torch.manual_seed(0)
    model, critic = Model(), PatchDiscriminator(width=32)
    batch = Batch(images=torch.rand(2, 3, 16, 16) * 2 - 1)
    return model, critic, batch, Criterion(LOSSES_OF), AdversarialLoss(**{**dict(against=('l2', 'l1'), ramp=4,
                                                                                 adaptive=(0.0, 1e4)), **changes})


def direct(model, critic, batch, criterion, loss):
    outputs = model(batch.images)
    terms = criterion(outputs, batch)
    term = generator_term(critic(outputs.reconstructions))
    weight = torch.ones(())
    if loss.adaptive is not None:
        factors = loss.against if isinstance(loss.against, dict) else dict.fromkeys(loss.against, 1)
        sides = sum(factor * terms.raw[n] for n, factor in factors.items()), term
        weight = adaptive_weight(*(torch.autograd.grad(t, model.last.weight, retain_graph=True)[0] for t in sides),
                                 *loss.adaptive, loss.eps)
    total = terms.total + loss.generator_factor(1) * weight * term
    return total, weight, term, torch.autograd.grad(total, list(model.parameters()))


@pytest.mark.parametrize('changes', [{}, dict(adaptive=None), dict(adaptive=(0.3, 0.5)),
                                     dict(per_rank=True, against=('both',)),
                                     dict(against={'l1': 0.2, 'l2': 1}, eps=0.1)])
def test_equals_a_direct_implementation(changes):
    model, critic, batch, criterion, loss = setting(**changes)
    total, weight, term, want = direct(model, critic, batch, criterion, loss)
    outputs = model(batch.images)
    found = compute_adversarial_objective(criterion, loss, critic, outputs, batch, model.last.weight, 1, 1.0)
    found.scalar.backward()
    assert found.logs['total'].item() == pytest.approx(total.item(), rel=1e-6)
    assert found.logs['adaptive_weight'].item() == pytest.approx(float(weight), rel=1e-5)
    assert found.logs['generator'].item() == pytest.approx(term.item())
    assert set(found.logs) == {'l2', 'l1', 'both', 'semantic_tokens', 'generator', 'adaptive_weight', 'total'}
    for parameter, gradient in zip(model.parameters(), want):
        assert torch.allclose(parameter.grad, gradient, rtol=1e-5, atol=1e-7)
    assert all(p.requires_grad and p.grad is None for p in critic.parameters())


def test_each_critic_is_differentiated_once():
    """A direct implementation goes backward through the discriminator twice."""
    model, critic, batch, criterion, loss = setting()
    seen = []
    critic.main[0].register_full_backward_hook(lambda *_: seen.append(1))
    found = compute_adversarial_objective(criterion, loss, critic, model(batch.images), batch, model.last.weight, 1,
                                          1.0)
    found.scalar.backward()
    once, seen[:] = len(seen), []
    direct(model, critic, batch, criterion, loss)
    assert (once, len(seen)) == (1, 2)


def test_terms_that_cannot_be_compared_with():
    model, critic, batch, _, _ = setting()
    for against, weight, says in (
        ('lpips', 1.0, 'the criterion does not have.*It has: l2'),
        ('l2', 0.0, 'no gradient at the reconstructions'),
    ):
        criterion = Criterion(dict(pixels=dict(type='L2Loss', weight=weight)))
        with pytest.raises(InputError, match=f'`{against}`, which .*{says}'):
            compute_adversarial_objective(criterion, AdversarialLoss(against=against), critic, model(batch.images),
                                          batch, model.last.weight, 0, 1.0)


def test_lecam_and_second_views_in_a_step():
    """Running means move with the discriminator's step; views that nothing has changed agree, each with its own."""
    options = {'gan.adversarial.start': 0, 'gan.adversarial.lecam': 0.1, 'gan.adversarial.lecam_decay': 0.5,
               'gan.adversarial.consistency': 1.0,
               'gan.adversarial.consistency_augment': dict(type='DiffAug', probability=0.0)}
    parts = build_parts(resolve(load_config('configs/vqgan.py', options, tiny=True)), seed=0)
    model = parts['model'].train()
    model.init_weights()
    logs = model.train_step(next(iter(parts['train'])), parts['optim'])
    means = model.state_dict()['discriminator.lecam_means']
    assert means.tolist() == pytest.approx([0.5 * logs[name].item() for name in ('logits_real', 'logits_fake')])
    assert logs['lecam'].item() > 0
    assert logs['consistency'].item() < 1e-10 < (logs['logits_real'] - logs['logits_fake']).square().item()
