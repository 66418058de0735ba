"""StyleGAN2's discriminator: its pieces by hand, its size, groups that hold images or reconstructions alone."""
import pytest
import torch

from dtbox.discriminators.stylegan import (
    EqualConv,
    EqualLinear,
    StyleGANDiscriminator,
    activate,
    add_deviation,
    blur,
    group_size,
)
from dtbox.errors import InputError
from dtbox.registry import DISCRIMINATORS


def test_blur_by_hand():
    """An impulse becomes [1,3,3,1] x [1,3,3,1] / 64; with two zeros on each side the map grows by one."""
    x = torch.zeros(1, 2, 4, 4)
    x[0, 1, 1, 2] = 64
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    out = blur(x, 2, 2)
    assert out.shape == (1, 2, 5, 5)
    assert torch.equal(out[0, 1, :4, 1:], torch.outer(taps, taps))
    assert out.sum() == 64


def test_equalized_layers_by_hand():
    """Weights are scaled by 1 / sqrt(inputs); stride 2 halves a map, after the blur."""
    conv, linear = EqualConv(2, 1, 3), EqualLinear(4, 1)
    conv.weight.data.fill_(1.0)
    linear.weight.data.fill_(3.0)
    assert conv(torch.ones(1, 2, 3, 3))[0, 0, 1, 1].item() == pytest.approx(18 / 18 ** 0.5)
    assert linear(torch.ones(1, 4)).item() == pytest.approx(12 / 2)
    for kernel, before in ((3, 2), (1, 1)):
        half, x = EqualConv(2, 3, kernel, half=True), torch.randn(1, 2, 6, 8)
        assert half(x).shape == (1, 3, 3, 4)
        want = torch.nn.functional.conv2d(blur(x, before, before), half.weight / (2 * kernel ** 2) ** 0.5, stride=2)
        assert torch.allclose(half(x), want, atol=1e-6)
    assert activate(torch.tensor([-1.0, 1.0])).tolist() == pytest.approx([-0.2 * 2 ** 0.5, 2 ** 0.5])


def test_deviation_by_hand():
    """Groups of two: deviations 1 and 3 of one pixel and 0 of the other; the mean goes to both images of a group."""
    x = torch.tensor([[0.0, 5.0], [2.0, 5.0], [1.0, 5.0], [7.0, 5.0]]).view(4, 1, 1, 2)
    out = add_deviation(x, 2)
    assert torch.equal(out[:, :1], x)
    assert out[:, 1, 0, 0].tolist() == pytest.approx([0.5, 0.5, 1.5, 1.5], abs=1e-3)


@pytest.mark.parametrize('batch, most, size', [(8, 4, 4), (4, 4, 2), (6, 4, 3), (2, 4, 1), (1, 4, 1), (3, 4, 3),
                                               (24, 4, 4), (10, 4, 1)])
def test_groups_hold_one_kind(batch, most, size):
    """Of a batch of reconstructions and images no group holds both: its size divides half of the batch."""
    assert group_size(batch, most) == size


def test_published_size():
    """29,012,513 parameters for 1,024 pixels, as StyleGAN2's configuration F."""
    with torch.device('meta'):
        discriminator = StyleGANDiscriminator(1024, width=32)
    assert sum(p.numel() for p in discriminator.parameters()) == 29012513


def test_all_parameters_learn():
    """Also of wide images; each gets a gradient, as do the images."""
    torch.manual_seed(0)
    discriminator = DISCRIMINATORS.build(dict(type='StyleGANDiscriminator', image_size=(16, 24), width=4, widest=8))
    images = torch.randn(4, 3, 16, 24, requires_grad=True)
    logits = discriminator(images)
    assert logits.shape == (4, 1)
    logits.square().mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in discriminator.parameters())
    assert images.grad.abs().sum((1, 2, 3)).min() > 0


@pytest.mark.parametrize('size', [4, 12, (16, 18)])
def test_sizes_that_do_not_halve(size):
    with pytest.raises(InputError, match='expected a smaller side of 8, 16'):
        StyleGANDiscriminator(size)


def test_other_images_are_refused():
    discriminator = StyleGANDiscriminator(**StyleGANDiscriminator.example)
    with pytest.raises(InputError, match='it was built for'):
        discriminator(torch.zeros(1, 3, 32, 32))
    with pytest.raises(InputError, match=r'expected \[B, 3, H, W\]'):
        discriminator(torch.zeros(3, 16, 16))
