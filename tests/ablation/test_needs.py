"""Trials that start from runs of another grid: found by seed, asked for where missing, not needed by results."""
import csv
import os
import shutil

import pytest

from dtbox.ablation import read_grid, run_grid
from dtbox.ablation.needs import Need
from dtbox.ablation.trial import read_record
from dtbox.config import resolve
from dtbox.errors import InputError
from dtbox.runs import RunFolder

FIRST = '''base = {base!r}
axes = dict(depth=dict(key='quantizer.depth', values=[2]))
seeds = [0, 1]
'''
SECOND = '''base = {base!r}
overrides = {{'load_from': 'trial://first/2__seed{{seed}}'}}
axes = dict(size=dict(key='quantizer.size', values=[64, 32]))
seeds = [0, 1]
seeds_first = True
metrics = ['heldout/psnr']
'''
FOLDERS = [os.path.join('work_dirs', 'ablations', 'first', 'trials', f'2__seed{seed}') for seed in (0, 1)]
OUT = os.path.join('work_dirs', 'ablations', 'second')


@pytest.fixture
def grids(write_grid, quick_config, tmp_path, monkeypatch, instant):
    """(the first grid, the second, which starts from its runs), in a folder of their own; trials end at once."""
    instant()
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / 'recipe.py'
    recipe.write_text(f'_base_ = [{str(quick_config)!r}]\nload_from = "none"\n')
    return [read_grid(write_grid(text=text.format(base=str(recipe)), name=f'{name}.py'))
            for name, text in (('first', FIRST), ('second', SECOND))]


def train_first(grid, resume=False):
    """Run the first grid; each run gets weights of its own."""
    run_grid(grid, os.path.dirname(os.path.dirname(FOLDERS[0])), resume=resume)
    for folder in FOLDERS:
        with open(RunFolder(folder).checkpoint, 'w') as f:
            f.write(folder)


def run_second(grid, instant, **more):
    """Run the second grid; returns (names of the trials that were started, status of each trial)."""
    engine = instant(workers=1)
    _, rows = run_grid(grid, OUT, **more)
    return engine.started, {row['trial']: row['status'] for row in rows}


def test_seeds_have_runs_of_their_own(grids):
    second = grids[1]
    assert [t.name for t in second.trials] == ['64__seed0', '32__seed0', '64__seed1', '32__seed1']
    assert [resolve(t.config).load_from for t in second.trials] == [FOLDERS[0]] * 2 + [FOLDERS[1]] * 2
    assert second.trials[0].needs == (Need('load_from', 'first', '2__seed0'),)
    assert second.trials[3].overrides['load_from'] == FOLDERS[1] and grids[0].trials[0].needs == ()


@pytest.mark.parametrize('old, new, says', [
    ('first/2__seed{seed}', 'first', "load_from: got 'trial://first'; expected 'trial://GRID/TRIAL'"),
    ('first/2__seed{seed}', '../first/2', "load_from: got 'trial://../first/2'; expected"),
    ('seeds_first = True', 'seeds_first = 1', 'seeds_first: got 1; expected True or False')])
def test_what_cannot_be_read(grids, write_grid, tmp_path, old, new, says):
    text = (tmp_path / 'second.py').read_text()
    assert old in text
    with pytest.raises(InputError, match=says):
        read_grid(write_grid(text=text.replace(old, new)))


def test_runs_that_have_not_finished(grids, instant):
    """The sentence says what to run first; a trial of another seed that has its run is not held up."""
    first, second = grids
    with pytest.raises(InputError, match='32__seed1 starts from the run .*2__seed1, which has not finished.*dtbox '
                                         "ablate first --resume --only '2__seed1'"):
        run_second(second, instant, only='32__seed1')
    train_first(first)
    os.remove(RunFolder(FOLDERS[1]).checkpoint)
    with pytest.raises(InputError, match='has lost its checkpoint. To train it, take the folder .*2__seed1 away'):
        run_second(second, instant)
    started, states = run_second(second, instant, only='*seed0')
    assert started == ['64__seed0', '32__seed0'] and states['64__seed1'] == 'missing'


def test_each_run_is_other_data(grids, instant):
    """Trials of two seeds that start from different weights differ in their data; other weights make a trial run
    again."""
    first, second = grids
    train_first(first)
    run_second(second, instant)
    data = [read_record(os.path.join(OUT, 'trials', t.name))['hashes']['data_hash'] for t in second.trials]
    assert data[0] == data[1] != data[2] == data[3]
    assert run_second(second, instant, resume=True) == ([], dict.fromkeys([t.name for t in second.trials], 'done'))
    with open(RunFolder(FOLDERS[1]).checkpoint, 'w') as f:
        f.write('other weights')
    assert run_second(second, instant, resume=True)[0] == ['64__seed1', '32__seed1']


def test_results_do_not_need_what_they_were_made_from(grids, instant):
    """Records alone, the runs and checkpoints gone: finished trials keep their results and scores; one without a result
    asks for its run, and runs once that is there."""
    first, second = grids
    train_first(first)
    run_second(second, instant, only='*seed0')
    scores = [read_scores(OUT, name) for name in ('64__seed0', '32__seed0')]
    shutil.rmtree(os.path.join('work_dirs', 'ablations', 'first'))
    assert run_second(second, instant, resume=True, only='*seed0') == ([], {
        '64__seed0': 'done', '32__seed0': 'done', '64__seed1': 'missing', '32__seed1': 'missing'})
    assert [read_scores(OUT, name) for name in ('64__seed0', '32__seed0')] == scores
    with pytest.raises(InputError, match='64__seed1 starts from the run .* which has not finished'):
        run_second(second, instant, resume=True)
    instant()
    run_grid(first, os.path.dirname(os.path.dirname(FOLDERS[0])), only='*seed1')
    with open(RunFolder(FOLDERS[1]).checkpoint, 'w') as f:
        f.write('new')
    started, states = run_second(second, instant, resume=True)
    assert started == ['64__seed1', '32__seed1'] and set(states.values()) == {'done'}
    assert [read_scores(OUT, name) for name in ('64__seed0', '32__seed0')] == scores


def read_scores(folder, trial):
    """Return the score of a trial in the table of a grid."""
    with open(os.path.join(folder, 'results.csv'), newline='') as f:
        return next(row['heldout/psnr'] for row in csv.DictReader(f) if row['trial'] == trial)
