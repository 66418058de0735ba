"""Workers of one thread against one worker of many threads."""
import pytest

from tests.ablation.conftest import instant, quick_config, write_grid  # noqa: F401  fixtures
from tools.benchmarks.grid import main


def test_benchmark_of_workers(write_grid, instant, capsys):  # noqa: F811
    def code(*argv):
        with pytest.raises(SystemExit) as stopped:
            main([write_grid(), *argv])
        return stopped.value.code, capsys.readouterr().err
    engine = instant(workers=2)
    main([write_grid(), '--cores', '2', '--only', '*seed0', '--rounds', '2'])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(':')[0] for line in lines if 'worker(s)' in line] == ['2 worker(s) x 1 thread(s)',
                                                                             '1 worker(s) x 2 thread(s)'] * 2
    assert lines[-1].startswith('2 workers of one thread are ') and len(engine.started) == 16
    assert code('--cores', '1') == (2, 'error: --cores: 1 leaves nothing to divide; give 2 or more.\n')
    assert code('--rounds', '0') == (2, 'error: --rounds: 0 came; expected at least 1.\n')
    status, said = code('--cores', '2', '--only', '1__wide__seed0')
    assert status == 2 and '1 trials of' in said and 'at least two' in said
