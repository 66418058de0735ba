"""`dtbox encode` with two workers, with one, and a bare loop, in turn."""
import pytest

from dtbox.tokens.engines import local
from tests.shard_data import write_set
from tests.tokens.kit import ForkedWorker
from tools.benchmarks import encoding


def test_benchmark_of_encoding(tiny_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(local, 'launch', ForkedWorker)
    calls = []
    monkeypatch.setattr(encoding, 'run_process', lambda name, code, *args: calls.append(args)
                        or dict(images=5, rate=4.0))
    src = write_set(tmp_path / 'tars', [2, 3])
    encoding.main([src, '--run', str(tiny_run), '--batch', '4', '--rounds', '1'])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(':')[0] for line in lines[-3:]] == ['2 workers', '1 workers', 'bare loop']
    assert 'bare loop: 4.0 images/s' in lines[-1]
    assert calls == [(str(tiny_run), '4', f'{src}/s-0.tar', f'{src}/s-1.tar')]
    with pytest.raises(SystemExit):
        encoding.main([src, '--rounds', '0'])
    assert '--rounds: 0 came' in capsys.readouterr().err
