"""Each row draws with its own generator."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.sampling import Choice, Guidance, Sampler, SamplingRule, draw, draw_uniforms


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_inverse_of_the_cumulative_distribution():
    """Bounds at 0, .2, .2, .7, 1: an id of probability 0 never comes, not even at its bound."""
    logits = torch.tensor([[0.0, 0.2, 0.0, 0.5, 0.3]]).log().expand(6, 5)
    points = torch.tensor([0.0, 0.199, 0.201, 0.699, 0.701, 1 - 2 ** -53], dtype=torch.float64)
    assert draw(logits, Choice(), points).tolist() == [1, 1, 3, 3, 4, 4]


def test_frequencies():
    """20,000 draws from three ids: chi-square with 2 degrees of freedom below its 0.9999 quantile, 18.4."""
    p = torch.tensor([0.6, 0.3, 0.1])
    ids = draw(p.log().expand(20000, 3), Choice(), draw_uniforms(generators(3), 20000)[0])
    seen = torch.bincount(ids, minlength=3).double()
    assert float(((seen - 20000 * p) ** 2 / (20000 * p)).sum()) < 18.4


def test_a_row_does_not_depend_on_its_batch():
    logits = torch.randn(7, 30)
    numbers = draw_uniforms(generators(*range(7)), 2)
    assert torch.equal(draw_uniforms(generators(4), 2), numbers[4:5])
    together = draw(logits, Choice(0.8, 20, 0.9), numbers[:, 1])
    assert torch.equal(draw(logits[4:5], Choice(0.8, 20, 0.9), numbers[4:5, 1]), together[4:5])
    assert len(set(together.tolist())) > 2


def test_one_generator_is_not_all_rows():
    """n drawings of one prompt do not begin alike."""
    assert len(set(draw(torch.zeros(40, 1000), Choice(), draw_uniforms(generators(*range(40)), 1)[:, 0]).tolist())) > 35


def test_rules_move_generators_alike():
    """A greedy place leaves a row's generator where a drawn one does."""
    states = []
    for rule in (SamplingRule(), SamplingRule(temperature=0)):
        own = generators(1)
        sampler = Sampler(rule, None, own, dict(pixel=3))
        for depth in range(3):
            sampler.draw('pixel', depth, torch.zeros(1, 5))
        states.append(own[0].get_state())
    assert torch.equal(*states)


def test_both_halves_go_on_with_the_same_codes():
    sampler = Sampler(SamplingRule(temperature=0), Guidance(3.0), generators(0, 1), dict(pixel=1))
    codes = sampler.draw('pixel', 0, torch.eye(4))
    assert codes.tolist() == [0, 1] and sampler.repeat(codes).tolist() == [0, 1, 0, 1]


def test_shapes_that_are_refused():
    with pytest.raises(InputError, match=r'logits are \[3, 4\] and uniforms \[2\]'):
        draw(torch.zeros(3, 4), Choice(), torch.zeros(2, dtype=torch.float64))
    with pytest.raises(InputError, match=r'\[3, 8\] for 3 generators; expected \[6, H\], conditional and'):
        Sampler(SamplingRule(), Guidance(2.0), generators(0, 1, 2), dict(pixel=1)).check(torch.zeros(3, 8))
