"""Patches: colours and edges by hand, which patch shows a code, and cuts that reach over the border."""
import numpy as np
import pytest
import torch

from dtbox.diagnostics import patches


def test_cells_of_a_grid_that_leaves_pixels_over():
    assert patches.compute_cell_size((384, 384), (27, 27)) == (14, 14)
    assert patches.compute_cell_size((32, 64), (4, 4)) == (8, 16)


def test_colours_and_edges_by_hand():
    """Left patch: one colour. Right patch: black rows, then white rows; luma changes by half a step in two of four
    rows."""
    image = torch.zeros(1, 3, 4, 8)
    # levels 3, 2, 0 of 4
    image[:, 0, :, :4] = 1.
    image[:, 1, :, :4] = 0.
    image[:, 2, :, :4] = -1.
    image[..., 4:] = -1
    image[..., 2:, 4:] = 1
    colours, edges = patches.compute_statistics(image, (1, 2))
    assert colours.dtype == torch.uint8 and colours.tolist() == [[3 * 16 + 2 * 4 + 0, 2 * 16 + 2 * 4 + 2]]
    far = patches.compute_statistics(image[..., 4:], (1, 1))[1]
    # at the seam both patches have an edge
    assert far.item() == pytest.approx((0 + .5 + .5 + 0) / 4) and edges[0, 1] > edges[0, 0] > 0


def test_edges_fall_into_even_bins():
    edges = np.concatenate([np.zeros(50), np.linspace(0, 1, 50)]).reshape(10, 10)
    bins = patches.bin_edges(edges)
    assert bins.shape == (10, 10) and bins.min() == 0 and len(np.unique(bins)) == 5 and (bins[edges == 0] == 0).all()


def test_words():
    assert patches.split_words("The man's RED-haired man, in 2 hats") == ["man's", 'red', 'haired', 'man', 'hats']
    known, owned = patches.number_words(['red fox', 'a red hen', 'fox', '', 'red fox hen'])
    assert known == ['fox', 'red'] and owned == [[1, 0], [1], [0], [], [1, 0]]


def test_examples():
    codes = np.zeros((4, 9), dtype=np.int64)
    codes[1, [0, 4, 5, 8]] = 7
    codes[2, 3] = 7
    codes[3, 6] = 7
    found = patches.choose_examples(codes, 7, (3, 3), ['a', 'b', 'c', 'd'], 5)
    assert found[0] == (1, 4) and sorted(found[1:]) == [(2, 3), (3, 6)]  # token 4 has three more of the code around it
    assert patches.choose_examples(codes, 7, (3, 3), ['a', 'b', 'c', 'd'], 1) == [(1, 4)]
    assert patches.choose_examples(codes, 8, (3, 3), list('abcd'), 5) == []


def test_crop_keeps_the_patch_in_the_middle():
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    cut = patches.crop(image, 0, (2, 3))  # patches of 2 x 2 pixels; the first lies in the corner
    assert cut.shape == (6, 6, 4) and (cut[2:6, 2:6, :3] == image[:4, :4]).all() and (cut[2:, 2:, 3] == 255).all()
    assert not cut[:2].any() and not cut[:, :2].any()
    assert (patches.crop(image, 4, (2, 3), context=0)[..., :3] == image[2:4, 2:4]).all()


@pytest.mark.parametrize('count, most, want', [(3, 5, [0, 1, 2]), (10, 4, [0, 2, 5, 7]), (5, 5, [0, 1, 2, 3, 4])])
def test_evenly(count, most, want):
    assert patches.choose_evenly(count, most) == want
