"""Mutual information by hand, and a baseline that takes away what chance gives."""
import numpy as np
import pytest

from dtbox.diagnostics import information
from dtbox.diagnostics.information import (
    compute_summands,
    count_pairs,
    find_telling_words,
    measure_tokens,
    measure_words,
)
from dtbox.errors import InputError


def test_by_hand():
    """p = [[1/2, 0], [1/4, 1/4]]: H(X) = 1, H(Y) = 0.8113, H(X,Y) = 1.5, so I = 0.3113 bits."""
    x, y, p = count_pairs(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]))
    assert p.tolist() == [.5, .25, .25] and compute_summands(x, y, p).sum() == pytest.approx(0.311278, abs=1e-6)
    assert information.compute_entropy(np.array([.75, .25, 0])) == pytest.approx(0.811278, abs=1e-6)
    # 5 belongs to 0 and 2 to 1: one bit
    x, y, p = count_pairs(np.array([0, 0, 1]), np.array([5, 5, 2]), weights=np.array([1., 2., 3.]))
    assert compute_summands(x, y, p).sum() == pytest.approx(1.)


def test_codes_that_are_the_colour():
    generator = np.random.default_rng(0)
    values = generator.integers(0, 4, (200, 16))
    found = measure_tokens(values * 1000 + 7, values, (4, 4))
    assert (
        found.raw == pytest.approx(found.entropy)
        and found.raw == pytest.approx(2, abs=0.01)
        and 0 < found.baseline < 0.01
    )
    assert found.bits == found.raw - found.baseline
    assert sorted(found.by_code) == [7, 1007, 2007, 3007] and sum(found.by_code.values()) == pytest.approx(found.raw)


def test_chance_is_taken_off():
    """Codes and values drawn apart, both the same all over an image: few independent samples, a large bias, and a
    baseline as large."""
    generator = np.random.default_rng(0)
    codes, values = (np.repeat(generator.integers(0, 12, (60, 1)), 16, 1) for _ in range(2))
    found = measure_tokens(codes, values, (4, 4), shuffles=40)
    assert found.raw > 1 and abs(found.bits) < 2.5 * found.deviation < .3


def test_position_alone_is_no_baseline():
    """What code and value have in common by their place on the grid counts as information: rolled grids do not share
    places."""
    codes = np.tile(np.arange(16), (50, 1))
    found = measure_tokens(codes, codes // 8, (4, 4))
    assert found.raw == pytest.approx(1.) and found.baseline < .1


def test_words_by_hand():
    """Two images: code 3 with the word 0, code 5 with the words 0 and 1: p(3,0) = 1/2, p(5,0) = p(5,1) = 1/4, as
    above."""
    found = measure_words(np.array([[3, 3], [5, 5]]), [[0], [0, 1]])
    assert found.raw == pytest.approx(0.311278, abs=1e-6) and found.entropy == pytest.approx(0.811278, abs=1e-6)
    assert found.by_code == {3: pytest.approx(.5 * np.log2(4 / 3)), 5: pytest.approx(.25 * np.log2(2 / 3) + .25)}
    # an image without words is no part of it
    with_silent = measure_words(np.array([[3, 3], [9, 9], [5, 5]]), [[0], [], [0, 1]])
    assert with_silent.raw == found.raw and 9 not in with_silent.by_code


def test_telling_words():
    """Code 1 is in image 0 alone (words 0, 2): word 0 has 1/2 there and 1/2 all over, word 2 has 1/2 there and 1/4
    all over."""
    codes, words = np.array([[1, 0], [0, 0]]), [[0, 2], [0, 1]]
    assert find_telling_words(codes, words, 1) == [(2, 2.0)]
    assert find_telling_words(codes, words, 7) == []


def test_nothing_to_count():
    with pytest.raises(InputError, match='no image has a caption'):
        measure_words(np.zeros((2, 4), dtype=np.int64), [[], []])
