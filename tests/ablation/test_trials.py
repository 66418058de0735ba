"""Real trials in processes of their own: killed and resumed, on this machine and on Ray, the metrics are the same to the last bit."""
import csv
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from dtbox.ablation import GridFolder, read_grid
from dtbox.ablation.engines import make_engine
from dtbox.ablation.locks import held
from dtbox.ablation.trial import read_record

FACTS = ('seconds', 'peak_mb')  # times are never the same
GRID = '''"""Real trials."""
base = {base!r}
overrides = {{'train_cfg.max_iters': 8, 'hooks.1.interval': 1}}
axes = dict(depth=dict(key='quantizer.depth', values=[1, 2]))
metrics = ['heldout/psnr']
'''


@pytest.fixture(scope='module')
def grid_file(tiny_config, tmp_path_factory):
    path = tmp_path_factory.mktemp('grid') / 'real.py'
    path.write_text(GRID.format(base=str(tiny_config)))
    return path


def command(grid, folder, *more):
    return [sys.executable, 'tools/ablate.py', str(grid), '--work-dir', str(folder), '--workers', '2', '--no-report', *more]


def table(folder):
    with open(os.path.join(folder, 'results.csv')) as f:
        return [{k: v for k, v in row.items() if k not in FACTS} for row in csv.DictReader(f)]


@pytest.fixture(scope='module')
def uninterrupted(grid_file):
    folder = grid_file.parent / 'uninterrupted'
    done = subprocess.run(command(grid_file, folder), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '2 done' in done.stdout and 'Bookkeeping' in done.stdout
    return folder


def test_the_table_of_real_trials(uninterrupted):
    rows = table(uninterrupted)
    assert [(r['depth'], r['status'], r['iterations'], r['tokens'], r['bits']) for r in rows] == [
        ('1', 'done', '8', '32', '192.0'), ('2', 'done', '8', '64', '384.0')]
    assert rows[0]['heldout/psnr'] != rows[1]['heldout/psnr'] and float(rows[0]['heldout/psnr']) > 5
    assert rows[0]['identity'] != rows[1]['identity']
    folder = uninterrupted / 'trials' / '1__seed0'
    for name in ('metrics.json', 'checkpoint.pth', 'config.py', 'log.txt', 'trial.json', 'samples.npz', 'heldout.png', 'reconstructions.png'):
        assert (folder / name).is_file()


def test_killed_at_a_random_moment_and_resumed(grid_file, uninterrupted):
    """Only the grid's own process gets the signal: what it started must die with it."""
    folder, seed = grid_file.parent / 'killed', random.SystemRandom().randrange(10 ** 6)
    process = subprocess.Popen(command(grid_file, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    trials = [GridFolder(folder).trial(t) for t in read_grid(str(grid_file)).trials]
    while process.poll() is None and not os.path.isfile(os.path.join(trials[0], 'checkpoint.pth')):
        time.sleep(0.05)
    time.sleep(random.Random(seed).uniform(0, 3))
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = time.time()
    while any(held(os.path.join(t, '.lock')) for t in trials):
        assert time.time() - begun < 10, 'a trial outlived its grid'
        time.sleep(0.05)
    before = [read_record(t).get('status') for t in trials]
    done = subprocess.run(command(grid_file, folder, '--resume'), capture_output=True, text=True)
    assert done.returncode == 0, f'seed {seed}, {before}: {done.stdout}{done.stderr}'
    assert table(folder) == table(uninterrupted), f'seed {seed}, {before}'


def test_ray_gives_the_same(grid_file, uninterrupted):
    pytest.importorskip('ray')
    folder = grid_file.parent / 'ray'
    done = subprocess.run(command(grid_file, folder, '--engine', 'ray'), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert table(folder) == table(uninterrupted)


def test_ray_that_is_not_there(grid_file, monkeypatch):
    pytest.importorskip('ray')
    from dtbox.errors import InputError
    for address in ('127.0.0.1:1', 'ray://127.0.0.1:1'):
        with pytest.raises(InputError, match=f'the Ray cluster at {address} cannot be reached .*refused.* --engine local'):
            make_engine('ray', 1, address=address)


@pytest.mark.parametrize('more, message', [
    (['--accept-code-change'], '--accept-code-change goes with --resume'), (['--only', 'nothing'], 'matches no trial'),
    (['--cfg-options', 'quantizer.siz=3'], 'no such key'), (['--threads', '0'], '`threads` is 0')])
def test_bad_command_lines(grid_file, tmp_path, more, message, capsys):
    from tools.ablate import main
    with pytest.raises(SystemExit) as stopped:
        main([str(grid_file), '--work-dir', str(tmp_path / 'new'), *more])
    assert stopped.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()


def test_options_are_remembered_and_a_folder_stands_for_its_grid(grid_file, tmp_path, capsys):
    from tools.ablate import main
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path)])
    assert stopped.value.code == 2 and 'no folder of a grid' in capsys.readouterr().err
    folder = GridFolder(tmp_path / 'new')
    os.makedirs(folder.path)
    folder.write_about(read_grid(str(grid_file)), 'typed', options={'quantizer.size': '32', 'data_root': "'/a b'"})
    from tools.ablate import kept_options
    assert kept_options(folder.path) == {'quantizer.size': 32, 'data_root': '/a b'}
