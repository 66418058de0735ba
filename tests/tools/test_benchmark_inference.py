"""The inference benchmark on the smallest recipe: it runs, and what it says of codes is true."""
import pytest
import torch

from dtbox.config import load_config, resolve
from tools.benchmarks.inference import main, make_run, measure_use, show_loading


@pytest.fixture
def run(tiny_config, tmp_path):
    source = load_config(tiny_config)
    size = make_run(source, resolve(source), str(tmp_path / 'run'))
    assert size == (tmp_path / 'run' / 'checkpoint.pth').stat().st_size
    return str(tmp_path / 'run')


def test_use(run):
    times, peaks, equal = measure_use(run, torch.rand(2, 3, 32, 32) * 2 - 1, rounds=2, say=lambda line: None)
    assert set(times) == set(peaks) == {'encode all', 'encode pixel', 'encode semantic', 'decode', 'embed',
                                        'encode all, bfloat16'}
    assert all(len(v) == 2 and min(v) > 0 for v in times.values()) and all(v is None or v > 10 for v in peaks.values())
    assert set(equal) == {'pixel', 'semantic'} and all(len(v) == 2 and 0.5 < v[0] <= 1 for v in equal.values())


def test_tables(capsys):
    show_loading(dict(read=[dict(seconds=2.0, megabytes=5)] * 3,
                      load=[dict(seconds=s, megabytes=1100.0) for s in (1.0, 3.0, 9.0)]), 1_000_000_000)
    out = capsys.readouterr().out
    assert 'dtbox.load 3.00 s, reading the file 2.00 s, ratio 1.50; peak 1,100 MB, 1.10 x the weights' in out


def test_command_line(tiny_config, capsys):
    main([str(tiny_config), '--only', 'use', '--rounds', '1'])
    out = capsys.readouterr().out
    assert 'encode pixel' in out and 'codes of semantic that bfloat16 leaves as they are, by depth:' in out
    with pytest.raises(SystemExit):
        main([str(tiny_config), '--image', 'gone.png'])
    assert 'gone.png does not exist' in capsys.readouterr().err
