"""Ternary: the contract, and values by hand."""
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

test_contract = quantizer_checks(dict(type='Ternary'), plugins=[str(HERE)])


def test_values_by_hand():
    """The code is the digits to base 3, the first channel the lowest."""
    out = QUANTIZERS.build(dict(type='Ternary', dim=2))(torch.tensor([[[0.3, -2.0], [-1.0, 4.0]]]))
    assert out.codes.tolist() == [[[1], [6]]]
    assert out.features.tolist() == [[[0.0, -1.0], [-1.0, 1.0]]]
    assert torch.allclose(out.losses['commitment'], torch.tensor((0.09 + 1 + 0 + 9) / 4))


def test_the_largest_code():
    """39 channels of 1 are the last of 3^39 codes."""
    quantizer = QUANTIZERS.build(dict(type='Ternary', dim=39))
    assert quantizer.encode(torch.ones(1, 1, 39)).item() == 3 ** 39 - 1


@pytest.mark.parametrize('dim', [0, 40])
def test_refused(dim):
    with pytest.raises(InputError, match='`dim` is'):
        QUANTIZERS.build(dict(type='Ternary', dim=dim))


def test_config():
    assert QUANTIZERS.build(resolve(load_config(HERE / 'config.py'))['quantizer']).codebook_sizes == [3 ** 16]
