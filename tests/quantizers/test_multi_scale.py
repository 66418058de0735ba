"""MultiScaleRQ and ScaleWiseRQ by hand; golden data of VAR and TokenFlow is in tests/converters, the contract in
tests/testing."""
import math

import pytest
import torch

from dtbox.errors import InputError
from dtbox.layout import Grid, Scales, Sequence
from tests.quantizers.conftest import build, set_table

ROWS = [[1., 0.], [0., 1.], [-1., 0.], [0., -1.]]


def by_hand(type='MultiScaleRQ', **args):
    """Two scales on a 2 x 2 grid, four rows of width 2."""
    quantizer = build(type, **dict(dict(scales=[1, 2], convs=None, quantizer=dict(type='VQ', size=4, dim=2)), **args))
    set_table(quantizer.inner.codebook, ROWS)
    return quantizer


def z_by_hand():
    """Mean (0.8, 0): code 0; what is left: (-0.4, 0), (0.2, 1), (0.2, -1), (-0.8, 0)."""
    return torch.tensor([[[.6, 0.], [1.2, 1.], [1.2, -1.], [.2, 0.]]], requires_grad=True)


def test_by_hand():
    """The mean, then each cell of what its row leaves; features are the sums of both rows."""
    quantizer, z = by_hand(), z_by_hand()
    out = quantizer.train()(z)
    assert quantizer.encode(z).flatten().tolist() == [0, 2, 1, 3, 2] and torch.equal(out.codes, quantizer.encode(z))
    assert torch.allclose(out.features, torch.tensor([[[0., 0.], [1., 1.], [1., -1.], [0., 0.]]]), atol=1e-6)
    assert quantizer.decode(out.codes).tolist() == [[[0., 0.], [1., 1.], [1., -1.], [0., 0.]]]
    first, both = quantizer.partial_sums(out.codes)
    assert first.tolist() == [[[[1., 1.], [1., 1.]], [[0., 0.], [0., 0.]]]]
    assert torch.equal(Grid(2, 2).flatten(both), quantizer.decode(out.codes))
    # scale 1: (-0.4, 0), (0.2, 1), (0.2, -1), (-0.8, 0); scale 2: (0.6, 0), (0.2, 0), (0.2, 0), (0.2, 0)
    want = (.16 + 2 * 1.04 + .64) / 8, (.36 + 3 * .04) / 8
    assert out.losses['commitment'].item() == pytest.approx(sum(want) / 2)
    assert 'codebook' not in out.losses  # nothing learns by gradient
    out.features[0, 2, 1].backward(retain_graph=True)
    assert z.grad.flatten().tolist() == [0., 0., 0., 0., 0., 1., 0., 0.]


def test_the_table_learns_from_all_scales():
    """One commit: row 0 took (0.8, 0) at the first scale, row 2 (-0.4, 0) and (-0.8, 0) at the second."""
    quantizer = by_hand(quantizer=dict(type='VQ', size=4, dim=2, codebook=dict(
        type='EMACodebook', decay=0.5, restart=0.0, eps=1e-9))).train()
    quantizer(z_by_hand())
    quantizer.commit()
    rows = quantizer.inner.codebook.weight
    # sums: 0.5 (1, 0) + 0.5 (0.8, 0), counts 0.5 + 0.5; 0.5 (-1, 0) + 0.5 (-1.2, 0), counts 0.5 + 0.5 x 2
    assert rows[0].tolist() == pytest.approx([.9, 0.]) and rows[2].tolist() == pytest.approx([-1.1 / 1.5, 0.])
    quantizer(z_by_hand())
    quantizer.discard()
    quantizer.commit()
    assert rows[2].tolist() == pytest.approx([-1.1 / 1.5, 0.])


def test_input_of_the_next_scale_by_hand():
    """Before the second scale: the first row, at each of its four places; the same from the first code alone."""
    quantizer = by_hand()
    codes = torch.tensor([[[1], [0], [0], [0], [0]]])
    assert quantizer.var_input(codes).tolist() == [[[0., 1.]] * 4]
    assert torch.equal(quantizer.var_input(codes[:, :1]), quantizer.var_input(codes))
    with pytest.raises(InputError, match='has one scale, before which nothing is read'):
        build('MultiScaleRQ', scales=[2], quantizer=dict(type='FSQ', levels=[3])).var_input(codes[:, 1:])


