"""The search: exact, first of equals, and never more than a block of the distance matrix."""
import pytest
import torch

from dtbox.quantizers import search
from dtbox.quantizers.search import BLOCK, nearest_codes
from tests.quantizers.conftest import build


@pytest.mark.parametrize('count, size, dim, block', [(200, 300, 8, BLOCK), (50, 129, 3, 400), (7, 1, 4, BLOCK), (20, 64, 5, 10), (0, 16, 4, BLOCK)])
def test_equals_brute_force(count, size, dim, block):
    z, codebook = torch.randn(count, dim), torch.randn(size, dim)
    want = torch.cdist(z.double(), codebook.double(), compute_mode='donot_use_mm_for_euclid_dist').argmin(1)
    codes = nearest_codes(z, codebook, block)
    assert codes.dtype == torch.int64 and torch.equal(codes, want)


def test_by_hand():
    assert nearest_codes(torch.tensor([[0.4], [0.6], [-9.], [2.1]]), torch.tensor([[0.], [1.], [3.]])).tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize('size', [2, 33, 1000])
def test_first_of_equals_wins(size):
    z, rows = torch.randn(40, 16), torch.randn(size, 16)
    twice = torch.cat([rows, rows])
    assert torch.equal(nearest_codes(z, twice), nearest_codes(z, rows))
    assert nearest_codes(z, torch.ones(size, 16)).tolist() == [0] * 40
    assert nearest_codes(torch.zeros(1, 1), torch.tensor([[5.], [1.], [-1.], [1.]])).tolist() == [1]


def test_never_more_than_a_block(monkeypatch):
    """16,384 codes of 32 channels, depth 8: the whole matrix would have 3.3 million entries a depth."""
    sizes, addmm = [], torch.addmm

    def record(*args, **kwargs):
        out = addmm(*args, **kwargs)
        sizes.append(out.numel())
        return out
    rq = build('RQ', size=16384, dim=32, depth=8).eval()
    z = torch.randn(2, 100, 32)
    monkeypatch.setattr(search.torch, 'addmm', record)
    codes = rq.encode(z)
    assert max(sizes) <= BLOCK and sum(sizes) == 8 * 200 * 16384 and len(sizes) == 8 * 4
    assert torch.equal(rq(z[:, :3]).codes, codes[:, :3])


def test_half_precision_is_searched_in_float32():
    """Codes that bfloat16 cannot tell apart: 100.125 lies between its neighbours 100 and 100.5."""
    codebook = torch.tensor([[100.5], [100.125], [100.]])
    z = torch.tensor([[100.13]])
    with torch.autocast('cpu', torch.bfloat16):
        assert nearest_codes(z, codebook).item() == 1
    assert codebook.bfloat16().flatten().tolist()[1] == 100.0
