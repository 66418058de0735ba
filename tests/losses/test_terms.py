"""Pixel, semantic, commitment and contrastive terms against values computed by hand."""
import math

import pytest
import torch

from dtbox.errors import InputError
from dtbox.losses.commitment import CommitmentLoss, QuantizerLoss
from dtbox.losses.contrastive import SigmoidContrastiveLoss, SoftmaxContrastiveLoss
from dtbox.losses.pixel import L1Loss, L2Loss
from dtbox.losses.semantic import PooledLoss, SemanticLoss
from dtbox.registry import LOSSES
from dtbox.structures import Batch


def values(terms):
    return {k: round(v.item(), 5) for k, v in terms.items()}


@pytest.mark.parametrize('loss, expected', [
    (L1Loss(), dict(l1=.5)),
    (L2Loss(), dict(l2=.25)),
    # squared differences 1, 0, 4, 4 over 4; cosines 1 and 0
    (SemanticLoss(), dict(semantic_tokens=9 / 4 - .5)),
    (SemanticLoss(mse=0.), dict(semantic_tokens=-.5)),
    (SemanticLoss('pixel', mse=2., cosine=0., name='pixel_tokens'), dict(pixel_tokens=4.5)),
    # squared differences 1, 1, 0, 0 over 4; cosines 24/25 and 1
    (PooledLoss(), dict(semantic_pooled=.5 - .98)),
    (CommitmentLoss(), dict(commitment_pixel=.25, commitment_semantic=.5)),
    (CommitmentLoss('semantic', kind='entropy'), dict(entropy_semantic=3.)),
    (QuantizerLoss(), dict(commitment_pixel=.25, commitment_semantic=.5, entropy_semantic=3.)),
    (QuantizerLoss('semantic'), dict(commitment_semantic=.5, entropy_semantic=3.)),
])
def test_values(loss, expected, outputs, batch):
    assert values(loss(outputs, batch)) == pytest.approx(expected, abs=1e-5)
    if loss.names is not None:
        assert tuple(expected) == loss.names


def test_paths_that_terms_of_quantizers_require():
    """Those of the vocabularies that are named, and of no other one."""
    assert CommitmentLoss().requires == QuantizerLoss().requires == ('losses',)
    assert CommitmentLoss(['pixel', 'semantic'], 'entropy').requires == ('losses.pixel.entropy',
                                                                         'losses.semantic.entropy')
    assert QuantizerLoss('pixel').requires == ('losses.pixel',)
    assert QuantizerLoss(['pixel', 'semantic']).requires == ('losses.pixel', 'losses.semantic')


def log_sigmoid(x):
    return -math.log1p(math.exp(-x))


def test_sigmoid_loss_is_equation_1_of_siglip(outputs, batch):
    # cosines: image 0 (.6, .8), image 1 (1, 0); scale exp(0) = 1, bias -1
    logits = [[-.4, -.2], [0., -1.]]
    want = -(log_sigmoid(-.4) + log_sigmoid(.2) + log_sigmoid(0.) + log_sigmoid(-1.)) / 2
    terms = SigmoidContrastiveLoss()(outputs, batch)
    assert values(terms) == pytest.approx(dict(contrastive=want), abs=1e-5)
    terms['contrastive'].backward()
    assert outputs.logit_scale.grad.abs() > 0 and outputs.logit_bias.grad.abs() > 0
    same = Batch(images=batch.images, texts=['a cat', 'a cat'])
    want_same = -sum(log_sigmoid(x) for row in logits for x in row) / 2
    assert values(SigmoidContrastiveLoss()(outputs, same)) == pytest.approx(dict(contrastive=want_same), abs=1e-5)
    assert values(SigmoidContrastiveLoss(duplicates=False)(outputs, same)) == pytest.approx(dict(contrastive=want),
                                                                                            abs=1e-5)


def test_sigmoid_loss_of_a_single_pair(outputs, batch):
    """The mean over one image: its cosine is 0.6, the scale exp(0), the bias -1."""
    one = outputs.replace(pooled=outputs.pooled[:1], text_pooled=outputs.text_pooled[:1])
    terms = SigmoidContrastiveLoss()(one, Batch(images=batch.images[:1], texts=['a cat']))
    assert terms['contrastive'].item() == pytest.approx(-log_sigmoid(-.4), abs=1e-6)


def test_sigmoid_loss_uses_the_exponential_of_the_scale(outputs, batch):
    outputs = outputs.replace(logit_scale=torch.tensor(math.log(10.)), logit_bias=torch.tensor(0.))
    want = -(log_sigmoid(6.) + log_sigmoid(-8.) + log_sigmoid(-10.) + log_sigmoid(0.)) / 2
    assert values(SigmoidContrastiveLoss()(outputs, batch)) == pytest.approx(dict(contrastive=want), abs=1e-4)


