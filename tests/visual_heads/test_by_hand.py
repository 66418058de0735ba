"""A depth head of two places, two depths and three codes whose weights are written out."""
import math

import pytest
import torch

from dtbox.code_tables import CodeTables
from dtbox.registry import VISUAL_HEADS

CODES = dict(pixel=torch.tensor([[2, 0], [0, 1]]))
HIDDEN = torch.tensor([[3.0, 4.0], [0.0, 5.0]])


def set_weights(head):
    """H = W = 2, e = 1; g is relu-like: gelu of a large number is that number, so the MLP is the identity times 10."""
    chain, = head.chains
    first, _, second = chain.hidden_in
    with torch.no_grad():
        first.weight.copy_(torch.eye(2) * 10), first.bias.fill_(10.0)
        second.weight.copy_(torch.eye(2)), second.bias.fill_(-10.0)
        chain.code_in[0].weight.copy_(torch.tensor([[3.0], [-4.0]])), chain.code_in[0].bias.zero_()
        chain.position.zero_()
        chain.classifiers[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0],
                                                        [2.0, 0.0], [0.0, -2.0], [0.0, 0.0]]))
    return head


@pytest.fixture
def head():
    """Rows -1, 0, 1 and -1, 0, 1, whose deviation is sqrt(2/3)."""
    table = torch.tensor([[-1.0], [0.0], [1.0]])
    tables = CodeTables.from_tables(dict(pixel=[table, table.clone()]), 2)
    return set_weights(VISUAL_HEADS.build(dict(type='DepthHead', inner=2, blocks=0, heads=1), tables=tables, width=2))


def nll(logits, code):
    return math.log(sum(math.exp(x) for x in logits)) - logits[code]


def test_loss_by_hand(head):
    """With zero blocks v_1 = norm(10 h) and v_2 = norm(Wc row): (3,4) has the norm 5, so it becomes sqrt(2) (.6,.8)."""
    r = math.sqrt(2)
    first = nll([0.6 * r, 0.8 * r, 1.4 * r], 2) + nll([0.0, r, r], 0)
    # the row of code 2 is 1, of code 0 is -1: v_2 = sqrt(2) (.6, -.8) and its negative; the scale leaves the norm alone
    second = nll([1.2 * r, 1.6 * r, 0.0], 0) + nll([-1.2 * r, -1.6 * r, 0.0], 1)
    losses = head.losses(HIDDEN, CODES)
    assert losses.sums['pixel'].tolist() == pytest.approx([first, second], rel=1e-6)
    assert losses.counts['pixel'].tolist() == [2, 2]


def test_rows_are_divided_by_their_deviation(head):
    """The deviation of -1, 0, 1 is sqrt(2/3): the second vector is sqrt(3/2) (3, -4) times the row."""
    chain, = head.chains
    assert chain.accumulate('pixel', CODES['pixel'])[..., 0].tolist() == [pytest.approx([1.5 ** 0.5, 0.0]),
                                                                           pytest.approx([-1.5 ** 0.5, -1.5 ** 0.5])]


def test_a_share_of_the_places_is_unbiased(head):
    """Of two places one is kept: each comes half of the time, at double weight, so two draws of both kinds average to
    the full loss."""
    full = head.losses(HIDDEN, CODES).sums['pixel']
    found = {}
    for seed in range(20):
        found.setdefault(tuple(head.losses(HIDDEN, CODES, 0.5, torch.Generator().manual_seed(seed)).sums['pixel']
                               .tolist()), []).append(seed)
    assert len(found) == 2
    assert torch.allclose(torch.tensor(list(found)).mean(0), full, rtol=1e-6)


def test_a_share_of_many_places(head):
    """200 draws of 3 of 8 places: within 4 standard errors of the full loss."""
    hidden, codes = HIDDEN.repeat(4, 1) + torch.randn(8, 2), dict(pixel=torch.randint(3, (8, 2)))
    full = head.losses(hidden, codes).sums['pixel']
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        draws = torch.stack([head.losses(hidden, codes, 0.35, generator).sums['pixel'] for _ in range(200)])
    error = draws.std(0) / 200 ** 0.5
    assert ((draws.mean(0) - full).abs() < 4 * error).all() and (error < 0.05 * full).all()
