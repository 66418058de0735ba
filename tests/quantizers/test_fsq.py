"""FSQ: the grid by hand, and a code for every point of it."""
import itertools

import pytest
import torch

from dtbox.errors import InputError
from tests.quantizers.conftest import build


def test_by_hand():
    """Levels 5 and 4: values -2..2 over 2 and -2..1 over 2; the code is digit + 5 * digit."""
    fsq = build('FSQ', levels=[5, 4])
    far = 50.
    z = torch.tensor([[[0., 0.], [far, far], [-far, -far], [far, -far]]])
    out = fsq(z)
    assert out.features.tolist() == [[[0., 0.], [1., 0.5], [-1., -1.], [1., -1.]]]
    assert out.codes.tolist() == [[[2 + 5 * 2], [4 + 5 * 3], [0], [4]]] and out.losses == {}
    assert (fsq.dim, fsq.codebook_sizes) == (2, [20]) and fsq.state_dict() == {}
    # 5 levels: tanh(z) * 2.002 rounds to 1 from 0.5 to 1.5
    edges = torch.tensor([0.5, 1.5]).div(2.002).atanh()
    steps = torch.stack([edges - 1e-3, edges + 1e-3], 1).flatten()
    assert fsq(torch.stack([steps, steps * 0], 1)[None]).features[0, :, 0].tolist() == [0., 0.5, 0.5, 1.]


@pytest.mark.parametrize('levels', [[3], [4], [8, 5, 3], [4, 4, 3], [8, 8, 8]])
def test_every_code_has_one_point(levels):
    fsq = build('FSQ', levels=levels)
    size = fsq.codebook_sizes[0]
    codes = torch.arange(size).view(1, size, 1)
    points = fsq.decode(codes)
    assert len(set(map(tuple, points[0].tolist()))) == size and points.abs().max() <= 1
    grid = torch.tensor(list(itertools.product(*[[(i - n // 2) / (n // 2) for i in range(n)] for n in levels])))
    assert set(map(tuple, points[0].tolist())) == set(map(tuple, grid.tolist()))
    # what the bounding tanh maps onto the points: each comes back as its own code
    bounded = points.double() * torch.tensor([n // 2 for n in levels])
    z = ((bounded + fsq.offset.double()) / fsq.half_range.double()).atanh() - fsq.shift.double()
    assert torch.equal(fsq.encode(z.float()), codes) and torch.allclose(fsq.eval()(z.float()).features, points,
                                                                        atol=1e-6)


def test_gradient_is_that_of_the_bounding_tanh():
    fsq = build('FSQ', levels=[5])
    z = torch.tensor([[[0.3]]], requires_grad=True)
    fsq(z).features.sum().backward()
    assert z.grad.item() == pytest.approx((1 - torch.tensor(0.3).tanh().item() ** 2) * 2.002 / 2, rel=1e-5)


def test_even_levels_are_shifted_so_that_zero_is_a_level():
    fsq = build('FSQ', levels=[8])
    assert fsq(torch.zeros(1, 1, 1)).features.item() == 0 and fsq._bound(torch.zeros(1)).item() == pytest.approx(
        0, abs=1e-6
    )


def test_more_codes_than_numbers():
    assert build('FSQ', levels=[8] * 20).codebook_sizes == [8 ** 20]
    with pytest.raises(InputError, match='more than an int64 can number'):
        build('FSQ', levels=[8] * 21)


@pytest.mark.parametrize('levels', [[], [1, 8], [8.0], [8, -2], None, [True]])
def test_levels_are_checked(levels):
    with pytest.raises(InputError, match='expected a (list of (integers|whole numbers)|whole number)'):
        build('FSQ', levels=levels)
