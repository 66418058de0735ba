"""LFQ and BSQ: what a package finds, and what is refused."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.quantizers.bsq import BSQ
from dtbox.quantizers.lfq import LFQ

KINDS = pytest.mark.parametrize('kind', [LFQ, BSQ])


@KINDS
@pytest.mark.parametrize('args', [dict(dim=0), dict(dim=63), dict(dim=4, group=0), dict(dim=4, group=25),
                                  dict(dim=4, temperature=0), dict(dim=4, entropy_weight=-1)])
def test_refused(kind, args):
    with pytest.raises(InputError, match='expected'):
        kind(**args)


def test_one_bit():
    """One channel has a sign, but no direction."""
    assert LFQ(dim=1).codebook_sizes == [2]
    with pytest.raises(InputError, match='expected 2 .one channel alone has no direction to learn. to 62 bits'):
        BSQ(dim=1)


@KINDS
def test_no_state(kind):
    """A checkpoint holds nothing of them, so that one of before loads."""
    assert not kind(dim=30, group=10, entropy_weight=1.0).state_dict()


@KINDS
@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('dim', [3, 10])
def test_as_vector_quantize_pytorch(kind, dim, training):
    package = pytest.importorskip('vector_quantize_pytorch')
    z = torch.randn(2, 33, dim)
    z[0, 0] = 0
    theirs = package.LFQ(dim=dim, spherical=kind is BSQ, entropy_loss_weight=0.1, commitment_loss_weight=0.25,
                         diversity_gamma=0.7).train(training)
    ours = kind(dim, diversity=0.7, temperature=1.0, group=dim).train(training)
    (features, codes, loss), parts = theirs(z, inv_temperature=1.0, return_loss_breakdown=True)
    out = ours(z)
    atol = 1e-6 if kind is BSQ else 0  # directions are divisions; -1 and 1 are exact
    assert torch.equal(out.codes[..., 0], codes.long()) and torch.allclose(out.features, features, rtol=0, atol=atol)
    assert torch.allclose(ours.decode(out.codes), theirs.indices_to_codes(codes), rtol=0, atol=atol)
    if training:
        assert torch.allclose(out.losses['commitment'], 0.25 * parts.commitment)
        # the package takes log(1e-5) for rarer codes, so that its entropies are a little too small
        assert torch.allclose(sum(out.losses.values()), loss, atol=1e-3 * dim)
