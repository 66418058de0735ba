"""Convolution blocks: names of the parameters, shapes, and values that can be computed by hand."""
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dtbox.errors import InputError
from dtbox.layers.conv import (
    Downsample,
    Middle,
    ResidualConv,
    SpatialAttention,
    Upsample,
    conv3x3,
    group_norm,
    upsample_conv,
)


def names(module):
    return sorted({k.rsplit('.', 1)[0] for k in module.state_dict()})


def test_parameter_names_are_the_published_ones():
    assert names(ResidualConv(32, 64)) == ['conv1', 'conv2', 'nin_shortcut', 'norm1', 'norm2']
    assert names(ResidualConv(32, 32)) == ['conv1', 'conv2', 'norm1', 'norm2']
    assert names(SpatialAttention(32)) == ['k', 'norm', 'proj_out', 'q', 'v']
    assert names(Upsample(4)) == names(Downsample(4)) == ['conv']
    assert {n.split('.')[0] for n in names(Middle(32))} == {'attn_1', 'block_1', 'block_2'}


def test_group_norm_has_32_groups_and_a_small_eps():
    norm = group_norm(64)
    assert (norm.num_groups, norm.eps, norm.affine) == (32, 1e-6, True)


@pytest.mark.parametrize('channels', [48, 0, 16])
def test_group_norm_refuses_other_widths(channels):
    with pytest.raises(InputError, match='multiple of 32'):
        group_norm(channels)


@pytest.mark.parametrize('out_channels', [32, 64])
def test_residual_block_is_its_shortcut(out_channels):
    """A residual block whose second convolution is zero is its shortcut."""
    block = ResidualConv(32, out_channels)
    torch.nn.init.zeros_(block.conv2.weight)
    torch.nn.init.zeros_(block.conv2.bias)
    x = torch.randn(2, 32, 3, 5)
    want = x if out_channels == 32 else F.conv2d(x, block.nin_shortcut.weight, block.nin_shortcut.bias)
    assert torch.allclose(block(x), want, atol=1e-6)


def test_first_kernel_of_one_sees_one_pixel_only():
    block = ResidualConv(32, 32, first_kernel=1)
    assert block.conv1.weight.shape == (32, 32, 1, 1)
    assert block(torch.randn(1, 32, 3, 3)).shape == (1, 32, 3, 3)


def test_attention_follows_the_formula():
    block = SpatialAttention(32).double()
    x = torch.randn(2, 32, 2, 3, dtype=torch.double)
    h = block.norm(x).flatten(2)

    def linear(conv):
        return torch.einsum('oc,bcn->bon', conv.weight[:, :, 0, 0], h) + conv.bias[:, None]
    weights = (torch.einsum('bcn,bcm->bnm', linear(block.q), linear(block.k)) / 32 ** .5).softmax(-1)
    mixed = torch.einsum('bnm,bcm->bcn', weights, linear(block.v)).reshape(x.shape)
    assert torch.allclose(block(x), x + block.proj_out(mixed), atol=1e-10)


def test_upsample_repeats_pixels_before_the_convolution():
    block = Upsample(1)
    block.conv.weight.data = torch.zeros(1, 1, 3, 3)
    block.conv.weight.data[0, 0, 1, 1] = 1.
    block.conv.bias.data.zero_()
    out = block(torch.tensor([[[[1., 2.]]]]))
    assert out.tolist() == [[[[1., 1., 2., 2.], [1., 1., 2., 2.]]]]


def test_downsample_pads_to_the_right_and_below():
    block = Downsample(1)
    block.conv.weight.data = torch.arange(9.).view(1, 1, 3, 3)
    block.conv.bias.data.zero_()
    x = torch.tensor([[[[1., 2.], [3., 4.]]]])
    # the third row and column of the kernel see zeros
    assert block(x).tolist() == [[[[1 * 0 + 2 * 1 + 3 * 3 + 4 * 4.]]]]


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('size', [(1, 1), (3, 5), (40, 33)])
def test_upsample_conv_is_both_steps(size, layout):
    """Values and gradients of nearest x2 and a convolution, borders included."""
    conv = nn.Conv2d(4, 6, 3, padding=1)
    x = torch.randn(2, 4, *size).to(memory_format=layout).requires_grad_()
    want = conv(F.interpolate(x, scale_factor=2, mode='nearest'))
    out = upsample_conv(x, conv)
    torch.testing.assert_close(out, want, rtol=1e-5, atol=1e-5)
    pull = torch.randn_like(want)
    for found, expected in zip(*(torch.autograd.grad((y * pull).sum(), [x, conv.weight, conv.bias])
                                 for y in (out, want))):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * max(1, float(expected.abs().max())))


def test_large_maps_have_their_channels_last():
    """From 128 x 128 pixels on, on the CPU: before and after a block; smaller ones stay as they are."""
    block = ResidualConv(32, 32)
    for side, last in ((127, False), (128, True)):
        out = block(torch.randn(1, 32, side, side))
        assert out.is_contiguous(memory_format=torch.channels_last) == last
    assert upsample_conv(torch.randn(1, 4, 64, 64), conv3x3(4, 4)).is_contiguous(memory_format=torch.channels_last)
