"""What is special in Open-MAGVIT2's decoder, by hand; tests/converters/test_open_magvit2.py compares the whole."""
import pytest
import torch

from dtbox.decoders.magvit2 import AdaptiveGroupNorm, DepthToSpace
from dtbox.errors import InputError
from dtbox.registry import DECODERS


def test_adaptive_norm_by_hand():
    """A bit with the values -1 and 1 has the unbiased variance 2; values of 1e-3 show the epsilon of the norm."""
    norm = AdaptiveGroupNorm(32, 1)
    torch.nn.init.constant_(norm.gamma.weight, 3.0)
    torch.nn.init.constant_(norm.beta.weight, 5.0)
    for bias in (norm.gamma.bias, norm.beta.bias):
        torch.nn.init.constant_(bias, 0.5)
    x = torch.tensor([1e-3, -1e-3]).view(1, 1, 1, 2).repeat(1, 32, 1, 1)
    out = norm(x, torch.tensor([-1.0, 1.0]).view(1, 1, 1, 2))
    want = (3 * 2 ** 0.5 + 0.5) * 0.5 ** 0.5 + 0.5  # beta of the mean 0 is its bias
    assert out[0, :, 0, 0].allclose(torch.tensor(want)) and out[0, :, 0, 1].allclose(torch.tensor(1 - want))


def test_adaptive_norm_of_one_place():
    """The spread of a single place is none; unbiased it would divide by zero."""
    norm = AdaptiveGroupNorm(32, 2)
    assert norm(torch.randn(1, 32, 2, 2), torch.ones(1, 2, 1, 1)).isfinite().all()


def test_depth_to_space_by_hand():
    """Offsets are the slow part of the channels: row offset a, column offset b, then the channel."""
    layer = DepthToSpace(2)
    layer.conv1 = torch.nn.Identity()
    x = torch.arange(8.).view(1, 8, 1, 1).repeat(1, 1, 1, 2) + torch.tensor([0., 10.])
    assert layer(x)[0].tolist() == [[[0, 2, 10, 12], [4, 6, 14, 16]], [[1, 3, 11, 13], [5, 7, 15, 17]]]


@pytest.mark.parametrize('kind', ['MAGVIT2Decoder', 'MaskGITDecoder'])
@pytest.mark.parametrize('args, says', [
    (dict(image_size=16), 'makes images of .8, 8., but `image_size` is .16, 16.'),
    (dict(multipliers=(1, 0)), 'multipliers.* expected'), (dict(channels=48), '48 channels do not divide into the 32')])
def test_sizes_that_do_not_fit(kind, args, says):
    with pytest.raises(InputError, match=says):
        DECODERS.build({**DECODERS.get(kind).example, 'type': kind, **args})
