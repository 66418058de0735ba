"""Temperature, top-k and top-p, by hand."""
import math

import pytest
import torch

from dtbox.sampling import Choice, filter_logits

NO = float('-inf')
P = torch.tensor([[0.1, 0.5, 0.15, 0.25]])


def left(logits, **choice):
    """Return the ids of each row that may be drawn."""
    return [row.isfinite().nonzero()[:, 0].tolist() for row in filter_logits(logits, Choice(**choice))]


def test_temperature():
    """Halving it squares the odds: .5 to .25 become 4 to 1."""
    probabilities = filter_logits(P.log(), Choice(0.5)).softmax(-1)
    assert torch.allclose(probabilities, P ** 2 / 0.345, atol=1e-6)
    assert filter_logits(P.log().bfloat16(), Choice()).dtype == torch.float32


@pytest.mark.parametrize('k, ids', [(1, [1]), (2, [1, 3]), (3, [1, 2, 3]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])])
def test_top_k(k, ids):
    assert left(P.log(), top_k=k) == [ids]


def test_top_k_of_equal_logits():
    assert [len(ids) for ids in left(torch.zeros(2, 6), top_k=4)] == [4, 4]


@pytest.mark.parametrize('p, ids', [(0.01, [1]), (0.49, [1]), (0.51, [1, 3]), (0.74, [1, 3]), (0.76, [1, 2, 3]),
                                    (0.91, [0, 1, 2, 3]), (1.0, [0, 1, 2, 3])])
def test_top_p_keeps_what_crosses(p, ids):
    assert left(P.log(), top_p=p) == [ids]


def test_temperature_comes_before_top_p():
    """At .5 the probabilities are .72, .18, .07, .03: one id reaches .7, of the plain ones two."""
    assert left(P.log(), top_p=0.7) == [[1, 3]]
    assert left(P.log(), top_p=0.7, temperature=0.5) == [[1]]


def test_top_k_comes_before_top_p():
    """Of the two largest alone the first has 2/3: .6 is reached at once. Over all four it has half."""
    assert left(P.log(), top_p=0.6, top_k=2) == [[1]]
    assert left(P.log(), top_p=0.6) == [[1, 3]]


@pytest.mark.parametrize('choice', [dict(temperature=0), dict(top_k=1), dict(temperature=1e-38), dict(top_p=1e-9)])
def test_ways_to_be_greedy(choice):
    logits = torch.randn(50, 7) * 20
    values = filter_logits(logits, Choice(**choice)).softmax(-1)
    assert torch.equal(values.argmax(-1), logits.argmax(-1)) and torch.equal(values.amax(-1), torch.ones(50))


def test_no_row_becomes_empty():
    """Whatever is masked before: one id at least has a probability."""
    logits = torch.randn(200, 9).mul(30).masked_fill(torch.rand(200, 9) < 0.8, NO)
    logits[:, 4] = 0
    for choice in (dict(temperature=1e-30, top_k=3, top_p=1e-6), dict(top_k=9, top_p=1e-6), dict(temperature=1e30)):
        values = filter_logits(logits, Choice(**choice)).softmax(-1)
        assert values.isfinite().all() and torch.allclose(values.sum(-1), torch.ones(200))
        assert not values[logits == NO].any()


def test_top_k_one_of_equal_logits_is_the_first():
    assert left(torch.tensor([[1.0, 3.0, 3.0]]), top_k=1) == [[1]]


def test_probabilities_after_filters():
    """What remains keeps its odds."""
    values = filter_logits(P.log(), Choice(top_k=2)).softmax(-1)
    assert math.isclose(values[0, 1], 2 / 3, rel_tol=1e-6) and math.isclose(values[0, 3], 1 / 3, rel_tol=1e-6)
