"""Running a grid: planning, resuming, what fails, the table. Trials end at once here; test_trials.py runs real ones."""
import csv
import json
import os

import pytest

from dtbox.ablation import read_grid, run_grid
from dtbox.ablation.plan import format_plan
from dtbox.ablation.summary import describe_best, format_summary
from dtbox.errors import InputError


def table(folder):
    with open(os.path.join(folder, 'results.csv')) as f:
        return {row['trial']: row for row in csv.DictReader(f)}


@pytest.fixture
def grid(write_grid):
    return read_grid(write_grid())


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / 'out')


def test_all_trials_run_once(grid, out, instant):
    engine = instant(workers=3)
    plan, rows = run_grid(grid, out, about=dict(command='python tools/ablate.py small.py'))
    assert engine.started == [t.name for t in grid.trials] and engine.most == 3
    assert {r['status'] for r in rows} == {'done'} and [p.what for p in plan] == ['new'] * 8
    row = table(out)['2__narrow__seed1']
    assert json.loads(row['overrides']) == {'recipe': os.path.basename(plan[0].trial.base), 'quantizer.depth': 2}
    assert (row['depth'], row['decoder'], row['seed'], row['threads'], row['seconds']) == ('2', 'narrow', '1', '1',
                                                                                           '1.5')
    assert float(row['heldout/psnr']) == sum(b'2__narrow__seed1') / 7 and 'heldout/kept' not in row
    assert row['config_hash'] and row['code_hash'] and row['data_hash']
    about = json.load(open(os.path.join(out, 'grid.json')))
    assert about['name'] == 'small'
    assert about['command'] == 'python tools/ablate.py small.py'
    assert about['axes'] == grid.axes
    assert describe_best(grid, rows).startswith('2, wide') or describe_best(grid, rows).startswith('2, narrow')
    assert len(format_summary(grid, rows)) == 5
    engine = instant()
    run_grid(grid, out, resume=True)
    assert engine.started == []


def test_pandas_reads_the_table(grid, out, instant):
    pandas = pytest.importorskip('pandas')
    instant(outcome={'1__wide__seed0': 'failed'})
    run_grid(grid, out)
    frame = pandas.read_csv(os.path.join(out, 'results.csv'))
    assert frame.status.value_counts().to_dict() == dict(done=7, failed=1) and frame['heldout/psnr'].isna().sum() == 1


def test_what_fails_does_not_stop_the_rest_and_runs_again(grid, out, instant):
    instant(outcome={'1__wide__seed0': 'failed', '1__wide__seed1': 'diverged', '2__wide__seed0': -9})
    _, rows = run_grid(grid, out)
    states = {r['trial']: (r['status'], r['reason']) for r in rows}
    assert states['1__wide__seed0'] == ('failed', 'as asked') and states['1__wide__seed1'] == ('diverged', 'as asked')
    assert states['2__wide__seed0'][0] == 'killed' and 'SIGKILL' in states['2__wide__seed0'][1]
    engine = instant()
    plan, rows = run_grid(grid, out, resume=True)
    assert engine.started == ['1__wide__seed0', '2__wide__seed0']  # diverging is a result
    assert {p.trial.name: p.what for p in plan if p.what != 'keep'} == {'1__wide__seed0': 'redo',
                                                                        '2__wide__seed0': 'continue'}
    assert os.path.isfile(os.path.join(out, 'trials', '1__wide__seed0.1', 'trial.json'))  # the failed attempt is kept
    assert sum(r['status'] == 'done' for r in rows) == 7


def test_other_code_stops_until_it_is_accepted(grid, out, instant, monkeypatch):
    instant(outcome={'1__wide__seed0': 'failed'})
    run_grid(grid, out)
    before = table(out)['2__wide__seed0']['code_hash']
    monkeypatch.setattr('dtbox.ablation.plan.hash_code', lambda: 'another')
    engine = instant()
    with pytest.raises(InputError, match=r'dtbox has changed since 7 trials .* --accept-code-change'):
        run_grid(grid, out, resume=True)
    assert engine.started == []
    run_grid(grid, out, resume=True, accept_code_change=True)
    assert engine.started == ['1__wide__seed0']
    assert table(out)['1__wide__seed0']['code_hash'] == 'another'
    assert table(out)['2__wide__seed0']['code_hash'] == before


def test_a_changed_trial_is_not_taken_for_the_old(grid, out, instant, write_grid):
    instant()
    run_grid(grid, out)
    changed = read_grid(write_grid(("'model.tokenizer.decoder.width': 64", "'model.tokenizer.decoder.width': 96")))
    engine = instant()
    run_grid(changed, out, resume=True)
    assert engine.started == [t.name for t in grid.trials if 'wide' in t.name]
    assert os.path.isdir(os.path.join(out, 'trials', '1__wide__seed0.1'))


def test_what_is_changed_back_is_not_run_again(grid, out, instant, write_grid):
    change = ("'model.tokenizer.decoder.width': 64", "'model.tokenizer.decoder.width': 96")
    instant()
    run_grid(grid, out)
    run_grid(read_grid(write_grid(change)), out, resume=True)
    engine = instant()
    plan, rows = run_grid(read_grid(write_grid()), out, resume=True)
    assert engine.started == [] and {p.what for p in plan} == {'keep'} and {r['status'] for r in rows} == {'done'}
    config = 'trials/1__wide__seed0{}/config.py'
    assert (
        'width=64' in open(os.path.join(out, config.format(''))).read()
        and 'width=96' in open(os.path.join(out, config.format('.1'))).read()
    )
    run_grid(read_grid(write_grid(change)), out, resume=True)
    assert engine.started == []


