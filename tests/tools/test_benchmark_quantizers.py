"""The benchmark: ratios by hand, memory as it is, contenders that are too large, and what the command line writes."""
import json

import pytest
import torch

from tools.benchmarks import quantizers as benchmark
from tools.benchmarks.quantizers import main, measure, measure_extra

cases = benchmark.quantizer_cases
Case, Result = cases.Case, cases.Result
SMALL = Case('RQ', 20, 4, 16, depth=2)


@pytest.fixture
def small(monkeypatch):
    """Small cases, and a small product as the limit."""
    monkeypatch.setattr(benchmark, 'SIDE', 64)
    monkeypatch.setattr(cases, 'standard_cases',
                        lambda: [SMALL, Case('RQ', 20, 4, 16, training=True), Case('FSQ', 20, 2, 25)])


def test_ratios_and_shares_by_hand():
    result = Result(Case('RQ', 1000, 10, 100, depth=2), seconds=dict(dtbox=0.002), rate=1e10,
                    rounds={'dtbox': [1., 2., 4.], 'cdist': [3., 10., 8.]})
    assert result.ratio('cdist') == 3.0 and result.ratio('vector-quantize-pytorch') is None
    assert result.case.flops == 4e6 and result.fraction == pytest.approx(0.2)
    assert Result(Case('FSQ', 10, 2, 25), seconds=dict(dtbox=1.), rate=1.).fraction is None


def test_peak_memory_is_what_a_call_holds():
    assert measure_extra(lambda: torch.zeros(1 << 20)) >= 4 << 20
    assert measure_extra(lambda: [torch.zeros(1 << 20) for _ in range(3)]) >= 12 << 20
    assert measure_extra(lambda: [None for _ in range(3) if torch.zeros(1 << 20) is None]) < 9 << 20
    kept = torch.zeros(1 << 20)
    assert measure_extra(lambda: kept.add_(1)) < 1 << 20


def test_the_search_holds_a_block_only(monkeypatch):
    """16,384 codes, 400 vectors: the distance matrix alone is 26 MB."""
    from dtbox.quantizers import search
    monkeypatch.setattr(search, 'ENTRIES', 1 << 17)
    for training in (False, True):
        call = cases.prepare_ours(Case('RQ', 400, 8, 16384, depth=2, training=training),
                                  torch.randn(1, 400, 8, requires_grad=training))
        call()
        assert measure_extra(call) < 8 << 20


def test_contenders_do_the_same_work(small):
    pytest.importorskip('vector_quantize_pytorch')
    result = measure(SMALL, rounds=2)
    assert set(result.seconds) == {'dtbox', 'vector-quantize-pytorch', 'cdist'}
    assert not result.left_out
    assert result.rate > 0
    assert all(len(times) == 2 and min(times) > 0 for times in result.rounds.values())
    training = measure(Case('RQ', 20, 4, 16, depth=2, training=True), rounds=1)
    assert set(training.seconds) == {'dtbox', 'vector-quantize-pytorch'}


def test_what_is_too_large_is_said():
    calls, left_out = cases.prepare_contenders(Case('RQ', 4096, 8, 262144), torch.randn(1, 4096, 8), 2 ** 30)
    assert set(calls) == {'dtbox'} and 'would need about 8.0 GB' in left_out['vector-quantize-pytorch']


def test_command_line(small, tmp_path, capsys):
    pytest.importorskip('vector_quantize_pytorch')
    main(['--rounds', '1', '--out', str(tmp_path / 'out')])
    shown = capsys.readouterr().out
    assert '| **evaluation**' in shown
    assert '| RQ 16 x 4, depth 2, 20 vectors |' in shown
    assert '| VQ 16 x 4, 20 vectors |' in shown
    found = json.loads((tmp_path / 'out' / 'benchmark.json').read_text())
    assert [r['case'] for r in found['results']] == [str(c) for c in cases.standard_cases()]
    assert found['results'][0]['ratio'].keys() == {'vector-quantize-pytorch', 'cdist'}
    assert found['results'][0]['share_of_matmul'] > 0
    assert (tmp_path / 'out' / 'benchmark.png').stat().st_size > 10_000
    with pytest.raises(SystemExit) as left:
        main(['--only', 'nonsense'])
    assert left.value.code == 2 and 'no case holds nonsense' in capsys.readouterr().err
