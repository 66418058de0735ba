"""How tables learn and start: gradients, k-means, samples, another checkpoint, directions; and the rotation trick."""
import pytest
import torch
import torch.nn.functional as F

from dtbox import registry
from dtbox.errors import InputError
from dtbox.registry import CODEBOOKS, ESTIMATORS
from tests.quantizers.conftest import build, state_of

STARTS = [dict(type='KMeansStart'), dict(type='SampleStart')]


def blobs(count=6, each=40, spread=0.05):
    """Well separated clusters as one image [1, count * each, 2], and their centres."""
    angle = torch.arange(count) * 2 * torch.pi / count
    centres = 10 * torch.stack([angle.cos(), angle.sin()], 1)
    z = centres.repeat_interleave(each, 0) + spread * torch.randn(count * each, 2)
    return z[torch.randperm(len(z))][None], centres


# ---- gradient ---------------------------------------------------------------------------------------------------


def test_gradient_table_by_hand():
    """z = 3, E = (1, 9): codebook term 4 (3 - 1)^2 with gradient -16 on the row alone, commitment (3 - 1)^2 with
    gradient 4 on z."""
    vq = build('VQ', size=2, dim=1, codebook=dict(type='GradientCodebook')).train()
    vq.codebook.weight.data.copy_(torch.tensor([[1.], [9.]]))
    z = torch.tensor([[[3.]]], requires_grad=True)
    out = vq(z)
    assert {k: v.item() for k, v in out.losses.items()} == dict(commitment=4.0, codebook=16.0)
    (out.losses['codebook'] + out.losses['commitment']).backward()
    assert vq.codebook.weight.grad.flatten().tolist() == [-16., 0.] and z.grad.item() == 4.
    before = state_of(vq)
    vq.commit()
    assert all(torch.equal(v, before[k]) for k, v in vq.state_dict().items())  # the optimizer alone moves it


def test_gradient_tables_of_a_residual_quantizer_learn():
    z, _ = blobs()
    rq = build('RQ', size=8, dim=2, depth=2, codebook=dict(type='GradientCodebook',
                                                           start=dict(type='KMeansStart'))).train()
    rq(z), rq.commit()
    optimizer = torch.optim.Adam(rq.parameters(), 0.01)
    errors = []
    for _ in range(60):
        out = rq(z)
        optimizer.zero_grad(), out.losses['codebook'].backward(), optimizer.step()
        rq.commit()
        errors.append(out.losses['codebook'].item())
    assert errors[-1] < 0.8 * errors[0]


def test_unused_rows_move_by_hand():
    """Rows 0, 10 and 20, features 1, 2 and 9, decay 1/2: use 1/3, 1/6 and 0; w = exp(-20 * 3 use - 1e-3), so that the
    last row moves by 0.999 of its way to 9, the nearest feature, and the others hardly."""
    made = CODEBOOKS.build(dict(type='ClusteringCodebook', size=3, dim=1, decay=0.5))
    made.weight.data.copy_(torch.tensor([[0.], [10.], [20.]]))
    z = torch.tensor([[[1.], [2.], [9.]]])
    made.collect(z[None], made.search(z[0]).view(1, 1, 3))
    made.commit()
    assert made.usage.tolist() == pytest.approx([1 / 3, 1 / 6, 0])
    pull = [torch.tensor(-20 * 3 * use - 1e-3).exp().item() for use in (1 / 3, 1 / 6, 0)]
    assert made.weight.flatten().tolist() == pytest.approx([pull[0], 10 - pull[1], 20 - 11 * pull[2]])
    before = state_of(made)
    made.commit()
    assert all(torch.equal(v, before[k]) for k, v in made.state_dict().items())


def test_gradient_table_restarts_unused_rows():
    vq = build('VQ', size=4, dim=1, codebook=dict(type='GradientCodebook', restart=0.5, decay=0.1)).train()
    vq.codebook.weight.data.copy_(torch.tensor([[1.], [2.], [50.], [60.]]))
    vq(torch.tensor([[[1.1], [2.2]]])), vq.commit()
    assert vq.codebook.weight[:2].flatten().tolist() == [1., 2.] and vq.codebook.restarts == 2
    assert sorted(round(v, 4) for v in vq.codebook.weight[2:].flatten().tolist()) == [1.1, 2.2]


def test_weight_has_to_be_positive():
    with pytest.raises(InputError, match='has to be positive'):
        CODEBOOKS.build(dict(type='GradientCodebook', size=2, dim=2, weight=0))


# ---- starts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('codebook', ['EMACodebook', 'GradientCodebook'])
def test_kmeans_finds_the_clusters(codebook):
    z, centres = blobs()
    vq = build('VQ', size=24, dim=2, codebook=dict(type=codebook, start=dict(type='KMeansStart'))).train()
    vq(z), vq.commit()
    assert torch.cdist(centres, vq.codebook.weight.detach()).amin(1).max() < 0.1
    assert vq(z).losses['commitment'] < 0.01 and int(vq.codebook.updates) == 1


