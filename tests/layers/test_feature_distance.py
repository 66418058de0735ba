"""The distance of a tap of LPIPS and its gradient, swept piece by piece, against the formula and its autograd."""
import pytest
import torch

from dtbox.layers import feature_distance
from dtbox.layers.feature_distance import unit_distance


def by_autograd(made, real, weight):
    """The formula as tensors of whole feature maps."""
    unit = [x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10) for x in (made, real)]
    return ((unit[0] - unit[1]).square() * weight.view(1, -1, *[1] * (made.ndim - 2))).sum(1).flatten(1).mean(1)


@pytest.mark.parametrize('piece', [2 ** 30, 64, 7])  # many images, one image, a few positions at a time
@pytest.mark.parametrize('shape', [(3, 8, 5, 9), (2, 4, 11), (1, 3, 1, 1)])
def test_value_and_gradient(shape, piece, monkeypatch):
    monkeypatch.setitem(feature_distance.PIECE, 'cpu', piece)
    rng = torch.Generator().manual_seed(0)
    made, real = (torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_() for _ in range(2))
    weight, pull = torch.rand(shape[1], generator=rng, dtype=torch.float64), torch.rand(shape[0], generator=rng,
                                                                                        dtype=torch.float64)
    wanted, found = by_autograd(made, real, weight), unit_distance(made, real, weight)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found, made, pull)[0], torch.autograd.grad(wanted, made, pull)[0])
    with torch.no_grad():
        torch.testing.assert_close(unit_distance(made, real, weight), wanted)


def test_an_all_zero_vector_gets_no_gradient():
    made = torch.rand(1, 4, 3, 3)
    made[:, :, 1, 1] = 0
    made.requires_grad_()
    value = unit_distance(made, torch.rand(1, 4, 3, 3), torch.ones(4))
    gradient, = torch.autograd.grad(value.sum(), made)
    assert gradient.isfinite().all() and not gradient[:, :, 1, 1].any() and gradient[:, :, 0, 0].any()


def test_half_precision_is_summed_in_float32():
    made, real = torch.rand(2, 16, 30, 30), torch.rand(2, 16, 30, 30)
    half = made.bfloat16().requires_grad_()
    found = unit_distance(half, real.bfloat16(), torch.ones(16))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, unit_distance(made, real, torch.ones(16)), rtol=5e-3, atol=0)
    assert torch.autograd.grad(found.sum(), half)[0].dtype == torch.bfloat16


def test_second_derivatives_are_refused():
    made = torch.rand(1, 2, 2, 2).requires_grad_()
    with pytest.raises(NotImplementedError, match='a first derivative only'):
        torch.autograd.grad(unit_distance(made, torch.rand(1, 2, 2, 2), torch.ones(2)).sum(), made, create_graph=True)
