"""JointVQ by hand; the contract is in tests/testing."""
import math

import pytest
import torch

from dtbox.errors import InputError
from tests.quantizers.conftest import build, set_table

ROWS = [[1., 0., 1., 0.], [0., 1., 0., 1.], [2., 0., 0., 3.]]  # directions: (x, x), (y, y), (x, y)
Z = [[[3., 0., 1., 2.]]]  # the first part points along x, the second nearly along y
U = [1., 0., 1 / math.sqrt(5), 2 / math.sqrt(5)]


def test_by_hand():
    vq = build('JointVQ', size=3, members=dict(a=2, b=2))
    set_table(vq.codebook, ROWS)
    z = torch.tensor(Z, requires_grad=True)
    out = vq.train()(z)
    assert out.codes.tolist() == [[[2]]] and out.features.flatten().tolist() == pytest.approx([1., 0., 0., 1.])
    assert out.losses.keys() == {'commitment'}
    assert out.losses['commitment'].item() == pytest.approx((U[2] ** 2 + (1 - U[3]) ** 2) / 4, abs=1e-6)
    assert torch.equal(vq.encode(z), out.codes) and torch.allclose(vq.decode(out.codes), out.features)
    assert (vq.dim, vq.codebook_sizes, vq.members) == (4, [3], dict(a=2, b=2))


def test_weights_decide():
    """Where the parts prefer different codes, the weighted sum of their distances decides."""
    vq = {w: build('JointVQ', size=2, members=dict(a=2, b=2), weights=dict(b=w)) for w in (0.5, 2.0)}
    for quantizer in vq.values():
        set_table(quantizer.codebook, [[1., 0., 1., 0.], [0., 1., 0., 1.]])
    # a: cosines 0.743, 0.669; b: 0.640, 0.768: a prefers code 0 by 0.074, b code 1 by 0.128
    z = torch.tensor([[[1., 0.9, 1., 1.2]]])
    assert vq[0.5].encode(z).item() == 0 and vq[2.0].encode(z).item() == 1


def test_commit_keeps_the_members_rows_together():
    """One update of one code: each part of the row turns towards the mean direction that was seen, whatever the
    weights."""
    vq = build('JointVQ', size=2, members=dict(a=2, b=2), weights=dict(b=4.0),
               codebook=dict(type='EMACodebook', decay=0.5, restart=0.0, eps=1e-9)).train()
    set_table(vq.codebook, [[1., 0., 2., 0.], [-1., 0., -2., 0.]])
    vq(torch.tensor([[[1., 1., 3., 0.]]]))
    vq.commit()
    # part a: 0.5 (1, 0) + 0.5 (1, 1) / sqrt 2 has the direction 22.5 degrees; part b stays
    turned = [math.cos(math.pi / 8), math.sin(math.pi / 8), 1., 0.]
    assert vq.decode(torch.tensor([[[0]]])).flatten().tolist() == pytest.approx(turned, abs=1e-6)
    assert vq.decode(torch.tensor([[[1]]])).flatten().tolist() == pytest.approx([-1., 0., -1., 0.], abs=1e-6)


@pytest.mark.parametrize('args, says', [
    (dict(members={}), '`members` is {}; expected a dict'), (dict(members=[4, 4]), 'expected a dict'),
    (dict(members=dict(a=1, b=4)), 'at least 2 channels each'),
    (dict(members=dict(a=2.5)), r'^members\.a: `a` is 2\.5'),
    (dict(members=dict(a=2), weights=dict(b=1.0)), 'positive number for members, which are a'),
    (dict(members=dict(a=2), weights=dict(a=0)), 'positive number'), (dict(members=dict(a=2), size=0), '`size` is 0'),
    (dict(members=dict(a=2), codebook=dict(type='EMACodebook', cosine=True)), 'normalises each by itself')])
def test_what_cannot_be_built(args, says):
    with pytest.raises(InputError, match=says):
        build('JointVQ', **dict(dict(size=4), **args))


def test_a_weight_is_that_of_the_squared_distance():
    """a points at 30 degrees (code 0 is nearer), b at 56.25 (code 1 is): b decides from a weight of 1.326 on."""
    a, b = math.radians(30), math.radians(56.25)
    z = torch.tensor([[[math.cos(a), math.sin(a), math.cos(b), math.sin(b)]]])
    # squared distances to code 0 and 1: 2 - 2 cos, 2 - 2 sin
    border = (2 * math.cos(a) - 2 * math.sin(a)) / (2 * math.sin(b) - 2 * math.cos(b))
    assert border == pytest.approx(1.326, abs=1e-3)
    for weight, code in ((border * 0.98, 0), (border * 1.02, 1)):
        vq = build('JointVQ', size=2, members=dict(a=2, b=2), weights=dict(b=weight))
        set_table(vq.codebook, [[1., 0., 1., 0.], [0., 1., 0., 1.]])
        assert vq.encode(z).item() == code
