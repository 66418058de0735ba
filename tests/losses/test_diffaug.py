"""DiffAug: each kind by hand, its draws, and gradients through all of them."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.losses.diffaug import DiffAug, blur, change_colour, cut_out, translate
from dtbox.registry import AUGMENTATIONS

GRID = torch.arange(9.0).view(1, 1, 3, 3)


def test_translate_by_hand():
    """One image moves up by a row and left by a column, the other down by a row; zeros come in."""
    moved = translate(GRID.expand(2, 1, 3, 3) + 1, torch.tensor([1, -1]), torch.tensor([1, 0]))
    assert moved[0, 0].tolist() == [[5, 6, 0], [8, 9, 0], [0, 0, 0]]
    assert moved[1, 0].tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]


def test_change_colour_by_hand():
    """A pixel (0, 3) of mean 1.5 and one (4, 5) of mean 4.5, plus 1; then saturation alone, then contrast alone."""
    x = torch.tensor([[0.0, 4.0], [3.0, 5.0]]).view(1, 2, 1, 2)
    one, zero = torch.ones(1), torch.zeros(1)
    assert change_colour(x, one, one, one).flatten().tolist() == [1, 5, 4, 6]
    assert change_colour(x, zero, 2 * one, one).flatten().tolist() == [-1.5, 3.5, 4.5, 5.5]
    assert change_colour(x, zero, one, 0.5 * one).flatten().tolist() == [1.5, 3.5, 3.0, 4.0]
    assert change_colour(x, zero, zero, one).flatten().tolist() == [1.5, 4.5, 1.5, 4.5]


def test_cut_out_by_hand():
    """Two rows of three columns around (1, 0): rows 0 and 1, columns 0 and 1; what is outside is left out."""
    kept = cut_out(torch.ones(2, 1, 4, 4), torch.tensor([1, 4]), torch.tensor([0, 2]), 2, 3)
    assert kept[0, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert kept[1, 0].tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 0, 0]]


def test_blur_by_hand():
    """Width 0.5 reaches one pixel: 2^-4 beside 1, over 1.125; beyond an edge the image is mirrored."""
    x = torch.zeros(1, 2, 3, 3)
    x[0, 1, 1, 1] = 1
    side, middle = 0.0625 / 1.125, 1 / 1.125
    along = torch.tensor([2 * side, middle, 2 * side])  # the first row sees the second above and below
    assert torch.allclose(blur(x, 0.5)[0], torch.stack([torch.zeros(3, 3), torch.outer(along, along)]), atol=1e-6)
    assert torch.equal(blur(x, 0.3), x)
    assert torch.allclose(blur(torch.full((1, 3, 32, 32), 0.7), 4.0), torch.tensor(0.7))


def test_amounts(monkeypatch):
    """Draws of 0 shift by an eighth to one side, halve contrast, and cut at the first corner."""
    monkeypatch.setattr(torch, 'rand', lambda *size, **_: torch.zeros(size))
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    only = dict(translation=0.0, colour=False, cutout=0.0)
    assert torch.equal(DiffAug(**{**only, 'translation': 0.125})(x), translate(x, *torch.full((2, 2), -2)))
    half, zero = torch.full((2,), 0.5), torch.zeros(2)
    assert torch.equal(DiffAug(**{**only, 'colour': True})(x), change_colour(x, -half, zero, half))
    first = torch.zeros(2, dtype=torch.int64)
    assert torch.equal(DiffAug(**{**only, 'cutout': 0.25})(x), cut_out(x, first, first, 4, 4))


def test_largest_amounts(monkeypatch):
    """Draws just below 1 shift to the other side; an even cut may lie beyond the last pixel, an odd one may not."""
    monkeypatch.setattr(torch, 'rand', lambda *size, **_: torch.full(size, 0.0 if size == (3,) else 0.9999))
    x, only = torch.randn(1, 3, 16, 16), dict(translation=0.0, colour=False, cutout=0.0)
    assert torch.equal(DiffAug(**{**only, 'translation': 0.125})(x), translate(x, *torch.full((2, 1), 2)))
    for side, last in ((4, 16), (3, 15)):
        end = torch.tensor([last])
        assert torch.equal(DiffAug(**{**only, 'cutout': side / 16})(x), cut_out(x, end, end, side, side))


def test_nothing_is_drawn():
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(DiffAug(probability=0.0)(x), x)
    assert DiffAug()(x.bfloat16()).dtype == torch.float32


def test_blur_fades():
    """The width begins at sqrt(H / 2) and is 0 after `blur` iterations."""
    part, x = DiffAug(probability=0.0, blur=4), torch.rand(1, 3, 8, 8)
    assert torch.equal(part(x, 0), blur(x, 2.0))
    assert torch.equal(part(x, 1), blur(x, 1.5))
    assert torch.equal(part(x, 4), x)


def test_gradients_pass():
    """Of the sum of all pixels, a gradient reaches each image."""
    torch.manual_seed(0)
    x = torch.rand(4, 3, 16, 16, requires_grad=True)
    AUGMENTATIONS.build(dict(type='DiffAug', blur=8))(x, 2).square().sum().backward()
    assert x.grad.isfinite().all()
    assert x.grad.abs().sum((1, 2, 3)).min() > 0


@pytest.mark.parametrize('change', [dict(probability=2.0), dict(cutout=-0.1), dict(blur=-1)])
def test_refused(change):
    with pytest.raises(InputError, match=next(iter(change))):
        DiffAug(**change)
