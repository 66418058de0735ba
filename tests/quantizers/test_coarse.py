"""The search that a product in bfloat16 prepares: the codes of a plain search in float32, near ties included."""
import pytest
import torch

from dtbox.quantizers import coarse, search
from dtbox.quantizers.search import CodeSearch, nearest_codes

MM = torch.mm


def emulated(a, b, out):
    """The product of bfloat16 factors with sums in float32, rounded once, on any CPU."""
    if out.dtype != torch.bfloat16:
        return MM(a, b, out=out)
    return out.copy_(a.float() @ b.float())


@pytest.fixture(params=['emulated', 'native'])
def always_coarse(request, monkeypatch):
    """Searches of any size are coarse first."""
    native = coarse.has_fast_products()
    if request.param == 'native' and not native:
        pytest.skip('this CPU does not multiply bfloat16')
    if request.param == 'emulated':
        monkeypatch.setattr(coarse.torch, 'mm', lambda a, b, out=None: MM(a, b) if out is None else emulated(a, b, out))
    monkeypatch.setattr(coarse, 'has_fast_products', lambda: True)
    monkeypatch.setattr(search, 'WORTH', 0), monkeypatch.setattr(search, 'LEAST_VECTORS', 0)


def plainly(z, codebook):
    """Codes of a search that never is coarse."""
    prepared = CodeSearch(codebook)
    prepared.plain = True
    return prepared(z)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


TABLES = dict(
    normal=lambda k, c: noise(k, c),
    unit=lambda k, c: torch.nn.functional.normalize(noise(k, c), dim=1),
    far=lambda k, c: noise(k, c) * 0.1 + 3,
    tiny=lambda k, c: noise(k, c) * 1e-18,
    large=lambda k, c: noise(k, c) * 1e15,
    pairs=lambda k, c: noise(k // 2, c).repeat(2, 1),
    near_pairs=lambda k, c: noise(k // 2, c).repeat(2, 1) * (1 + 1e-7 * noise(k, c, seed=1)),
    clusters=lambda k, c: noise(8, c)[torch.arange(k) % 8] + 1e-6 * noise(k, c, seed=1),
    one_long=lambda k, c: noise(k, c) * torch.where(torch.arange(k)[:, None] == 7, 1e4, 1.),
    lengths=lambda k, c: noise(k, c) * torch.logspace(-3, 3, k)[:, None])


@pytest.mark.parametrize('kind', TABLES)
@pytest.mark.parametrize('size, dim', [(1024, 8), (2500, 5)])
def test_equals_the_plain_search(kind, size, dim, always_coarse, monkeypatch):
    """Vectors near codes, exactly between two codes, anywhere, and zero."""
    monkeypatch.setattr(coarse, 'TILE', 1500)
    table = TABLES[kind](size, dim)
    scale = table.std()
    near = table[torch.arange(400) * 5 % size]
    z = torch.cat([near + 0.3 * scale * noise(400, dim, seed=2), near, (near[:200] + near[200:]) / 2,
                   scale * noise(200, dim, seed=3), torch.zeros(1, dim)])
    prepared = CodeSearch(table)
    codes = prepared(z)
    assert 'coarse' in vars(prepared) and torch.equal(codes, plainly(z, table))


def test_the_margin_is_as_wide_as_the_error(always_coarse):
    """Two codes whose scores differ by less than bfloat16 can tell, in different groups: the better one is found
    wherever it stands, thousands of times."""
    table = 0.2 * noise(1024, 16)
    z = torch.nn.functional.normalize(noise(3000, 16, seed=1), dim=1).abs() * 5
    table[3] = table[900] = 1.
    table[3, 0] = table[900, 1] = 1.01  # the two best for every vector; which one, its first two channels decide
    first, second = z[:, 0], z[:, 1]
    want = torch.where(first > second, 3, 900)
    clear = (first - second).abs() > 0.1  # float32 tells these
    assert clear.sum() > 2000 and torch.equal(nearest_codes(z, table)[clear], want[clear])


@pytest.mark.parametrize('offset', [0., 10.])
def test_few_groups_stay_open(offset, always_coarse):
    """Of spread codes one group a vector, hardly more, wherever their mean lies: this is where the time is saved."""
    table = noise(4096, 32) + offset
    z = table[:1000] + 0.5 * noise(1000, 32, seed=1)
    prepared = CodeSearch(table)
    found = prepared.coarse[0].find(z, search._take_scratch)
    assert 1000 <= len(found.rows) <= 1100 and len(found.rest) == 0 and found.counts.sum() == len(found.rows)


def test_equal_codes_end_the_coarse_search(always_coarse, monkeypatch):
    """A table that has collapsed: after the first vectors all others are searched plainly, now and later."""
    monkeypatch.setattr(coarse, 'ENTRIES', 2048 * 16)
    table = 1 + 1e-6 * noise(2048, 8)
    z = noise(1000, 8, seed=1)
    seen = []
    maxima = coarse.CoarseTable._maxima
    monkeypatch.setattr(coarse.CoarseTable, '_maxima', lambda *args: seen.append(len(args[1])) or maxima(*args))
    prepared = CodeSearch(table)
    want = plainly(z, table)
    assert torch.equal(prepared(z), want) and torch.equal(prepared(z), want)
    assert prepared.plain and seen == [16 * torch.get_num_threads()]


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf'), 3e38, 1e-45])
def test_values_beyond_bounds(value, always_coarse):
    """What the bound cannot hold for is searched plainly, one vector or all."""
    table, z = noise(1024, 8), noise(50, 8, seed=1)
    z[7, 3] = value
    assert torch.equal(nearest_codes(z, table), plainly(z, table))
    table[5, 2] = value
    assert torch.equal(nearest_codes(z, table), plainly(z, table))


def test_only_where_it_pays(monkeypatch):
    """Not below a number of multiplications or vectors, not without the instruction, not for few codes."""
    monkeypatch.setattr(coarse, 'has_fast_products', lambda: True)
    for size, dim, count, pays in ((1024, 8, 100, False), (65536, 32, 500, False), (16384, 32, 600, True)):
        prepared = CodeSearch(noise(size, dim))
        prepared(noise(count, dim))
        assert ('coarse' in vars(prepared)) == pays
    assert CodeSearch(noise(512, 8)).plain
    monkeypatch.setattr(coarse, 'has_fast_products', lambda: False)
    assert CodeSearch(noise(16384, 32)).plain


@pytest.mark.parametrize('supported', [True, False])
def test_instructions_are_asked_for(supported, monkeypatch):
    """A CPU that only emulates the product, and a oneDNN that is switched off, are no use."""
    monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: supported, raising=False)
    monkeypatch.setattr(torch.cpu, '_is_amx_tile_supported', lambda: False, raising=False)
    assert coarse.has_fast_products() == (supported and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    with torch.backends.mkldnn.flags(enabled=False):
        assert not coarse.has_fast_products()


@pytest.mark.parametrize('count', [1, 2, 3, 5])
def test_a_code_is_the_same_alone(count):
    """Near ties included: products of few vectors would add up in another order."""
    table = (noise(8, 33)[torch.arange(2048) % 8] + 1e-7 * noise(2048, 33, seed=1))
    z = noise(400, 33, seed=2)
    together = nearest_codes(z, table)
    assert torch.equal(torch.cat([nearest_codes(part, table) for part in z.split(count)]), together)