def test_convolutions_of_scales():
    """VAR's choice of 4 for 10 scales, where two lie between two of them and rounding decides, and for 5."""
    def choices(sharing, scales):
        convs = build('MultiScaleRQ', scales=list(range(1, scales + 1)), convs=sharing,
                      quantizer=dict(type='FSQ', levels=[3])).convs
        return [convs.choose(i, scales) for i in range(scales)]
    assert choices(4, 10) == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3] and choices(4, 5) == [0, 1, 2, 2, 3]
    assert choices(1, 3) == [0, 0, 0] and choices('each', 3) == [0, 1, 2] and choices(2, 4) == [0, 0, 1, 1]
    assert choices(4, 1) == [0]


def test_a_convolution_by_hand():
    """A convolution of 0 with bias 1 at strength 0.25: 0.75 x + 0.25, after the enlarging and at the last scale too."""
    quantizer = by_hand(convs=1, strength=0.25)
    torch.nn.init.zeros_(quantizer.convs.convs[0].weight)
    torch.nn.init.ones_(quantizer.convs.convs[0].bias)
    codes = torch.tensor([[[0], [1], [1], [1], [1]]])
    assert quantizer.decode(codes).flatten().tolist() == [1.25] * 8


def test_a_dropped_scale_by_hand(monkeypatch):
    """Without the second scale: the first row alone, and its loss; never without the first."""
    quantizer, z = by_hand(drop=1.0).train(), z_by_hand()
    out = quantizer(z)
    assert torch.allclose(out.features, torch.tensor([1., 0.]).expand(1, 4, 2)) and out.codes.shape == (1, 5, 1)
    assert out.losses['commitment'].item() == pytest.approx((.16 + 2 * 1.04 + .64) / 8)
    assert quantizer.eval()(z).features[0, 0].tolist() == pytest.approx([0., 0.], abs=1e-6)
    many = by_hand(drop=1.0, scales=[1, 1, 2]).train()
    assert {many._draw_dropped() for _ in range(50)} == {1, 2}
    half = by_hand(drop=0.5).train()
    torch.manual_seed(0)
    assert 60 < sum(half._draw_dropped() is None for _ in range(200)) < 140


def test_every_scale_by_itself():
    """ScaleWiseRQ: the same codes and features; the gradient passes the mean and every cell: 1/4 and 1."""
    quantizer, z = by_hand('ScaleWiseRQ'), z_by_hand()
    out = quantizer.train()(z)
    assert out.codes.flatten().tolist() == [0, 2, 1, 3, 2] and out.features[0, 1].tolist() == [1., 1.]
    # scale 1: (0.8 - 1)^2 / 2; scale 2: (0.6, 0), (0.2, 0), (0.2, 0), (0.2, 0)
    assert out.losses['commitment'].item() == pytest.approx((.04 / 2 + (.36 + 3 * .04) / 8) / 2)
    out.features[0, 0, 0].backward()
    assert z.grad[0, :, 0].tolist() == pytest.approx([1.25, .25, .25, .25]) and not z.grad[0, :, 1].any()


def test_gradients_reach_table_and_convolutions():
    """The second term of VAR's loss trains both, the weight is the table's own; the encoder has the first alone."""
    quantizer = build('MultiScaleRQ', scales=[1, 2], convs='each', quantizer=dict(
        type='VQ', size=4, dim=2, codebook=dict(type='GradientCodebook', weight=3.0))).train()
    z = z_by_hand()
    terms = quantizer(z).losses
    assert terms['codebook'].item() == pytest.approx(3 * terms['commitment'].item())
    terms['codebook'].backward()
    assert z.grad is None or not z.grad.any()
    assert all(p.grad.abs().sum() > 0 for p in quantizer.parameters())


@pytest.mark.parametrize('inner', [dict(type='BSQ', dim=4), dict(type='DirectionVQ', size=8, dim=4),
                                   dict(type='JointVQ', size=8, members=dict(a=2, b=2))])
