"""What every discriminator keeps: logits for each image, gradients, its state in its state dict, refused images."""
import copy

import pytest
import torch

from dtbox.errors import InputError
from dtbox.registry import DISCRIMINATORS

DISCRIMINATORS.import_from_location()
BUILT_IN = {name: part for name, part in DISCRIMINATORS.module_dict.items() if part.__module__.startswith('dtbox.')}
pytestmark = pytest.mark.parametrize('name', BUILT_IN)


def build(name, seed=0):
    torch.manual_seed(seed)
    return DISCRIMINATORS.build(dict(BUILT_IN[name].example, type=name))


def draw(discriminator, count=4):
    side = getattr(discriminator, 'image_size', 32)
    size = side if isinstance(side, tuple) else (side, side)
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_logits(name):
    """Finite floats, as many for each image, of any number of images, also under autocast."""
    discriminator = build(name)
    for count in (1, 4):
        logits = discriminator(draw(discriminator, count))
        assert logits.shape[0] == count
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()
    with torch.autocast('cpu', torch.bfloat16):
        assert discriminator(draw(discriminator)).isfinite().all()


def test_gradients(name):
    """Every trainable parameter and every image get one."""
    discriminator = build(name)
    images = draw(discriminator).requires_grad_()
    logits = discriminator(images)
    (logits * torch.randn(logits.shape)).sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in discriminator.parameters() if p.requires_grad)
    assert images.grad.isfinite().all()
    assert images.grad.abs().sum((1, 2, 3)).min() > 0


def test_gradients_without_learning(name):
    """As in the generator's step: frozen parameters, nothing changes, images get a gradient."""
    discriminator = build(name).requires_grad_(False)
    before, images = copy.deepcopy(discriminator.state_dict()), draw(discriminator).requires_grad_()
    discriminator(images).mean().backward()
    assert images.grad.any()
    assert all(torch.equal(value, before[key]) for key, value in discriminator.state_dict().items())


def test_state(name):
    """Another instance that loads the state gives the same logits, and so does a copy; evaluation leaves it alone."""
    discriminator, twin = build(name), build(name, seed=9)
    images = draw(discriminator)
    twin.load_state_dict(discriminator.state_dict(), strict=True)
    before = copy.deepcopy(discriminator.state_dict())
    want = discriminator.eval()(images)
    assert torch.allclose(twin.eval()(images), want, atol=1e-6)
    assert torch.allclose(copy.deepcopy(discriminator)(images), want, atol=1e-6)
    assert all(torch.equal(value, before[key]) for key, value in discriminator.state_dict().items())


def test_other_images_are_refused(name):
    with pytest.raises(InputError, match=r'expected \[B, 3, H, W\]'):
        build(name)(torch.zeros(1, 4, 32, 32))
