"""Gram matrices by hand, and the losses on a network and a teacher small enough to follow."""
from types import SimpleNamespace

import pytest
import torch

from dtbox.errors import InputError
from dtbox.losses.gram import FeatureGramLoss, GramLoss, gram, gram_distance
from dtbox.structures import TokenizerOutput
from tests.losses.test_perceptual import Teacher

FIRST = torch.tensor([[[1.0, 2.0], [0.0, 3.0]]])
SECOND = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])


def test_gram_by_hand():
    """[5 6; 6 9] / 4 against [1 0; 0 1] / 4: squares (16 + 36 + 36 + 64) / 16."""
    assert gram(FIRST).tolist() == [[[1.25, 1.5], [1.5, 2.25]]]
    assert gram_distance(FIRST, SECOND).item() == pytest.approx(9.5)
    both = gram_distance(torch.cat([FIRST, SECOND]), torch.cat([SECOND, SECOND]))
    assert both.item() == pytest.approx(4.75)


def test_positions_do_not_matter():
    """Only what is active together counts, not where."""
    assert gram_distance(FIRST, FIRST.flip(2)).item() == 0


@pytest.fixture
def network(monkeypatch):
    """Layers are the image itself, its double, and four times it; the scaling adds 1."""
    net = SimpleNamespace(scaling_layer=lambda x: x + 1, net=lambda x: (x, 2 * x, 4 * x), lins=[0, 1, 2])
    monkeypatch.setattr('dtbox.losses.lpips.open_network', lambda *args: net)


def images(*values):
    return torch.tensor(values).view(1, 3, 1, 1).expand(1, 3, 16, 16).clone()


@pytest.mark.parametrize('layers, factor', [((1,), 1), ((2,), 16), ((1, 2), 17), ((1, 3), 257)])
def test_gram_loss_by_hand(network, batch, layers, factor):
    """Of constant images the matrix is the outer product over 3: the squared distance of these, times scale^4."""
    outputs = TokenizerOutput(images=images(0.0, 0.0, -1.0), reconstructions=images(1.0, 0.0, -1.0).requires_grad_())
    loss = GramLoss('vgg', 'x', layers)
    value = loss(outputs, batch)['gram']
    a, b = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 0.0])
    assert value.item() == pytest.approx(factor * (torch.outer(a, a) - torch.outer(b, b)).square().sum().item() / 9)
    value.backward()
    assert outputs.reconstructions.grad.abs().sum() > 0


def test_layers_that_are_not_there(network):
    with pytest.raises(InputError, match='expected some of 1 to 3, the layers of `vgg`'):
        GramLoss('vgg', 'x')


def test_feature_gram_loss_by_hand(batch):
    """Layer 1 of the teacher holds the pixels: outer products over 3."""
    outputs = TokenizerOutput(images=images(1.0, 0.0, 0.0), reconstructions=images(0.0, 3.0, 0.0))
    loss = FeatureGramLoss([1])
    loss.bind(Teacher())
    assert loss(outputs, batch)['feature_gram'].item() == pytest.approx((1 + 81) / 9)
    with pytest.raises(InputError, match='FeatureGramLoss has no teacher'):
        FeatureGramLoss([1])(outputs, batch)
