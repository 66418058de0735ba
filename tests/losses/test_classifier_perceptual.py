"""The perceptual loss on the packaged classifier, beside the same formula on the network's own blocks."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.layers.classifiers import LITE0, PACKAGED, open_classifier
from dtbox.losses.classifier_perceptual import ClassifierPerceptualLoss
from dtbox.structures import TokenizerOutput
from tests.photo_samples import need_weights


@pytest.fixture(autouse=True, scope='module')
def weights():
    need_weights()


def make(reconstructions, images):
    return TokenizerOutput(images=images, reconstructions=reconstructions)


def distance(a, b):
    """Mean over positions of the squared distance of unit vectors."""
    return (torch.nn.functional.normalize(a, dim=1) - torch.nn.functional.normalize(b, dim=1)).square().sum(1).mean()


def test_value_by_hand():
    """Stages 1 and 2 with the weights 1 and 3: a quarter and three quarters of their distances; other stages count
    nothing."""
    images, made = (torch.rand(2, 3, 32, 32) * 2 - 1 for _ in range(2))
    network = open_classifier(LITE0, PACKAGED)
    with torch.no_grad():
        maps = [network.bn1(network.conv_stem(x)) for x in (made, images)]
        wanted = []
        for block in network.blocks[:2]:
            maps = [block(x) for x in maps]
            wanted.append(distance(*maps))
    loss = ClassifierPerceptualLoss({1: 1., 2: 3.})
    value = loss(make(made, images), None)['classifier_perceptual']
    assert value.item() == pytest.approx(float(wanted[0]) / 4 + 3 * float(wanted[1]) / 4, rel=1e-4)
    assert loss.state_dict() == {} and not list(loss.parameters())


def test_gradients_reach_the_reconstructions_alone():
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    made = (images + 0.1 * torch.randn_like(images)).requires_grad_()
    loss = ClassifierPerceptualLoss(3)
    loss(make(made, images.requires_grad_()), None)['classifier_perceptual'].backward()
    assert made.grad.abs().sum() > 0 and images.grad is None
    assert loss(make(images, images), None)['classifier_perceptual'].item() == 0


@pytest.mark.parametrize('stages', [[], [8], {1: -1.}, {1: 0.}])
def test_stages_that_are_none(stages):
    with pytest.raises(InputError, match='expected at least one of 0 to 7, the stages of `tf_efficientnet_lite0`'):
        ClassifierPerceptualLoss(stages)


@pytest.mark.parametrize('channels', [1, 4])
def test_images_of_other_channels(channels):
    images = torch.zeros(1, channels, 32, 32)
    with pytest.raises(InputError, match='Turn images of one channel or four into RGB first'):
        ClassifierPerceptualLoss(1)(make(images, images), None)
