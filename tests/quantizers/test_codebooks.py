"""The EMA codebook: updates and restarts by hand."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.quantizers.codebooks import draw, smoothed, statistics
from dtbox.registry import CODEBOOKS
from tests.quantizers.conftest import same_state, set_table, state_of


def book(rows, **args):
    rows = torch.as_tensor(rows)
    made = CODEBOOKS.build(dict(type='EMACodebook', size=rows.shape[0], dim=rows.shape[1], **args))
    set_table(made, rows)
    return made


def collect(made, values):
    """Collect values [M] or [M, C] as one image of M tokens."""
    z = torch.as_tensor(values).view(1, 1, len(values), -1)
    made.collect(z, made.search(z.flatten(0, 2)).view(1, 1, -1))


def test_statistics_by_hand():
    count, total = statistics(torch.tensor([[1., 2.], [3., 4.], [5., 6.]]), torch.tensor([2, 0, 2]), 4)
    assert count.tolist() == [1, 0, 2, 0] and total.tolist() == [[3., 4.], [0., 0.], [6., 8.], [0., 0.]]


def test_smoothing_by_hand():
    """n = 2.5, eps = 0.5: counts 1.5 and 1 become 2.5 * 2 / 3.5 and 2.5 * 1.5 / 3.5."""
    table = smoothed(torch.tensor([1.5, 1.0]), torch.tensor([[1.5], [9.5]]), 0.5)
    assert table.flatten().tolist() == pytest.approx([1.5 * 3.5 / 5, 9.5 * 3.5 / 3.75])


def test_update_by_hand():
    """Values 1 and 2 go to code 0, 9 to code 1; decay 1/2; counts begin at 1 where nothing restarts."""
    made = book([[0.], [10.]], decay=0.5, restart=0.0, eps=0.5)
    collect(made, [1., 9., 2.])
    made.commit()
    assert made.cluster_size.tolist() == [1.5, 1.0] and made.embed_sum.flatten().tolist() == [1.5, 9.5]
    assert made.weight.flatten().tolist() == pytest.approx([1.05, 9.5 * 3.5 / 3.75]) and made.updates.item() == 1
    collect(made, [1., 1.])
    made.commit()
    assert made.cluster_size.tolist() == [1.75, 0.5] and made.embed_sum.flatten().tolist() == [1.75, 4.75]


def test_unused_codes_stay_without_restart():
    made = book([[0.], [10.], [-5.]], restart=0.0)
    collect(made, [1., 2.])
    made.commit()
    assert made.weight[1:].flatten().tolist() == pytest.approx([10., -5.], rel=1e-3)


@pytest.mark.parametrize('how', ['nothing', 'discarded', 'empty'])
def test_nothing_collected_changes_nothing(how):
    made = book([[0.], [10.]])
    if how == 'discarded':
        collect(made, [1.])
        made.discard()
    elif how == 'empty':
        made.collect(torch.zeros(1, 0, 4, 1), torch.zeros(1, 0, 4, dtype=torch.int64))
    before = state_of(made)
    made.commit()
    assert same_state(made, before) and made.pending == []


def test_collected_is_a_copy():
    made = book([[0.], [10.]], decay=0.5, restart=0.0)
    z, codes = torch.tensor([[[[1.]]]]), torch.zeros(1, 1, 1, dtype=torch.int64)
    made.collect(z, codes)
    z.fill_(99.), codes.fill_(1)
    made.commit()
    assert made.embed_sum.flatten().tolist() == [0.5, 5.0] and made.cluster_size.tolist() == [1.0, 0.5]


def test_restart_with_enough_candidates():
    """Code 0 gets all four values and lives (averaged count 2); codes 1 and 2 take two different ones of them, as they
    are."""
    made = book([[0.], [50.], [60.]], decay=0.5, eps=1e-9)
    values = [1., 2., 3., 4.]
    collect(made, values)
    made.commit()
    assert made.cluster_size.tolist() == [2., 1., 1.] and made.embed_sum[0].item() == 5.
    taken = made.embed_sum[1:].flatten().tolist()
    assert set(taken) <= set(values) and len(set(taken)) == 2
    assert made.weight.flatten().tolist() == pytest.approx([2.5, *taken])


def test_restart_with_too_few_candidates():
    """One vector for eight codes: copies of it with one-sided noise below 0.01 / sqrt(C) tell the codes apart."""
    made = book(torch.randn(8, 4) + 20, decay=0.5)
    value = torch.tensor([[1., 2., 3., 4.]])
    collect(made, value)
    made.commit()
    noise = made.embed_sum - value
    assert made.cluster_size.tolist() == [1.] * 8
    assert noise.min() >= 0 and 0.002 < noise.max() < 0.01 / 2 + 1e-6 and len({tuple(r) for r in noise.tolist()}) == 8
    assert torch.allclose(made.weight, made.embed_sum, atol=1e-3)


@pytest.mark.parametrize('restart, sums', [(1.0, [15.]), (1.01, [0., 10.])])
def test_threshold(restart, sums):
    """Averaged counts 2 and 1: what reaches the threshold lives, with half the old sum and half of 10 + 10."""
    made = book([[0.], [10.]], decay=0.5, restart=restart)
    collect(made, [0., 0., 0., 0., 10., 10.])
    made.commit()
    assert made.cluster_size.tolist() == [2., 1.] and made.embed_sum[1].item() in sums


def test_restart_follows_from_the_state():
    """Two tables with one state restart alike, whatever the global generators; another count of updates or seed draws
    otherwise."""
    state, values = state_of(book(torch.randn(16, 2) + 9)), torch.randn(40, 2)

    def restarted(updates, seed):
        made = book(torch.randn(16, 2), seed=seed)
        made.load_state_dict({**state, 'updates': torch.tensor(updates)})
        collect(made, values)
        made.commit()
        return made
    first = restarted(5, 3)
    assert same_state(restarted(5, 3), state_of(first)) and int(first.updates) == 6
    for other in (restarted(6, 3), restarted(5, 4)):
        assert (other.embed_sum != first.embed_sum).any(1).sum() > 5


def test_draw():
    generator = torch.Generator().manual_seed(0)
    picks, noise = draw(10, 10, 3, generator)
    assert sorted(picks.tolist()) == list(range(10)) and not noise.any()
    picks, noise = draw(3, 7, 4, generator)
    assert noise.shape == (7, 4) and noise.min() >= 0 and noise.max() < 0.005
    assert max(picks.tolist().count(i) for i in range(3)) <= 3 and len(picks) == 7 and set(picks.tolist()) == {0, 1, 2}


def test_depths_and_micro_batches_make_one_update():
    """Two micro-batches of two depths: the sums run over all of them, the candidates over [depth, image, token]."""
    made = book([[0.], [10.]], decay=0.0, restart=0.0)
    for values in ([[1., 9.], [2., 8.]], [[3., 7.], [4., 6.]]):
        z = torch.tensor(values).view(2, 1, 2, 1)
        made.collect(z, made.search(z.flatten(0, 2)).view(2, 1, 2))
    made.commit()
    assert made.cluster_size.tolist() == [4, 4] and made.embed_sum.flatten().tolist() == [10, 30]


@pytest.mark.parametrize('args', [dict(size=0, dim=2), dict(size=4, dim=-1), dict(size=4.0, dim=2),
                                  dict(size=True, dim=2)])
def test_sizes_are_checked(args):
    with pytest.raises(InputError, match='expected a whole number'):
        CODEBOOKS.build(dict(type='EMACodebook', **args))


def test_an_unused_row_outlives_its_fading_statistics():
    """Without restart a code that nothing uses keeps its row; the smoothing alone would pull it to zero."""
    from dtbox.registry import CODEBOOKS
    book = CODEBOOKS.build(dict(type='EMACodebook', size=2, dim=2, decay=0.5, restart=0.0))
    book.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 5.0]])), book.embed_sum.copy_(book.weight)
    for _ in range(60):
        book.collect(torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[0]]]))
        book.commit()
    assert torch.allclose(book.weight, torch.tensor([[1.0, 0.0], [0.0, 5.0]]), atol=0.1)
