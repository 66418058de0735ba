"""Residual FSQ: the contract, values by hand, and the package vector-quantize-pytorch."""
import math
from pathlib import Path

import pytest
import torch

from dtbox.config import load_config, resolve
from dtbox.errors import InputError
from dtbox.extend import load_plugins
from dtbox.registry import QUANTIZERS
from dtbox.testing import quantizer_checks

HERE = Path(__file__).parent
load_plugins([str(HERE)])

test_contract = quantizer_checks(dict(type='ResidualFSQ', levels=[5, 4, 3], depth=2), plugins=[str(HERE)])


def build(**args):
    return QUANTIZERS.build(dict(type='ResidualFSQ', **args))


def test_values_by_hand():
    """3 levels: -1, 0, 1, then -1/3, 0, 1/3; 2 levels: -1, 1, then -1/2, 1/2."""
    quantizer = build(levels=[3, 2], depth=2)
    bounded = torch.tensor([0.7, -0.4])
    bound = torch.tensor([1.5, 2.0])
    out = quantizer(((bounded / bound).atanh() * bound)[None, None])
    # 0.7 is 1 - 1/3 (digits 2, 0); -0.4 is -1 + 1/2 (digits 0, 1)
    assert out.codes.tolist() == [[[2 + 3 * 0, 0 + 3 * 1]]]
    assert torch.allclose(out.features, torch.tensor([[[2 / 3, -0.5]]]))


@pytest.mark.parametrize('levels', [[2, 2], [3, 8], [5, 4]])
def test_each_depth_divides_the_error(levels):
    z = torch.randn(4, 500, 2) * 3
    for depth in (1, 2, 3):
        quantizer = build(levels=levels, depth=depth)
        error = (quantizer(z).features - quantizer.smooth(z)).abs().amax((0, 1))
        most = torch.tensor([1 / (n - 1) * float(n) ** (1 - depth) for n in levels])
        assert (error <= most + 1e-6).all() and (error > 0.9 * most).all()


def test_all_codes_are_reached():
    quantizer = build(levels=[3, 2], depth=2)
    codes = quantizer(torch.randn(1, 5000, 2) * 2).codes[0]
    assert codes.unique(dim=0).shape[0] == 36 and quantizer.codebook_sizes == [6, 6]


@pytest.mark.parametrize('args', [dict(levels=[], depth=2), dict(levels=[3, 1], depth=2), dict(levels=[3], depth=0),
                                  dict(levels=[8], depth=9),
                                  dict(levels=[2] * 63, depth=1), dict(levels=[2.5], depth=1)])
def test_refused(args):
    with pytest.raises(InputError, match='expected|Take fewer'):
        build(**args)


def test_config():
    assert QUANTIZERS.build(resolve(load_config(HERE / 'config.py'))['quantizer']).codebook_sizes == [65536] * 3


@pytest.mark.parametrize('levels', [[8, 5, 3], [2, 2, 4, 7]])
def test_as_vector_quantize_pytorch(levels):
    package = pytest.importorskip('vector_quantize_pytorch')
    theirs, ours = package.ResidualFSQ(levels=levels, num_quantizers=3), build(levels=levels, depth=3)
    z = torch.randn(2, 333, len(levels)) * 2
    z[0, 0] = 0
    features, codes = theirs(z)
    out = ours(z)
    assert torch.equal(out.codes, codes.long()) and torch.allclose(out.features, features, atol=1e-6)
    assert torch.allclose(ours.decode(out.codes), theirs.get_output_from_indices(codes), atol=1e-6)
    assert ours.codebook_sizes == [math.prod(levels)] * 3
