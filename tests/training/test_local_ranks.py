"""Ranks that a command has started: where one ends before all have joined each other, the command ends."""
import os
import sys
import time

import pytest

from dtbox.training.local_ranks import choose_cpu_ranks
from tests.child_processes import run_fork

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='forks')
SCRIPT = '''
import os
import time
from dtbox.errors import InputError
from dtbox.training import local_ranks
from dtbox.training.launch import start_ranks
local_ranks.PATIENCE = 0.3
print(time.time(), flush=True)
with local_ranks.LocalRanks(2) as ranks:
    if ranks.rank == {rank}:
        print('words of the rank that ends', flush=True)
        {end}
    start_ranks('pytorch', 30)
'''


@pytest.mark.parametrize('rank, end, code, says', [
    (1, 'os.kill(os.getpid(), 9)', 1, 'error: rank 1, which `cpu_ranks` had started, has ended by the signal SIGKILL '
                                      'before the ranks joined each other.'),
    (1, 'os._exit(2)', 1, 'has ended with exit code 2 before the ranks joined each other.'),
    (0, "raise InputError('what is wrong')", 1, 'what is wrong'), (0, 'os._exit(3)', 3, '')])
def test_a_rank_that_ends_before_all_have_joined(rank, end, code, says, tmp_path):
    """The other one would wait for `rank_timeout`, 30 seconds here."""
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT.format(rank=rank, end=end))
    done = run_fork([script], env=dict(os.environ, TMPDIR=str(tmp_path)))
    assert done.returncode == code and says in done.stderr
    assert time.time() - float(done.stdout.split()[0]) < 9
    if rank == 1:
        assert 'words of the rank that ends' in done.stderr
    assert end == 'os._exit(3)' or not list(tmp_path.glob('dtbox-rank*'))


@pytest.mark.parametrize('value', ['x', 1.5, True, -1, 10 ** 6])
def test_a_number_of_ranks_that_is_none(value, monkeypatch):
    """Nothing is forked before the checks of the config refuse it."""
    monkeypatch.delenv('RANK', raising=False)
    assert choose_cpu_ranks(dict(cpu_ranks=value), 'none') == 1
