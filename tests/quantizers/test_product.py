"""Product: groups by themselves, more bits than one code can hold, MCQ's codes, and vector-quantize-pytorch."""
import pytest
import torch

from dtbox.errors import InputError
from tests.quantizers.conftest import build


def test_groups_by_themselves():
    """Codes, features and terms are those of the groups; each has its own table, which `commit` updates."""
    quantizer, z = build('Product', quantizer=dict(type='RQ', size=16, dim=2, depth=2), groups=3), torch.randn(2, 9, 6)
    outs = [group(part) for group, part in zip(quantizer.groups, z.chunk(3, -1))]
    quantizer.discard()
    out = quantizer(z)
    assert quantizer.dim == 6 and quantizer.codebook_sizes == [16] * 6 and out.codes.shape == (2, 9, 6)
    for i, own in enumerate(outs):
        part = slice(2 * i, 2 * i + 2)
        assert torch.equal(out.codes[..., part], own.codes)
        assert torch.equal(out.features[..., part], own.features)
    assert torch.allclose(out.losses['commitment'], sum(own.losses['commitment'] for own in outs) / 3)
    assert not torch.equal(outs[0].codes, quantizer.groups[1](z[..., :2]).codes)
    before = [group.codebooks[0].weight.clone() for group in quantizer.groups]
    quantizer.commit()
    assert not any(torch.equal(group.codebooks[0].weight, b) for group, b in zip(quantizer.groups, before))


def test_values_by_hand():
    """Two groups of two levels: the first channel is the highest bit of the first group's code."""
    quantizer = build('Product', quantizer=dict(type='LFQ', dim=2), groups=2).eval()
    z = torch.tensor([[[0.5, -2.0, -1.0, 3.0]]])
    assert quantizer(z).codes.tolist() == [[[2, 1]]] == quantizer.encode(z).tolist()
    assert quantizer.decode(torch.tensor([[[2, 1]]])).tolist() == [[[1.0, -1.0, -1.0, 1.0]]]


@pytest.mark.parametrize('inner', [dict(type='LFQ', dim=40), dict(type='BSQ', dim=40),
                                   dict(type='FSQ', levels=[4] * 20)])
def test_more_bits_than_one_code_holds(inner):
    """80 bits are two codes of 40."""
    quantizer = build('Product', quantizer=inner, groups=2).eval()
    assert quantizer.codebook_sizes == [2 ** 40] * 2
    z = torch.randn(2, 5, quantizer.dim)
    assert torch.equal(quantizer.decode(quantizer.encode(z)), quantizer(z).features)


def test_directions_are_mcq():
    """Product of a cosine table that learns by gradient has MCQ's codes, features and commitment for MCQ's weights."""
    mcq = build('MCQ', size=50, dim=24, parts=3)
    table = dict(type='GradientCodebook', cosine=True, restart=0.0)
    ours = build('Product', quantizer=dict(type='VQ', size=50, dim=8, codebook=table), groups=3)
    for group, rows in zip(ours.groups, mcq.weight):
        group.codebook.weight.data.copy_(rows)
    z = torch.randn(2, 33, 24)
    got, want = ours(z), mcq(z)
    assert torch.equal(got.codes, want.codes)
    assert torch.allclose(got.features, want.features, atol=1e-6)
    assert torch.allclose(got.losses['commitment'], want.losses['commitment'])


def test_a_group_without_codes(monkeypatch):
    from dtbox.quantizers.vq import VQ
    monkeypatch.setattr(VQ, '__init__', lambda self, **args: torch.nn.Module.__init__(self))
    with pytest.raises(InputError, match='VQ, which has no codes'):
        build('Product', quantizer=dict(type='VQ', size=4, dim=2), groups=2)


@pytest.mark.parametrize('args', [dict(size=4, dim=6, groups=4, depth=2), dict(size=4, dim=6, groups=0, depth=2),
                                  dict(size=4, dim=6, groups=2, depth=0), dict(size=0, dim=6, groups=2, depth=1)])
def test_refused_sizes_of_product_rq(args):
    with pytest.raises(InputError, match='expected a positive|do not divide|at least 1'):
        build('ProductRQ', **args)


def test_refused_groups():
    with pytest.raises(InputError, match='`groups` is 0'):
        build('Product', quantizer=dict(type='LFQ', dim=2), groups=0)
    with pytest.raises(InputError, match='Did you mean `VQ`'):
        build('Product', quantizer=dict(type='VQQ'), groups=2)


def test_as_vector_quantize_pytorch():
    package = pytest.importorskip('vector_quantize_pytorch')
    theirs = package.GroupedResidualVQ(dim=8, groups=2, num_quantizers=3, codebook_size=50).eval()
    ours = build('ProductRQ', size=50, dim=8, groups=2, depth=3, shared=False).eval()
    for group, rvq in zip(ours.groups, theirs.rvqs):
        for book, layer in zip(group.codebooks, rvq.layers):
            book.weight.copy_(torch.randn(50, 4) / 2)
            layer.codebook = book.weight
    z = torch.randn(2, 33, 8)
    out, (features, codes, _) = ours(z), theirs(z)
    assert torch.equal(out.codes, torch.cat(list(codes), -1))
    assert torch.allclose(out.features, features, atol=1e-6)
