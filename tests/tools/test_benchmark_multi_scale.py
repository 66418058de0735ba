"""The benchmark of codes of several scales: its direct implementation gives the same codes, and what it prints."""
import pytest
import torch

from dtbox.registry import QUANTIZERS
from tools.benchmarks import multi_scale as benchmark
from tools.benchmarks.multi_scale import CASES, Case, Direct, main

SMALL = [Case('VAR in small', dict(CASES[0].quantizer, scales=[1, 2, 3, 5], quantizer=dict(type='VQ', size=40, dim=6))),
         Case('TokenFlow in small', dict(CASES[1].quantizer, scales=[1, 2, 4], quantizer=dict(
             type='JointVQ', size=40, members=dict(a=4, b=3))))]


@pytest.mark.parametrize('case', SMALL, ids=lambda case: case.name)
def test_both_give_the_same_codes(case):
    torch.manual_seed(0)
    quantizer = QUANTIZERS.build(case.quantizer).eval()
    z = torch.randn(3, quantizer.grid.tokens, quantizer.dim)
    assert torch.equal(Direct(quantizer).encode(z), quantizer.encode(z))


def test_a_table_of_both(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, 'CASES', SMALL)
    main(['--images', '2', '--rounds', '1', '--only', 'VAR'])
    out = capsys.readouterr().out
    assert '| VAR in small | ' in out and 'TokenFlow' not in out
    for options, says in ((['--only', 'x'], 'no case holds x. There are: VAR in small; TokenFlow in small'),
                          (['--rounds', '0'], '--rounds: 0 came')):
        with pytest.raises(SystemExit):
            main(options)
        assert says in capsys.readouterr().err


def test_methods_that_differ(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, 'CASES', SMALL)
    monkeypatch.setattr(Direct, 'encode', lambda self, z: torch.zeros(len(z), 39, 1, dtype=torch.int64))
    with pytest.raises(SystemExit):
        main(['--images', '2', '--only', 'VAR'])
    assert 'they are not the same method' in capsys.readouterr().err