@pytest.mark.parametrize('kind', [SigmoidContrastiveLoss, SoftmaxContrastiveLoss])
def test_contrastive_losses_without_texts_are_refused(kind, outputs, batch):
    with pytest.raises(InputError, match=f'{kind.__name__} needs a text .* has none'):
        kind()(outputs, Batch(images=batch.images))
    with pytest.raises(InputError, match='1 text for 2 images'):
        kind()(outputs, Batch(images=batch.images, texts=['x']))


def log_softmax(values, index):
    return values[index] - math.log(sum(map(math.exp, values)))


def test_softmax_loss_is_that_of_clip(outputs, batch):
    rows = [[.6, .8], [1., 0.]]  # cosines of the images with the texts; scale exp(0) = 1
    columns = [[.6, 1.], [.8, 0.]]
    want = -(sum(log_softmax(rows[i], i) for i in (0, 1)) + sum(log_softmax(columns[i], i) for i in (0, 1))) / 4
    terms = SoftmaxContrastiveLoss()(outputs, batch)
    assert values(terms) == pytest.approx(dict(contrastive=want), abs=1e-5)
    terms['contrastive'].backward()
    assert outputs.logit_scale.grad.abs() > 0 and outputs.logit_bias.grad is None
    same = Batch(images=batch.images, texts=['a cat', 'a cat'])
    both = -sum(log_softmax(group, i) / 2 for part in (rows, columns) for group in part for i in (0, 1)) / 4
    assert values(SoftmaxContrastiveLoss()(outputs, same)) == pytest.approx(dict(contrastive=both), abs=1e-5)
    assert values(SoftmaxContrastiveLoss(duplicates=False)(outputs, same)) == pytest.approx(dict(contrastive=want),
                                                                                            abs=1e-5)


def test_softmax_loss_holds_its_scale(outputs, batch):
    at = {s: SoftmaxContrastiveLoss(max_scale=10.)(outputs.replace(logit_scale=torch.tensor(math.log(s))),
                                                   batch)['contrastive'].item()
          for s in (5., 10., 50.)}
    assert at[10.] == pytest.approx(at[50.]) and at[5.] != pytest.approx(at[10.])
    with pytest.raises(InputError, match='`max_scale` is 0'):
        SoftmaxContrastiveLoss(max_scale=0)


def test_no_gradient_reaches_the_teacher(outputs, batch):
    tokens = outputs.teacher.tokens.clone().requires_grad_()
    outputs = outputs.replace(teacher=type(outputs.teacher)(tokens=tokens))
    SemanticLoss()(outputs, batch)['semantic_tokens'].backward()
    assert tokens.grad is None and outputs.features['semantic'].grad.abs().sum() > 0


def test_quantizers_without_commitment_give_no_term(outputs, batch):
    outputs = outputs.replace(losses=dict(pixel={}))
    assert CommitmentLoss()(outputs, batch) == {} == QuantizerLoss()(outputs, batch)
    with pytest.raises(InputError, match='CommitmentLoss reads `losses.pixel.commitment`'):
        CommitmentLoss(['pixel'])(outputs, batch)


def test_unknown_vocabulary_is_named(outputs, batch):
    with pytest.raises(InputError, match='`features.sem`.*`features` has: semantic, pixel'):
        SemanticLoss('sem')(outputs, batch)


def test_unequal_shapes_are_named(outputs, batch):
    outputs = outputs.replace(reconstructions=torch.zeros(2, 3, 4, 4))
    with pytest.raises(InputError, match=r'`reconstructions` \[2, 3, 4, 4\] with `images` \[2, 3, 2, 2\]'):
        L2Loss()(outputs, batch)


@pytest.mark.parametrize('kind', ['L1Loss', 'L2Loss', 'SemanticLoss', 'PooledLoss', 'CommitmentLoss', 'QuantizerLoss',
                                  'SigmoidContrastiveLoss', 'SoftmaxContrastiveLoss'])
def test_float32_under_autocast(kind, outputs, batch):
    loss = LOSSES.build(dict(type=kind))
    plain = loss(outputs, batch)
    with torch.autocast('cpu', torch.bfloat16):
        terms = loss(outputs, batch)
    assert {k: v.item() for k, v in terms.items()} == {k: v.item() for k, v in plain.items()}
    assert all(v.dtype == torch.float32 for v in terms.values())
    half = outputs.replace(reconstructions=outputs.reconstructions.bfloat16(), pooled=outputs.pooled.bfloat16())
    assert all(v.dtype == torch.float32 for v in loss(half, batch).values())
