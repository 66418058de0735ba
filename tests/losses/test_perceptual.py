"""The perceptual loss on a frozen encoder's features, with a teacher small enough to follow."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.losses.perceptual import FeaturePerceptualLoss, scale_to_unit
from dtbox.structures import TokenizerOutput


class Teacher(torch.nn.Module):
    """Layer l: pixels as tokens [B, H*W, 3], times l, plus (l - 1)."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()), requires_grad=False)
        self.asked = []

    def taps(self, images, layers):
        self.asked.append((images, torch.is_grad_enabled()))
        return {layer: images.flatten(2).transpose(1, 2) * layer * self.scale + layer - 1 for layer in layers}


@pytest.fixture
def outputs():
    images = torch.tensor([1., 0., 0.]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2).contiguous()
    made = torch.tensor([0., 3., 0.]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2).contiguous().requires_grad_()
    return TokenizerOutput(images=images, reconstructions=made)


def test_value_per_layer_and_their_mean(outputs, batch):
    loss = FeaturePerceptualLoss(1)
    loss.bind(Teacher())
    assert loss(outputs, batch)['feature_perceptual'].item() == pytest.approx(2.)  # two orthogonal unit vectors
    # layer 2: (3, 1, 1)/sqrt(11) against (1, 7, 1)/sqrt(51)
    second = 2 - 2 * 11 / (11 * 51) ** .5
    loss = FeaturePerceptualLoss((1, 2))
    loss.bind(Teacher())
    assert loss(outputs, batch)['feature_perceptual'].item() == pytest.approx((2. + second) / 2, abs=1e-5)
    loss = FeaturePerceptualLoss({1: 1., 2: 3.})
    loss.bind(Teacher())
    assert loss(outputs, batch)['feature_perceptual'].item() == pytest.approx((2. + 3 * second) / 4, abs=1e-5)


def test_the_teacher_sees_the_input_itself_without_gradient(outputs, batch):
    teacher, loss = Teacher(), FeaturePerceptualLoss([2])
    loss.bind(teacher)
    loss(outputs, batch)['feature_perceptual'].backward()
    assert outputs.reconstructions.grad.abs().sum() > 0
    assert teacher.asked[0][0] is outputs.images and [grad for _, grad in teacher.asked] == [False, True]
    assert not list(loss.parameters()) and not loss.state_dict() and not list(loss.children())


def test_missing_teacher_and_layers_are_refused(outputs, batch):
    with pytest.raises(InputError, match='no teacher'):
        FeaturePerceptualLoss([1])(outputs, batch)
    with pytest.raises(InputError, match='got NoneType'):
        FeaturePerceptualLoss([1]).bind(None)
    for layers in ([], {1: 0.}, {1: -1., 2: 3.}):
        with pytest.raises(InputError, match='at least one layer'):
            FeaturePerceptualLoss(layers)


def test_unit_of_zero_has_a_finite_gradient():
    x = torch.zeros(1, 3, requires_grad=True)
    y = torch.relu(x)
    (scale_to_unit(y, -1) - 1.).square().sum().backward()
    assert x.grad.isfinite().all()