def test_other_quantizers_of_the_scales(inner):
    """The entropy of BSQ stays a term; features are the sums of rows; the first scale of wide grids is wide."""
    quantizer = build('MultiScaleRQ', scales=[(1, 2), (2, 4)], quantizer=inner).train()
    z = torch.randn(3, 8, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    out = quantizer(z)
    assert out.codes.shape == (3, 10, 1) and torch.allclose(quantizer.decode(out.codes), out.features, atol=1e-5)
    assert ('entropy' in out.losses) == (inner['type'] == 'BSQ')
    assert quantizer.members == inner.get('members')
    assert quantizer.set_layout(Grid(2, 4)) == Scales([(1, 2), (2, 4)])
    rows = quantizer.decode_depths(out.codes)
    assert rows.shape == (3, 10, 1, 4) and torch.equal(rows[:, :, 0], quantizer.inner.decode(out.codes))


def test_direction_vq_by_hand():
    """The row of the highest cosine, with its length; VQ would take the nearest."""
    z = torch.tensor([[[3., 1.]]])
    found = {}
    for name in ('VQ', 'DirectionVQ'):
        quantizer = build(name, size=2, dim=2)
        set_table(quantizer.codebook, [[.1, .02], [2., 2.]])
        found[name] = quantizer.encode(z).item()
    assert found == dict(VQ=1, DirectionVQ=0)
    assert quantizer.train()(z).features.flatten().tolist() == pytest.approx([.1, .02])


def test_entropy_of_one_index_by_hand():
    """Two tokens and two codes: each token's soft code, and their mean, from the distances 0 and 2 to unit rows."""
    quantizer = build('JointVQ', size=2, members=dict(a=2), entropy_weight=0.5, temperature=1.0).train()
    set_table(quantizer.codebook, [[1., 0.], [0., 1.]])
    out = quantizer(torch.tensor([[[2., 0.], [0., 3.]]]))
    p = 1 / (1 + math.exp(-2))
    sample = -(p * math.log(p) + (1 - p) * math.log(1 - p))
    assert out.losses['entropy'].item() == pytest.approx(0.5 * (sample + math.log(0.5 + 1e-5)), rel=1e-5)
    assert 'entropy' not in quantizer.eval()(torch.ones(1, 1, 2)).losses


@pytest.mark.parametrize('args, says', [
    (dict(scales=[]), r'^scales'), (dict(scales=[1, 0]), r'^scales.*positive whole number'),
    (dict(scales=[4, 2]), r'^scales: the scale \(4, 4\) is larger than the last one, \(2, 2\)'),
    (dict(quantizer=dict(type='RQ', size=4, dim=2, depth=2)), r'RQ cannot quantize one scale after another\. Take one '
     r'of BSQ, DirectionVQ, FSQ, JointVQ, LFQ, VQ'),
    (dict(convs=0), r'`convs`'), (dict(strength=1.5), r'`strength`'), (dict(drop=-0.1), r'`drop`')])
def test_what_cannot_be_built(args, says):
    with pytest.raises(InputError, match=says):
        build('MultiScaleRQ', **dict(dict(scales=[1, 2], quantizer=dict(type='VQ', size=4, dim=2)), **args))


def test_layouts_that_do_not_fit():
    quantizer = by_hand(convs='each')
    with pytest.raises(InputError, match='end at a 2 x 2 token grid, and the features lie on a 4 x 4 token grid'):
        quantizer.set_layout(Grid(4, 4))
    with pytest.raises(InputError, match='MultiScaleRQ needs tokens on a grid'):
        quantizer.set_layout(Sequence(4))
    with pytest.raises(InputError, match=r'expected \[B, 4, 2\] for the 2 x 2 token grid'):
        quantizer.encode(torch.zeros(1, 5, 2))
    with pytest.raises(InputError, match='the scales end at a 3 x 3 token grid'):
        quantizer.encode(torch.zeros(1, 4, 2), [1, 3])
    with pytest.raises(InputError, match='each of 2 scales has a convolution of its own, and 3 scales came'):
        quantizer.encode(torch.zeros(1, 4, 2), [1, 1, 2])
    with pytest.raises(InputError, match=r'expected \[B, L, 1\] with L = 5 for the pyramid'):
        quantizer.decode(torch.zeros(1, 4, 1, dtype=torch.int64))
    with pytest.raises(InputError, match=r'expected \[B, L, 1\] with L = 1 or 5 for the pyramid'):
        quantizer.decode_prefix(torch.zeros(1, 4, 1, dtype=torch.int64))
