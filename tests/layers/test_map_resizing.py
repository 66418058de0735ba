"""Area means and bicubic enlarging, by hand and beside torch."""
import pytest
import torch
import torch.nn.functional as F

from dtbox.layers.map_resizing import area_matrix, bicubic_matrix, resize_map


def test_windows_of_means_by_hand():
    """Five places to two windows of three: the middle one belongs to both."""
    assert area_matrix(5, 2) == pytest.approx(torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]]).numpy() / 3)
    assert area_matrix(2, 1).tolist() == [[.5, .5]]


def test_cubic_weights_by_hand():
    """Two places to four: the first lies a quarter before place 0, which is its left border too."""
    row = bicubic_matrix(2, 4)[0]
    # t = 0.75 from place -1; far(1.75) and near(0.75), near(0.25) at place 0; far(1.25) at place 1, a = -0.75
    assert row.tolist() == pytest.approx([1.10546875, -.10546875]) and bicubic_matrix(1, 3).tolist() == [[1.]] * 3


@pytest.mark.parametrize('size, target', [((16, 16), (13, 13)), ((16, 9), (3, 5)), ((7, 7), (7, 7)), ((4, 4), (1, 1))])
def test_area_as_torch(size, target):
    x = torch.randn(2, 3, *size)
    assert torch.allclose(resize_map(x, target, area_matrix), F.interpolate(x, target, mode='area'), atol=1e-6)


@pytest.mark.parametrize('size, target', [((13, 13), (16, 16)), ((1, 2), (5, 9)), ((7, 7), (7, 7)), ((3, 3), (16, 16))])
def test_bicubic_as_torch(size, target):
    x = torch.randn(2, 3, *size)
    want = F.interpolate(x, target, mode='bicubic', align_corners=False)
    assert torch.allclose(resize_map(x, target, bicubic_matrix), want, atol=2e-6)