@pytest.mark.parametrize('start', STARTS, ids=['kmeans', 'sample'])
def test_a_start_happens_once_and_is_not_repeated_after_loading(start):
    z, _ = blobs()
    cfg = dict(size=6, dim=2, codebook=dict(type='EMACodebook', start=start))
    vq = build('VQ', **cfg).train()
    vq(z), vq.commit()
    again = build('VQ', **cfg).train()
    again.load_state_dict(vq.state_dict())
    for quantizer in (vq, again):
        quantizer(z + 1), quantizer.commit()
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in vq.state_dict().items())
    assert (vq.codebook.weight - torch.cat([z[0], z[0] + 1]).mean(0)).norm(dim=1).min() > 5  # it still has the clusters


def test_samples_are_vectors_of_the_batch():
    z, _ = blobs()
    vq = build('VQ', size=10, dim=2, codebook=dict(type='EMACodebook', start=dict(type='SampleStart'))).train()
    vq(z), vq.commit()
    assert (vq.codebook.weight[:, None] == z).all(-1).any(1).all()
    assert vq.codebook.cluster_size.sum() == z.shape[1]


def test_deeper_tables_start_when_the_ones_before_have():
    """Tables of their own: depth d starts in commit d + 1, from residuals of tables that have started."""
    z, _ = blobs()
    rq = build('RQ', size=24, dim=2, depth=2, shared=False,
               codebook=dict(type='EMACodebook', start=dict(type='KMeansStart'))).train()
    rq(z), rq.commit()
    first = rq(z).losses['commitment'].item()
    rq.commit()
    rq(z), rq.commit()
    assert rq.codebooks[1].weight.abs().max() < 1.0 and rq(z).losses['commitment'].item() < first  # residuals are small


@pytest.mark.parametrize('counts', [None, torch.tensor([5., 5., 5., 0.])])
def test_a_warm_start_survives_the_first_updates(tmp_path, counts):
    """Codes that the first batches do not use do not restart at once; one that was dead in the checkpoint may."""
    table = torch.tensor([[0.], [10.], [20.], [30.]])
    state = {'book.weight': table, **({} if counts is None else {'book.cluster_size': counts})}
    torch.save(state, tmp_path / 'other.pth')
    start = dict(type='CheckpointStart', file=str(tmp_path / 'other.pth'), key='book.weight')
    for codebook in ('EMACodebook', 'GradientCodebook'):
        vq = build('VQ', size=4, dim=1, codebook=dict(type=codebook, restart=1.0, start=start)).train()
        vq.init_weights()
        for _ in range(20):
            vq(torch.zeros(1, 6, 1)), vq.commit()
        assert torch.allclose(vq.codebook.weight[:3].detach(), table[:3], atol=0.01)
        assert vq.codebook.restarts == (0 if counts is None else 20)  # the dead one, at every update


def test_start_from_another_checkpoint(tmp_path):
    table = torch.randn(8, 2)
    torch.save(dict(state_dict={'quantizer.codebook.weight': table}), tmp_path / 'other.pth')
    start = dict(type='CheckpointStart', file=str(tmp_path / 'other.pth'), key='quantizer.codebook.weight')
    for codebook in ('EMACodebook', 'GradientCodebook'):
        vq = build('VQ', size=8, dim=2, codebook=dict(type=codebook, start=start))
        assert not torch.equal(vq.codebook.weight, table)
        vq.init_weights()
        assert torch.equal(vq.codebook.weight, table)
    for change, says in ((dict(key='quantizer.codebok.weight'), 'Did you mean'),
                         (dict(file='gone.pth'), 'gone.pth does not exist')):
        with pytest.raises(InputError, match=says):
            build('VQ', size=8, dim=2, codebook=dict(type='EMACodebook', start={**start, **change})).init_weights()
    with pytest.raises(InputError, match=r'is \[8, 2\]; this codebook is \[4, 2\]'):
        build('VQ', size=4, dim=2, codebook=dict(type='EMACodebook', start=start)).init_weights()


# ---- cosine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('codebook', ['EMACodebook', 'GradientCodebook'])
def test_directions(codebook):
    """The length of a feature changes neither code nor value, and rows stay unit vectors."""
    vq = build('VQ', size=16, dim=4, codebook=dict(type=codebook, cosine=True, restart=1.0)).train()
    z = torch.randn(2, 30, 4)
    for _ in range(3):
        out = vq(z)
        vq.commit()
    out, longer = vq.eval()(z), vq(7 * z)
    assert torch.equal(out.codes, longer.codes) and torch.allclose(out.features, longer.features, atol=1e-6)
    assert torch.allclose(out.features.norm(dim=-1), torch.ones(2, 30), atol=1e-6)
    cosine = F.normalize(z, dim=-1) @ F.normalize(vq.codebook.weight.detach(), dim=-1).t()
    assert torch.equal(out.codes[..., 0], cosine.argmax(-1))


