"""The benchmark of decoding: what it prints, and that a decoder of other images is refused."""
import pytest
import torch

from dtbox.layers import conv
from tools.benchmarks import decoding as benchmark
from tools.benchmarks.decoding import main, make_decoder, run_directly


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(benchmark, 'CASES', {'one in small': 4, 'other': 2})
    monkeypatch.setattr(benchmark, 'make_decoder', lambda: make_decoder(32))


def test_the_direct_way_is_another_way(monkeypatch):
    """Neither the transposed convolution nor the layout of dtbox takes part."""
    monkeypatch.setattr(conv, 'upsample_conv', None), monkeypatch.setattr(conv, 'fast_layout', None)
    assert run_directly(make_decoder(32), torch.randn(1, 256, 2, 2)).shape == (1, 3, 32, 32)


def test_a_table_of_both(capsys):
    main(['--rounds', '1', '--only', 'one', '--threads', '1'])
    out = capsys.readouterr().out
    assert out.count('| one in small | ') == 2 and 'other' not in out and '| bfloat16 | ' in out
    for options, says in ((['--only', 'x'], 'no case holds x. There are: one in small, other'),
                          (['--rounds', '0'], '--rounds: 0 came')):
        with pytest.raises(SystemExit):
            main(options)
        assert says in capsys.readouterr().err


def test_other_images_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, 'double_and_convolve', lambda x, layer: layer(x).repeat(1, 1, 2, 2))
    with pytest.raises(SystemExit):
        main(['--rounds', '1', '--only', 'one'])
    assert 'the images differ by' in capsys.readouterr().err
