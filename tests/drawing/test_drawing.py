"""Drawing: what is computed by hand, and plots of every size that a run can bring."""
import numpy as np
import pytest
import torch
from PIL import Image

from dtbox.drawing import codebook_usage as codebooks
from dtbox.drawing import curves, sheets
from dtbox.errors import InputError


def test_to_uint8_refuses_nan():
    images = torch.zeros(2, 3, 4, 4)
    images[1, 0, 2, 3] = float('nan')
    with pytest.raises(InputError, match=r'the images \[2, 3, 4, 4\] hold NaN'):
        sheets.to_uint8(images)
    images[1, 0, 2, 3] = float('inf')
    assert sheets.to_uint8(images)[1, 2, 3, 0] == 255


def test_to_uint8_rounds_and_clamps():
    images = torch.tensor([-2., -1, 0, 1]).view(1, 1, 1, 4).expand(1, 3, 1, 4)
    assert sheets.to_uint8(images)[0, 0, :, 0].tolist() == [0, 0, 128, 255]


def test_difference_is_white_from_a_quarter_of_the_range():
    black = np.zeros((1, 1, 3, 3), np.uint8)
    other = black.copy()
    other[0, 0, 1], other[0, 0, 2] = 32, (255, 255, 0)  # 32 / 255 / 0.25 = 0.50196 of white
    assert sheets.compute_difference(black, other)[0, 0, :, 0].tolist() == [0, 128, 255]
    assert (sheets.compute_difference(other, black) == sheets.compute_difference(black, other)).all()


@pytest.mark.parametrize('side, zoom', [(32, 6), (64, 3), (96, 2), (128, 1), (384, 1)])
def test_small_pictures_are_enlarged(side, zoom):
    assert sheets.choose_zoom(side, side) == zoom == sheets.choose_zoom(side // 2, side)


def test_sheet_holds_the_pixels(tmp_path):
    generator = np.random.default_rng(0)
    groups = [sheets.Group(name, *generator.integers(0, 256, (2, n, 32, 64, 3), dtype=np.uint8), ['30.0 dB'] * n)
              for name, n in (('a', 5), ('b', 2))]
    sheets.draw_sheet(groups, tmp_path / 'sheet.png', 'title', differences=True, tile=128)
    sheet = Image.open(tmp_path / 'sheet.png')
    step = 134
    left = 20 + 120
    top = 20 + 36 + 28 + 38
    assert sheet.size[0] == 20 + 120 + 5 * step - 6 + 20
    tile = sheet.crop((left + 4 * step, top, left + 4 * step + 128, top + 64)).resize((64, 32),
                                                                                      Image.Resampling.NEAREST)
    assert (np.asarray(tile) == groups[0].inputs[4]).all()
    tile = sheet.crop((left, top + 70, left + 128, top + 134)).resize((64, 32), Image.Resampling.NEAREST)
    assert (np.asarray(tile) == groups[0].reconstructions[0]).all()


@pytest.mark.parametrize('count, columns', [(1, 1), (8, 8), (9, 5), (16, 8), (17, 6)])
def test_lines_of_a_sheet_are_balanced(count, columns):
    assert sheets._columns(count, 192) == columns


def test_ranked_sorts_what_is_used():
    edges, shares = codebooks.rank_codes(np.array([0, 2, 0, 6, 0]))
    assert edges.tolist() == [0, 1, 2] and shares.tolist() == [.75, .25]
    edges, shares = codebooks.rank_codes(np.array([1, 4, 2, 0, 1]), bins=2)  # 4, 2 | 1, 1
    assert edges.tolist() == [0, 2, 4] and shares.tolist() == [3 / 8, 1 / 8]


def panel(name, depth, size):
    histogram = np.random.default_rng(size).poisson(np.linspace(3, 0, size))
    return codebooks.Codebook(name, depth, histogram[histogram > 0], len(histogram), .5, 12.3,
                              int((histogram == 0).sum()))


def test_panels_of_codebooks():
    rq = [panel(name, d, 16) for name in 'ab' for d in range(6)]
    assert [[(c.vocabulary, c.depth) for c in row] for row in codebooks.arrange_panels(rq)] == [
        [('a', 0), ('a', 1), ('a', 2), ('a', 3)],
        [('a', 4), ('a', 5)],
        [('b', 0), ('b', 1), ('b', 2), ('b', 3)],
        [('b', 4), ('b', 5)],
    ]
    assert [len(row) for row in codebooks.arrange_panels([panel(n, None, 16) for n in 'ab'])] == [2]


@pytest.mark.parametrize('panels', [[('a', None, 60000)], [('a', 0, 16), ('a', 1, 16), ('b', None, 1)]])
def test_codebooks_are_drawn(tmp_path, panels):
    codebooks.draw_codebooks([panel(*p) for p in panels], tmp_path / 'c.png', 'run: use of the codes')
    assert min(Image.open(tmp_path / 'c.png').size) > 300


def test_terms_are_grouped():
    names = ['iteration', 'seconds', 'commitment_pixel', 'l2', 'commitment_semantic', 'feature_perceptual', 'logits',
             'total', 'generator_base_lr', 'generator_lr', 'discriminator_lr']
    assert curves.group_names(names) == {
        'total': {'total': 'total'}, 'commitment': {'commitment_pixel': 'pixel', 'commitment_semantic': 'semantic'},
        'l2': {'l2': 'l2'}, 'feature perceptual': {'feature_perceptual': 'feature perceptual'},
        'logits': {'logits': 'logits'}, 'learning rate': {'generator_base_lr': 'generator',
                                                          'discriminator_lr': 'discriminator'}}
    assert list(curves.group_names(names)) == ['total', 'commitment', 'l2', 'feature perceptual', 'logits',
                                               'learning rate']


@pytest.mark.parametrize('terms, rows', [(1, 1), (15, 12)])
def test_curves_are_drawn(tmp_path, terms, rows):
    history = [dict(iteration=20 * i, seconds=1.0, lr=1e-3,
                    **{f'term{k}': 10.0 ** -i for k in range(terms) if k < 12 or i > 6})
               for i in range(1, rows + 1)]
    curves.draw_curves(history, tmp_path / 'l.png', 'run: terms')
    width, height = Image.open(tmp_path / 'l.png').size
    assert width > 400 and height > 300 and (terms == 1 or width > 1500)