def test_cosine_is_not_for_residuals():
    with pytest.raises(InputError, match='codebook: `cosine` compares directions'):
        build('RQ', size=8, dim=4, depth=2, codebook=dict(type='EMACodebook', cosine=True))
    with pytest.raises(InputError, match='rewrites an EMACodebook; got GradientCodebook'):
        build('RQ', size=8, dim=4, depth=2, codebook=dict(type='GradientCodebook'), official=True, variant='rq')


# ---- rotation trick ---------------------------------------------------------------------------------------------


def test_rotation_trick_by_hand():
    """z = (2, 0), q = (0, 3): value q; dq/dz is 3/2 times the quarter turn, so that a gradient along q arrives along z.
    """
    z = torch.tensor([2., 0.], requires_grad=True)
    value = ESTIMATORS.build(dict(type='RotationTrick'))(z, torch.tensor([0., 3.]))
    assert value.tolist() == [0., 3.]
    rows = [torch.autograd.grad(value[i], z, retain_graph=True)[0].tolist() for i in range(2)]
    assert torch.allclose(torch.tensor(rows), torch.tensor([[0., -1.5], [1.5, 0.]]), atol=1e-6)


def test_rotation_trick_keeps_angles():
    """The angle between gradient and q is that between the gradient that arrives and z, its length scaled by |q| / |z|.
    """
    z = torch.randn(50, 8, requires_grad=True)
    q = torch.randn(50, 8)
    g = torch.randn(50, 8)
    value = ESTIMATORS.build(dict(type='RotationTrick'))(z, q)
    (value * g).sum().backward()
    assert torch.allclose(value, q, atol=1e-6)
    assert torch.allclose(F.cosine_similarity(g, q), F.cosine_similarity(z.grad, z.detach()), atol=1e-5)
    assert torch.allclose(z.grad.norm(dim=1), g.norm(dim=1) * q.norm(dim=1) / z.detach().norm(dim=1), rtol=1e-4)


def test_rotation_trick_at_its_edges():
    """Opposite, equal and zero vectors give finite gradients."""
    z = torch.tensor([[1., 0.], [1., 0.], [0., 0.], [1., 1.]], requires_grad=True)
    q = torch.tensor([[-2., 0.], [1., 0.], [1., 0.], [0., 0.]])
    value = ESTIMATORS.build(dict(type='RotationTrick'))(z, q)
    value.sum().backward()
    assert torch.equal(value.detach(), q) and torch.isfinite(z.grad).all() and z.grad[1].tolist() == [1., 1.]


def test_weight_of_the_codebook_term():
    """By hand: z = 1 and the only row 3 are 2 apart."""
    for weight in (4.0, 1.5):
        vq = build('VQ', size=1, dim=1, codebook=dict(type='GradientCodebook', weight=weight)).train()
        vq.codebook.weight.data.fill_(3.0)
        losses = vq(torch.ones(1, 1, 1)).losses
        assert losses['codebook'].item() == weight * 4 and losses['commitment'].item() == 4


def test_terms_of_a_residual_quantizer_are_means_over_depths():
    """Row 3 twice: the partial sums 3 and 6 are 2 and 5 away from z = 1."""
    rq = build('RQ', size=1, dim=1, depth=2, codebook=dict(type='GradientCodebook', weight=1.0)).train()
    rq.book(0).weight.data.fill_(3.0)
    losses = rq(torch.ones(1, 1, 1)).losses
    assert losses['codebook'].item() == pytest.approx((4 + 25) / 2) == losses['commitment'].item()


def test_iterations_of_k_means(monkeypatch):
    """Lloyd's algorithm by hand: the rows of 0, 1, 3, 9 move from (0, 1) to (0, 13/3), (0.5, 6) and (4/3, 9)."""
    monkeypatch.setattr('dtbox.quantizers.codebooks.starts.draw',
                        lambda count, size, dim, generator: (torch.tensor([0, 1]), torch.zeros(2, 1)))
    vectors = torch.tensor([[0.], [1.], [3.], [9.]])
    for iters, rows in ((1, [0, 13 / 3]), (2, [0.5, 6]), (3, [4 / 3, 9]), (4, [4 / 3, 9])):
        table, count = registry.STARTS.build(dict(type='KMeansStart', iters=iters))(vectors, 2, None)
        assert table.flatten().tolist() == pytest.approx(rows)
    assert count.tolist() == [3, 1]
