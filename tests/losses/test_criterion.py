"""Weights, sums and names in one place."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.losses.base import Loss
from dtbox.losses.criterion import Criterion, NonFiniteLoss, Terms, check_finite
from dtbox.registry import LOSSES

FULL = dict(pixels=dict(type='L2Loss', weight=5.), absolute=dict(type='L1Loss', weight=0),
            tokens=dict(type='SemanticLoss', weight=2),
            commitment=dict(type='CommitmentLoss', weight=dict(commitment_pixel=4., commitment_semantic=0.)))


def test_terms_are_weighed_summed_and_named(outputs, batch):
    terms = Criterion(FULL)(outputs, batch)
    assert isinstance(terms, Terms)
    assert {k: v.item() for k, v in terms.raw.items()} == pytest.approx(
        dict(l2=.25, l1=.5, semantic_tokens=1.75, commitment_pixel=.25, commitment_semantic=.5))
    assert {k: v.item() for k, v in terms.weighted.items()} == pytest.approx(dict(l2=1.25, semantic_tokens=3.5,
                                                                                  commitment_pixel=1.))
    assert terms.total.item() == pytest.approx(5.75)
    terms.total.backward()
    assert outputs.reconstructions.grad.flatten()[0].item() == pytest.approx(5 * 2 * .5 / 24)
    assert not terms.raw['l1'].requires_grad and terms.raw['l2'].requires_grad


def test_missing_weight_and_none(outputs, batch):
    """A weight that is missing is 1; None takes an entry out."""
    criterion = Criterion(dict(a=dict(type='L2Loss'), b=None))
    assert list(criterion.losses) == ['a'] and criterion(outputs, batch).total.item() == .25


def test_config_is_not_changed():
    entry = dict(type='L2Loss', weight=3.)
    Criterion(dict(a=entry))
    assert entry == dict(type='L2Loss', weight=3.)


def test_requires_lists_what_the_losses_read():
    assert Criterion(FULL).requires == ['features.semantic', 'images', 'losses', 'reconstructions', 'teacher.tokens']


def test_terms_without_any_value_sum_to_zero(outputs, batch):
    terms = Criterion(dict(c=dict(type='CommitmentLoss')))(outputs.replace(losses={}), batch)
    assert terms.total.item() == 0 and terms.raw == {}


@pytest.mark.parametrize('losses, message', [
    (dict(a=dict(type='L2Loss'), b=dict(type='L2Loss')), 'b: the term `l2` comes from `a` and from `b`'),
    (dict(a=dict(type='L3Loss')), r'a: `L3Loss` is not registered under losses. Did you mean'),
    (dict(a=dict(type='L2Loss', scale=1)), 'a: `L2Loss` takes no argument `scale`'),
    (dict(a=dict(type='L2Loss', weight='5')), "a.weight: '5' is not a weight"),
    (dict(a=dict(type='L2Loss', weight=True)), 'a.weight: True is not a weight'),
    (dict(a=dict(type='L2Loss', weight=float('nan'))), 'a.weight: nan is not a weight'),
    (dict(a=dict(type='L2Loss', weight=dict(l1=1.))), r'a.weight: there is no weight for the term `l2`. Given: l1'),
    (dict(a=dict(type='L2Loss', weight=dict(l2=1., l1=1.))), 'a.weight: `l1` is not a term of this loss'),
    (dict(a=dict(type='SemanticLoss', name='sem_loss')), 'a: the term `sem_loss` .* contains "loss"'),
    (dict(a=dict(type='AdversarialLoss')), 'a: `AdversarialLoss` is not a term of the criterion'),
    (dict(pop=dict(type='L2Loss')), 'cannot be the name of a loss'),
    ({'a.b': dict(type='L2Loss')}, 'cannot be the name of a loss'),
    (dict(a='L2Loss'), "a: expected a dict with `type` and `weight`, got 'L2Loss'"),
    ({}, 'no losses'), (None, 'expected a dict name'), (dict(a=None), 'no losses'),
])
def test_mistakes_in_the_config_are_found_when_it_is_built(losses, message):
    with pytest.raises(InputError, match=message):
        Criterion(losses)


def test_missing_output_is_named_at_the_call(outputs, batch):
    with pytest.raises(InputError, match='tokens: SemanticLoss reads `teacher.tokens`, which the tokenizer did not '
                                         'give'):
        Criterion(FULL)(outputs.replace(teacher=None), batch)


def test_names_known_only_at_the_call_are_checked_there(outputs, batch):
    both = dict(a=dict(type='CommitmentLoss'), b=dict(type='CommitmentLoss', vocabularies=['pixel']))
    with pytest.raises(InputError, match='b: the term `commitment_pixel` comes from `a` and from `b`'):
        Criterion(both)(outputs, batch)
    with pytest.raises(InputError, match='c.weight: there is no weight for the term `commitment_semantic`'):
        Criterion(dict(c=dict(type='CommitmentLoss', weight=dict(commitment_pixel=1.))))(outputs, batch)
    with pytest.raises(InputError, match='c.weight: `commitment_text` is not a term of this loss'):
        Criterion(dict(c=dict(type='CommitmentLoss', weight=dict(commitment_text=1.))))(outputs, batch)


def test_a_loss_that_gives_no_scalar_is_refused(outputs, batch):
    class Map(Loss):
        def terms(self, outputs, batch):
            return dict(map=outputs.images)
    with pytest.raises(InputError, match=r'a: Map gave the term `map` that is a float32 tensor .*expected a scalar'):
        Criterion(dict(a=dict(type=Map)))(outputs, batch)


def test_a_term_that_is_not_finite_is_named(outputs, batch):
    check_finite(Criterion(FULL)(outputs, batch))
    check_finite({})
    broken = outputs.replace(reconstructions=outputs.reconstructions * float('nan'))
    with pytest.raises(NonFiniteLoss, match='`l2` is nan') as caught:
        Criterion(FULL).check_finite(Criterion(FULL)(broken, batch))
    assert list(caught.value.terms) == ['l2']  # l1 is only logged
    with pytest.raises(NonFiniteLoss, match='`b` is inf'):
        check_finite(dict(a=torch.tensor(1.), b=torch.tensor(float('inf')), total=torch.tensor(float('inf'))))
    with pytest.raises(NonFiniteLoss, match='`weighted a` is inf'):
        check_finite(Terms(torch.tensor(float('inf')), dict(a=torch.tensor(1e38)), dict(a=torch.tensor(1e38) * 1e5)))


def test_bind_reaches_every_loss():
    class Asks(Loss):
        def bind(self, teacher):
            self.teacher = teacher
    criterion = Criterion(dict(a=dict(type=Asks), b=dict(type='L2Loss')))
    criterion.bind('teacher')
    assert criterion.losses['a'].teacher == 'teacher'
    with pytest.raises(InputError, match='p: FeaturePerceptualLoss needs a teacher'):
        Criterion(dict(p=dict(type='FeaturePerceptualLoss', layers=[1]))).bind(None)


def test_no_term_is_named_like_a_sum():
    """No registered loss names a term that MMEngine would add to the sum."""
    LOSSES._candidates()
    for name, kind in LOSSES.module_dict.items():
        assert not any('loss' in term for term in getattr(kind, 'names', None) or ()), name
