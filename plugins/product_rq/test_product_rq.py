"""Product RQ: the contract, the groups by themselves, and the package vector-quantize-pytorch."""
from pathlib import Path

import pytest
import torch

from dtbox.config import load_config, resolve
from dtbox.errors import InputError
from dtbox.extend import load_plugins
from dtbox.registry import QUANTIZERS
from dtbox.testing import check_quantizer, quantizer_checks

HERE = Path(__file__).parent
load_plugins([str(HERE)])

test_contract = quantizer_checks(dict(type='ProductRQ', size=16, dim=4, groups=2, depth=2), plugins=[str(HERE)])


def build(**args):
    return QUANTIZERS.build(dict(type='ProductRQ', **args))


def test_contract_with_gradient_codebooks():
    check_quantizer(dict(type='ProductRQ', size=16, dim=4, groups=2, depth=2, shared=False,
                         codebook=dict(type='GradientCodebook')),
                    plugins=[str(HERE)], skip=['two_ranks', 'memory'])


def test_groups_by_themselves():
    quantizer, z = build(size=16, dim=6, groups=3, depth=2), torch.randn(2, 9, 6)
    outs = [group(part) for group, part in zip(quantizer.groups, z.chunk(3, -1))]
    quantizer.discard()
    out = quantizer(z)
    assert quantizer.codebook_sizes == [16] * 6 and out.codes.shape == (2, 9, 6)
    for i, own in enumerate(outs):
        assert torch.equal(out.codes[..., 2 * i:2 * i + 2],
                           own.codes) and torch.equal(out.features[..., 2 * i:2 * i + 2], own.features)
    assert torch.allclose(out.losses['commitment'], sum(own.losses['commitment'] for own in outs) / 3)
    assert not torch.equal(outs[0].codes, quantizer.groups[1](z[..., :2]).codes)  # tables of their own
    before = [group.codebooks[0].weight.clone() for group in quantizer.groups]
    quantizer.commit()
    assert not any(torch.equal(group.codebooks[0].weight, b) for group, b in zip(quantizer.groups, before))


@pytest.mark.parametrize('args', [dict(size=4, dim=6, groups=4, depth=2), dict(size=4, dim=6, groups=0, depth=2),
                                  dict(size=4, dim=6, groups=2, depth=0), dict(size=0, dim=6, groups=2, depth=1)])
def test_refused(args):
    with pytest.raises(InputError, match='expected a positive|do not divide'):
        build(**args)


def test_config():
    assert QUANTIZERS.build(resolve(load_config(HERE / 'config.py'))['quantizer']).codebook_sizes == [1024] * 4


def test_as_vector_quantize_pytorch():
    package = pytest.importorskip('vector_quantize_pytorch')
    theirs = package.GroupedResidualVQ(dim=8, groups=2, num_quantizers=3, codebook_size=50).eval()
    ours = build(size=50, dim=8, groups=2, depth=3, shared=False).eval()
    for group, rvq in zip(ours.groups, theirs.rvqs):
        for book, layer in zip(group.codebooks, rvq.layers):
            book.weight.copy_(torch.randn(50, 4) / 2)
            layer.codebook = book.weight
    z = torch.randn(2, 33, 8)
    out, (features, codes, _) = ours(z), theirs(z)
    assert torch.equal(out.codes, torch.cat(list(codes), -1)) and torch.allclose(out.features, features, atol=1e-6)
