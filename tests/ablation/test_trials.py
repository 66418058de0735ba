"""Real trials in processes of their own: killed and resumed, on this machine and on Ray, the metrics are the same to
the last bit."""
import contextlib
import csv
import io
import os
import random
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from dtbox.ablation import GridFolder, read_grid
from dtbox.ablation.engines import make_engine
from dtbox.ablation.trial import read_record
from dtbox.locks import wait_until_free
from tests.child_processes import fork_child
from tools.ablate import main

FACTS = ('seconds', 'peak_mb', 'encode_rate', 'decode_rate')  # times are never the same
ITERATIONS = 6
GRID = '''"""Real trials."""
base = {base!r}
axes = dict(depth=dict(key='quantizer.depth', values=[1, 2]))
metrics = ['heldout/psnr']
'''


@pytest.fixture(scope='module')
def grid_file(quick_config, tmp_path_factory):
    path = tmp_path_factory.mktemp('grid') / 'real.py'
    path.write_text(GRID.format(base=str(quick_config)))
    return path


def arguments(grid, folder, *more):
    return [str(grid), '--work-dir', str(folder), '--workers', '2', '--no-report', *more]


def fork_trial(command, stdin, **options):
    """Start a trial's process as a fork; its parent is the server of forks, and not that which the command names."""
    assert command[0] == sys.executable and command[-1] == str(os.getpid()) and stdin == subprocess.DEVNULL
    return fork_child(command[1:-1], **options)


def ablate(*args):
    """Run the command line in this process, with its trials as forks: both have imported what they need; returns what
    it printed. The killed grid and Ray start programs."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.MonkeyPatch.context() as patch:
        forks = SimpleNamespace(**{**vars(subprocess), 'Popen': fork_trial})
        patch.setattr('dtbox.ablation.engines.local.subprocess', forks)
        main(arguments(*args))
    return out.getvalue()


def table(folder):
    with open(os.path.join(folder, 'results.csv')) as f:
        return [{k: v for k, v in row.items() if k not in FACTS} for row in csv.DictReader(f)]


@pytest.fixture(scope='module')
def uninterrupted(grid_file):
    folder = grid_file.parent / 'uninterrupted'
    shown = ablate(grid_file, folder)
    assert '2 done' in shown and 'Bookkeeping' in shown
    return folder


def test_the_table_of_real_trials(uninterrupted):
    rows = table(uninterrupted)
    assert [(r['depth'], r['status'], r['iterations'], r['tokens'], r['bits']) for r in rows] == [
        ('1', 'done', str(ITERATIONS), '16', '96.0'), ('2', 'done', str(ITERATIONS), '32', '192.0')]
    assert rows[0]['heldout/psnr'] != rows[1]['heldout/psnr'] and float(rows[0]['heldout/psnr']) > 5
    assert rows[0]['identity'] != rows[1]['identity']
    folder = uninterrupted / 'trials' / '1__seed0'
    for name in ('metrics.json', 'checkpoint.pth', 'config.py', 'log.txt', 'trial.json', 'samples.npz'):
        assert (folder / name).is_file()


def lines(trial):
    try:
        with open(os.path.join(trial, 'history.jsonl')) as f:
            return len(f.readlines())
    except FileNotFoundError:
        return 0


def test_killed_at_a_random_moment_and_resumed(grid_file, uninterrupted):
    """Only the grid's own process gets the signal: what it started must die with it."""
    folder, seed = grid_file.parent / 'killed', random.SystemRandom().randrange(10 ** 6)
    draw = random.Random(seed)
    trials = [GridFolder(folder).trial(t) for t in read_grid(str(grid_file)).trials]
    watched = draw.choice(trials)
    iteration = draw.randint(0, ITERATIONS)
    more = draw.uniform(0, 0.3)
    process = fork_child(['tools/ablate.py', *arguments(grid_file, folder)], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
    while process.poll() is None and not (read_record(watched) and lines(watched) >= iteration):
        time.sleep(0.01)
    time.sleep(more)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for trial in trials:
        assert not wait_until_free(os.path.join(trial, '.lock')), 'a trial outlived its grid'
    before = [(read_record(t).get('status'), lines(t)) for t in trials]
    shown = ablate(grid_file, folder, '--resume')
    assert table(folder) == table(uninterrupted), f'seed {seed}, {before}: {shown}'


def test_ray_gives_the_same(grid_file, uninterrupted):
    pytest.importorskip('ray')
    folder = grid_file.parent / 'ray'
    ablate(grid_file, folder, '--engine', 'ray')
    assert table(folder) == table(uninterrupted)


def test_ray_that_is_not_there(monkeypatch):
    pytest.importorskip('ray')
    from dtbox.errors import InputError
    for address in ('127.0.0.1:1', 'ray://127.0.0.1:1'):
        with pytest.raises(InputError, match=f'the Ray cluster at {address} cannot be reached .*refused.* --engine '
                                             'local'):
            make_engine('ray', 1, address=address)
