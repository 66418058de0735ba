"""`dtbox encode` as a program, killed at random moments and started again: the files are those of a run that nobody
killed. tests/kill_encode.py does the same as often as it is told."""
import random
import signal
import subprocess

import pytest

from dtbox.cli import encode as encode_cli
from tests.child_processes import fork_child
from tests.shard_data import write_set
from tests.tokens.kit import hashes, run_encode


def words(run, src, out, workers):
    return ['-m', 'dtbox', 'encode', run, src, out, '--workers', workers, '--batch', 4]


@pytest.fixture(scope='module')
def tars(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp('tars'), [30, 20, 25, 10])


@pytest.mark.parametrize('engine', ['local', pytest.param('ray', marks=pytest.mark.long)])
def test_a_driver_that_is_killed(tiny_run, tars, tmp_path, forks, engine):
    """Nobody ends the workers of a killed driver but the kernel: what they leave is taken up by the next start."""
    if engine == 'ray':
        pytest.importorskip('ray')
    run_encode(tiny_run, tars, tmp_path / 'whole')
    seed = random.SystemRandom().randrange(10 ** 6)
    draw = random.Random(seed)
    for workers in (2, 1):
        more = ['--engine', engine]
        child = fork_child([*words(tiny_run, tars, tmp_path / 'out', workers), *more], stdout=subprocess.DEVNULL)
        try:
            child.wait(draw.uniform(0.5, 8))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
    encode_cli.VERB.main([str(word) for word in words(tiny_run, tars, tmp_path / 'out', 2)[3:]])
    assert hashes(tmp_path / 'out') == hashes(tmp_path / 'whole'), f'seed {seed}'
