"""The rows of a tokenizer's codebooks: their sum over the depths is what its quantizers decode."""
import pytest
import torch
from torch import nn

from dtbox.errors import InputError
from dtbox.mllm import code_rows
from dtbox.mllm.code_rows import read_rows, read_tables
from dtbox.registry import QUANTIZERS
from tests import mllm_kit as kit

QUANTIZED = {
    'VQ': dict(type='VQ', size=20, dim=6), 'RQ': dict(type='RQ', size=16, dim=6, depth=3),
    'RQ unshared': dict(type='RQ', size=16, dim=6, depth=3, shared=False), 'FSQ': dict(type='FSQ', levels=[5, 4, 3]),
    'BSQ': dict(type='BSQ', dim=12, group=6), 'LFQ': dict(type='LFQ', dim=8, group=4),
    'MCQ': dict(type='MCQ', size=9, dim=8, parts=4)}


def random_codes(sizes, count=50):
    return torch.stack([torch.randint(size, (2, count)) for size in sizes], -1)


@pytest.mark.parametrize('name', QUANTIZED)
def test_rows_sum_to_what_is_decoded(name):
    quantizer = QUANTIZERS.build(QUANTIZED[name]).eval()
    sizes = quantizer.codebook_sizes
    rows, codes = read_rows(quantizer, sizes, name), random_codes(sizes)
    assert [tuple(table.shape) for table in rows] == [(size, quantizer.dim) for size in sizes]
    summed = sum(table[codes[..., depth]] for depth, table in enumerate(rows))
    assert torch.allclose(summed, quantizer.decode(codes), atol=1e-5)


def test_rows_of_codes_on_scales():
    """A code of any scale has the row of the one table, as it is before it is enlarged."""
    quantizer = QUANTIZERS.build(dict(type='MultiScaleRQ', scales=[1, 2], quantizer=dict(type='VQ', size=8, dim=4)))
    rows, = read_rows(quantizer, [8], 'pixel')
    assert torch.equal(rows, quantizer.inner.codebook.weight)


def test_tables_of_a_tokenizer():
    """Both streams, its places; rows by depth sum to what the quantizer decodes."""
    frozen = kit.make_tokenizer()
    tables = read_tables(frozen)
    assert tables.names == list(kit.STREAMS) and tables.places == kit.PLACES
    for name, stream in frozen.model.streams.items():
        codes = random_codes(stream.sizes)
        assert torch.allclose(tables.rows(name, codes).sum(-2), stream.quantizer.decode(codes), atol=1e-5)


class Product(nn.Module):
    """Features that are a product over the depths, not a sum."""

    def decode(self, codes):
        return (codes.float() + 1).prod(-1, keepdim=True).expand(*codes.shape[:-1], 4)


def test_features_that_are_no_sum():
    with pytest.raises(InputError, match=r'`pixel` \(Product\) are not a sum over its depths'):
        read_rows(Product(), [4, 4], 'pixel')


def test_codebooks_that_are_too_large(monkeypatch):
    monkeypatch.setattr(code_rows, 'MOST', 10)
    with pytest.raises(InputError, match='`pixel` has 12 codes at one depth; a language model predicts at most 10'):
        read_tables(kit.make_tokenizer())
