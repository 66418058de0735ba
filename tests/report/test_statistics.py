"""Means, intervals and differences by hand, and how often the intervals hold what they should."""
import numpy as np
import pytest

from dtbox.report.statistics import compute_difference, compute_mean, compute_quantile, find_pareto_front


def test_mean_and_student_interval_by_hand():
    mean = compute_mean([1.0, 2.0, 3.0])  # s = 1, t(2) = 4.302653
    assert (mean.value, mean.count) == (2.0, 3) and mean.half == pytest.approx(4.302653 / 3 ** 0.5, rel=1e-6)
    assert compute_mean([5.0]).half is None and compute_mean([]) is None and compute_mean([2.0, 2.0]).half == 0
    assert compute_quantile(1e9) == pytest.approx(1.959964, rel=1e-6)


def test_paired_by_hand():
    # seeds 3 and 3, images 2, 2, 5, all 3: MS_S = 0, MS_P = 2 (1 + 1 + 4) / 2 = 6, MS_R = 4 / 2 = 2
    d = [[1.0, 2.0, 6.0], [3.0, 2.0, 4.0]]
    found = compute_difference(d)  # h^2 = 0 + t(2)^2 6 / 6
    assert (found.value, found.seeds, found.images) == (3.0, 2, 3) and found.half == pytest.approx(4.302653, rel=1e-6)
    # seeds 0.5, 4.5, 2.5: MS_S = 2 * 8 / 2 = 8; images 2, 3: MS_P = 3 * 0.5 = 1.5; MS_R = 0
    d = [[0.0, 1.0], [4.0, 5.0], [2.0, 3.0]]
    found = compute_difference(d)  # h^2 = t(2)^2 8 / 6 + t(1)^2 1.5 / 6
    assert found.half == pytest.approx((4.302653 ** 2 * 8 / 6 + 12.706205 ** 2 * 1.5 / 6) ** 0.5,
                                       rel=1e-6) and not found.sure
    assert found.narrow == pytest.approx(12.706205 * 0.5, rel=1e-6)


def test_one_seed_and_one_picture():
    assert compute_difference([[1.0, 2.0, 3.0]]).half == pytest.approx(4.302653 / 3 ** 0.5, rel=1e-6)
    assert compute_difference([[1.0], [2.0], [3.0]]).narrow is None
    assert compute_difference([[1.0], [2.0], [3.0]]).half == pytest.approx(4.302653 / 3 ** 0.5, rel=1e-6)
    lonely = compute_difference([[1.0]])
    assert lonely.half is None and not lonely.sure
    same = compute_difference(np.zeros((3, 5)))
    assert same.half == 0 and not same.sure and compute_difference(np.ones((3, 5))).sure


@pytest.mark.parametrize('seeds, images, spread', [
     (3, 200, (0.0, 1, 1)), (3, 200, (0.05, 1, 1)), (5, 100, (0.2, 0.5, 1)), (3, 40, (0.5, 1, 0.3))])
def test_intervals_hold_the_truth_about_as_often_as_they_say(seeds, images, spread):
    rng, hits = np.random.default_rng(0), 0
    for _ in range(600):
        d = (
            rng.normal(0, spread[0], (seeds, 1))
            + rng.normal(0, spread[1], (1, images))
            + rng.normal(0, spread[2], (seeds, images))
        )
        hits += not compute_difference(d).sure
    assert 0.93 < hits / 600 < 0.985


def test_pareto_front():
    points = [(1, 5), (2, 4), (2, 3), (3, 1), (1, 5), (0, 0)]
    assert find_pareto_front(points, (False, False)) == [True, True, False, True, True, False]
    assert find_pareto_front([(-a, b) for a, b in points], (True, False)) == [True, True, False, True, True, False]
    assert find_pareto_front([(1, 1)], (False, True)) == [True]