def test_results_of_what_has_changed_are_not_in_the_table(grid, out, instant, write_grid):
    instant()
    run_grid(grid, out)
    changed = read_grid(write_grid(("'model.tokenizer.decoder.width': 64", "'model.tokenizer.decoder.width': 96")))
    plan, _ = run_grid(changed, out, resume=True, dry_run=True)
    lines = format_plan(plan)
    assert lines[0] == '1__wide__seed0: to run again (done, 0:00:01; its config changed)'
    assert lines[2] == '1__narrow__seed0: has a result (done, 0:00:01)'
    instant(outcome={'1__wide__seed0': 'failed'})
    run_grid(changed, out, resume=True, only='1__wide__seed0')
    found = table(out)
    assert found['1__wide__seed0']['status'] == 'failed' and found['1__narrow__seed0']['status'] == 'done'
    assert found['2__wide__seed1']['status'] == 'outdated' and found['2__wide__seed1']['heldout/psnr'] == ''


def test_a_metric_that_no_trial_has_is_told_at_the_first_one(write_grid, out, instant, capsys):
    """A set is known once there are results; a metric is known before anything starts."""
    instant(workers=1)
    run_grid(read_grid(write_grid(("'heldout/psnr'", "'heldot/psnr'"))), out)
    said = capsys.readouterr().out
    assert said.count('`heldot/psnr`, one of the metrics of the grid, is not among those of 1__wide__seed0. Did you '
                      'mean `heldout/psnr`?') == 1
    with pytest.raises(InputError, match='no variant has the metric `heldout/pnsr`. Did you mean `heldout/psnr`'):
        run_grid(read_grid(write_grid(("'heldout/psnr'", "'heldout/pnsr'"))), out + '2', dry_run=True)


def test_the_first_command_stays(grid, out, instant):
    instant()
    for command in ('first', 'second', 'second'):
        run_grid(grid, out, resume=command != 'first', about=dict(command=command))
    about = json.load(open(os.path.join(out, 'grid.json')))
    assert about['command'] == 'first' and about['commands'] == ['first', 'second']


def test_a_grid_may_grow(grid, out, instant, write_grid):
    instant()
    run_grid(grid, out)
    engine = instant()
    run_grid(read_grid(write_grid(('seeds = [0, 1]', 'seeds = [0, 1, 2]'))), out, resume=True)
    assert engine.started == ['1__wide__seed2', '1__narrow__seed2', '2__wide__seed2',
                              '2__narrow__seed2'] and len(table(out)) == 12


def test_only_and_dry_run(grid, out, instant):
    engine = instant()
    plan, rows = run_grid(grid, out, dry_run=True)
    assert rows is None and len(plan) == 8 and not os.path.exists(out)
    run_grid(grid, out, only='*narrow__seed0')
    assert engine.started == ['1__narrow__seed0', '2__narrow__seed0']
    assert table(out)['1__wide__seed0']['status'] == 'missing'
    with pytest.raises(InputError, match='matches no trial'):
        run_grid(grid, out, resume=True, only='nothing')


def test_budget(grid, out, instant, write_grid, capsys):
    engine = instant()
    few = read_grid(write_grid(('seeds =', 'budget = dict(trials=3)\nseeds =')))
    _, rows = run_grid(few, out)
    assert len(engine.started) == 3 and sum(r['status'] == 'missing' for r in rows) == 5
    assert '5 trials were not started' in capsys.readouterr().out


def test_a_trial_that_takes_too_long(out, instant, write_grid):
    instant(outcome={'1__wide__seed0': 'never'})
    _, rows = run_grid(read_grid(write_grid(('seeds =', 'budget = dict(trial_minutes=0.0005)\nseeds ='))), out,
                       only='*seed0')
    states = {r['trial']: r['status'] for r in rows}
    assert states['1__wide__seed0'] == 'timeout' and states['2__wide__seed0'] == 'done'


def test_an_interrupted_grid_goes_on(grid, out, instant, monkeypatch):
    engine = instant(workers=1)
    poll, calls = type(engine.start(os.devnull)).poll, []
    engine.started.clear()

    def interrupted(self):
        calls.append(self)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return poll(self)
    monkeypatch.setattr('tests.ablation.conftest.InstantTrial.poll', interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_grid(grid, out)
    assert sum(row['status'] == 'done' for row in table(out).values()) == 2
    monkeypatch.setattr('tests.ablation.conftest.InstantTrial.poll', poll)
    _, rows = run_grid(grid, out, resume=True)
    assert {r['status'] for r in rows} == {'done'}


def test_folders_that_are_not_this_grids(grid, out, instant, write_grid, tmp_path):
    instant()
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='is a file'):
        run_grid(grid, tmp_path / 'file')
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'thesis.tex').write_text('')
    with pytest.raises(InputError, match='no grid'):
        run_grid(grid, tmp_path / 'full', resume=True)
    run_grid(grid, out)
    with pytest.raises(InputError, match='8 finished trials. Continue it with --resume'):
        run_grid(grid, out)
    other = read_grid(write_grid(('depth=dict', 'levels=dict'), ("dict(depth=2, decoder", "dict(levels=2, decoder")))
    with pytest.raises(InputError, match='results of another grid: `small` with the axes depth, decoder'):
        run_grid(other, out, resume=True)


def test_a_variant_that_cannot_be_built(write_grid, out, instant):
    engine = instant()
    bad = read_grid(write_grid(("'model.tokenizer.decoder.width': 64", "'model.tokenizer.vocabularies.pixel.taps': 9")))
    with pytest.raises(InputError, match=r'beyond the last layer.*trial 1__wide__seed0'):
        run_grid(bad, out)
    assert engine.started == [] and not os.path.exists(out)
