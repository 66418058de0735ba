"""RQ by hand, shared and unshared, and the published variants."""
import pytest
import torch

from dtbox.errors import InputError
from tests.quantizers.conftest import build, same_state, set_table, state_of

TABLE = [[1.], [0.25], [-0.125], [0.]]


def rq(shared=True, **args):
    made = build('RQ', **dict(dict(size=4, dim=1, depth=3, shared=shared,
                                   codebook=dict(type='EMACodebook', decay=0.5, restart=0.0)), **args))
    for i, book in enumerate(made.codebooks):
        set_table(book, torch.tensor(TABLE) * 2.0 ** -i)
    return made


def test_by_hand():
    """1.375 = 1 + 0.25 + 0.125 (nearest: 0.25 or 0, the first): 1, 1.25, 1.5; -0.5 goes down in steps of 1/8."""
    made = rq().eval()
    z = torch.tensor([[[1.375], [-0.5]]], requires_grad=True)
    out = made(z)
    assert out.codes.tolist() == [[[0, 1, 1], [2, 2, 2]]] and out.features.flatten().tolist() == [1.5, -0.375]
    first = (0.375 ** 2 + 0.375 ** 2) / 2
    second = (0.125 ** 2 + 0.25 ** 2) / 2
    third = (0.125 ** 2 + 0.125 ** 2) / 2
    assert out.losses['commitment'].item() == pytest.approx((first + second + third) / 3)
    out.features.sum().backward()
    assert z.grad.flatten().tolist() == [1., 1.]
    assert made.decode(out.codes).flatten().tolist() == [1.5, -0.375]
    assert made.decode_depths(out.codes).squeeze().tolist() == [[1., 0.25, 0.25], [-0.125, -0.125, -0.125]]
    assert (made.dim, made.codebook_sizes) == (1, [4, 4, 4])


def test_tables_of_their_own():
    """Depth d has the table 2^-d; 0.75 = 1 - 0.0625 - 0.03125 ..., and each table learns from its own residual."""
    made = rq(shared=False).train()
    assert len(made.codebooks) == 3 and made.book(2) is made.codebooks[2]
    out = made(torch.tensor([[[0.75]]]))
    assert out.codes.tolist() == [[[0, 2, 2]]] and out.features.item() == 1 - 0.0625 - 0.03125
    assert [p.pending[0][0].item() for p in made.codebooks] == [0.75, -0.25, -0.1875]
    assert [p.pending[0][1].item() for p in made.codebooks] == [0, 2, 2]
    made.commit()
    assert made.codebooks[0].embed_sum[0].item() == 0.5 * 1 + 0.5 * 0.75
    assert made.codebooks[1].embed_sum[2].item() == 0.5 * -0.0625 + 0.5 * -0.25
    assert made.codebooks[2].embed_sum[2].item() == 0.5 * -0.03125 + 0.5 * -0.1875
    assert torch.allclose(made.decode(out.codes), sum(b.weight[c] for b, c in zip(made.codebooks, (0, 2, 2))))


def test_each_depth_counts_its_own_residual():
    """0.75 -> code 0, the rest -0.25 twice to code 2: counts 1 and 2, sums 0.75 and -0.25 - 0.125."""
    made = rq().train()
    made(torch.tensor([[[0.75]]]))
    before = state_of(made)
    assert made.codebooks[0].pending[0][0].flatten().tolist() == [0.75, -0.25, -0.125] and same_state(made, before)
    made.commit()
    assert made.codebooks[0].cluster_size.tolist() == [1.0, 0.5, 1.5, 0.5]
    assert made.codebooks[0].embed_sum.flatten().tolist() == [0.5 + 0.375, 0.125, -0.0625 - 0.1875, 0.]


def test_official_rq_rewrites_after_every_depth():
    """Decay 1/2, one value: depth 1 credits 0.75 to code 0 before depth 2 searches the new table."""
    made = rq(official=True, variant='rq', depth=2).train()
    out = made(torch.tensor([[[0.75]]]))
    book = made.codebooks[0]
    assert out.codes.tolist() == [[[0, 2]]] and out.features.item() == pytest.approx(1 + TABLE[2][0], abs=1e-4)
    assert book.cluster_size.tolist() == [0.5, 0.25, 0.75, 0.25] and book.updates.item() == 2 and book.pending == []
    assert book.embed_sum.flatten().tolist() == pytest.approx([0.4375, 0.0625, 0.5 * -0.0625 + 0.5 * -0.25, 0.],
                                                              abs=1e-6)
    after = state_of(made)
    made.commit()
    assert same_state(made, after)


def test_official_rq_ema_credits_the_final_residual():
    made = rq(official=True, variant='rq_ema', depth=2).train()
    out = made(torch.tensor([[[0.75]]]))
    book = made.codebooks[0]  # residuals 0.75, -0.25, and -0.125 at the end
    assert out.codes.tolist() == [[[0, 2]]] and out.features.item() == 0.875
    assert book.cluster_size.tolist() == [1.0, 0.5, 1.0, 0.5] and book.updates.item() == 1
    assert book.embed_sum.flatten().tolist() == [0.5 - 0.0625, 0.125, -0.0625 - 0.0625, 0.]


@pytest.mark.parametrize('variant', ['rq', 'rq_ema'])
def test_official_in_evaluation_and_with_restart(variant):
    made = build('RQ', size=8, dim=2, depth=3, official=True, variant=variant)
    before = state_of(made)
    made.eval()(torch.randn(2, 5, 2))
    assert same_state(made, before)
    made.train()(torch.randn(2, 5, 2))  # 10 vectors a depth for 8 codes, and with rq 10 a time
    assert made.codebooks[0].cluster_size.min() >= 0.99 and torch.isfinite(made.codebooks[0].weight).all()
    made(torch.randn(1, 1, 2))          # fewer vectors than codes: they are repeated with noise


@pytest.mark.parametrize('args, says', [
    (dict(official=True), "needs a shared codebook and `variant` one of rq, rq_ema; got shared=True, variant=None"),
    (dict(official=True, variant='ema'), "variant='ema'"),
    (dict(official=True, variant='rq', shared=False), 'shared=False'),
    (dict(variant='rq'), "`variant='rq'` has a meaning with `official=True` only"), (dict(depth=0), '`depth` is 0'),
    (dict(codebook=dict(type='EMACodebok')), r'^codebook: `EMACodebok` is not registered'),
    (dict(estimator=dict(type='X')), '^estimator: `X`'),
    (dict(codebook=dict(type='EMACodebook', decay=0.9, restrat=1)), r'^codebook: .*Did you mean `restart`')])
def test_what_cannot_be_built(args, says):
    with pytest.raises(InputError, match=says):
        build('RQ', **dict(dict(size=4, dim=1, depth=2), **args))
