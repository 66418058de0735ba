"""The search: exact, first of equals, and never more than a block of the distance matrix."""
import pytest
import torch

from dtbox.quantizers import search
from dtbox.quantizers.search import nearest_codes
from dtbox.registry import QUANTIZERS
from tests.quantizers.conftest import build


@pytest.mark.parametrize('count, size, dim, tile, entries', [
    (200, 300, 8, 4096, 1 << 20), (50, 129, 3, 64, 640), (7, 1, 4, 4096, 1 << 20), (20, 64, 5, 32, 32),
    (0, 16, 4, 4096, 1 << 20),
    (33, 1000, 16, 96, 1)])
def test_equals_brute_force(count, size, dim, tile, entries, monkeypatch):
    monkeypatch.setattr(search, 'TILE', tile), monkeypatch.setattr(search, 'ENTRIES', entries)
    z, codebook = torch.randn(count, dim), torch.randn(size, dim)
    want = torch.cdist(z.double(), codebook.double(), compute_mode='donot_use_mm_for_euclid_dist').argmin(1)
    codes = nearest_codes(z, codebook)
    assert codes.dtype == torch.int64 and torch.equal(codes, want)


def test_other_devices_take_whole_rows(monkeypatch):
    """What runs on a GPU, on the CPU: blocks of rows against the whole table."""
    monkeypatch.setattr(search, 'DEVICE_ENTRIES', 1000)
    z, codebook = torch.randn(50, 8), torch.randn(300, 8)
    prepared = search.CodeSearch(codebook)
    want = prepared(z)
    prepared.device, prepared.table = torch.device('meta'), torch.cat([codebook,
                                                                       -codebook.pow(2).sum(1, keepdim=True) / 2],
                                                                      1).t().contiguous()
    assert torch.equal(prepared(z), want)


@pytest.mark.parametrize('scale, offset', [(1.0, 0.0), (1e-3, 0.0), (100.0, 0.0), (1.0, 10.0)])
def test_equals_float64_beyond_the_margin(scale, offset):
    """Wherever best and second best differ by more than 1e-5 (|z|^2 + |e|^2), the code is that of float64."""
    z, codebook = torch.randn(500, 32) * scale + offset, torch.randn(2000, 32) * scale + offset
    distance = torch.cdist(z.double(), codebook.double(), compute_mode='donot_use_mm_for_euclid_dist').pow(2)
    (first, second), (want, _) = (t.unbind(1) for t in distance.topk(2, 1, largest=False))
    clear = second - first > 1e-5 * (z.double().pow(2).sum(1) + codebook.double().pow(2).sum(1)[want])
    assert clear.sum() > 200 and torch.equal(nearest_codes(z, codebook)[clear], want[clear])


def test_by_hand():
    assert nearest_codes(torch.tensor([[0.4], [0.6], [-9.], [2.1]]),
                         torch.tensor([[0.], [1.], [3.]])).tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize('size', [2, 33, 1000, 5000])
def test_first_of_equals_wins(size):
    # exact in any order of sums
    z, rows = torch.randint(-4, 5, (40, 16)).float(), torch.randint(-4, 5, (size, 16)).float()
    twice = torch.cat([rows, rows])
    assert torch.equal(nearest_codes(z, twice), nearest_codes(z, rows))
    assert nearest_codes(z, torch.ones(size, 16)).tolist() == [0] * 40
    assert nearest_codes(torch.zeros(1, 1), torch.tensor([[5.], [1.], [-1.], [1.]])).tolist() == [1]


def test_never_more_than_a_block(monkeypatch):
    """16,384 codes of 32 channels, depth 8: the whole matrix would have 3.3 million entries a depth."""
    sizes, mm = [], torch.mm

    def record(*args, **kwargs):
        out = mm(*args, **kwargs)
        sizes.append(out.numel())
        return out
    rq = build('RQ', size=16384, dim=32, depth=8).eval()
    z = torch.randn(2, 100, 32)
    monkeypatch.setattr(search.torch, 'mm', record), monkeypatch.setattr(search, 'ENTRIES', 1 << 18)
    codes = rq.encode(z)
    assert max(sizes) <= torch.get_num_threads() * search.ENTRIES and sum(sizes) == 8 * 200 * 16384
    assert torch.equal(rq(z[:, :3]).codes, codes[:, :3])


def test_half_precision_is_searched_in_float32():
    """Codes that bfloat16 cannot tell apart: 100.125 lies between its neighbours 100 and 100.5."""
    codebook = torch.tensor([[100.5], [100.125], [100.]])
    z = torch.tensor([[100.13]])
    with torch.autocast('cpu', torch.bfloat16):
        assert nearest_codes(z, codebook).item() == 1
    assert codebook.bfloat16().flatten().tolist()[1] == 100.0


@pytest.mark.parametrize('cfg', [
    dict(type='MCQ', size=16, dim=8, parts=2), dict(type='JointVQ', size=16, members=dict(a=4, b=4))],
    ids=lambda cfg: cfg['type'])
def test_an_exported_search_takes_any_batch(cfg):
    """Quantizers with tables outside a Codebook, too: the tiles of `CodeSearch` would fix the batch size of a graph."""
    quantizer = QUANTIZERS.build(cfg).eval()

    class Encode(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.quantizer = quantizer

        def forward(self, z):
            return self.quantizer.encode(z)
    batch = {0: torch.export.Dim('batch')}
    program = torch.export.export(Encode(), (torch.randn(2, 5, 8),), dynamic_shapes=(batch,)).module()
    z = torch.randn(7, 5, 8)
    assert torch.equal(program(z), quantizer.encode(z))
