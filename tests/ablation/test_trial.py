"""What a trial's process leaves behind, run in this one."""
import os
import time

import pytest

from dtbox.ablation import GridFolder, read_grid
from dtbox.ablation import trial as trials
from dtbox.ablation.identity import code_hash, config_hash, plugin_hash
from dtbox.ablation.run import check_variant
from dtbox.ablation.trial import main, read_record, write_record


@pytest.fixture
def begin(write_grid, tmp_path, monkeypatch):
    """begin(**options) -> folder of a trial that is ready to run."""
    monkeypatch.setattr(trials, 'die_with_parent', lambda: None)
    monkeypatch.setattr(trials, 'BEGUN', time.time())

    def start(options=None, **hashes):
        trial = read_grid(write_grid(), options).trials[0]
        found = dict(config_hash=config_hash(trial.config), code_hash=code_hash(), plugin_hash=plugin_hash(trial.config),
                     data_hash=check_variant(trial))
        return GridFolder(tmp_path / 'out').begin(trial, {**found, **hashes}, 'new')
    return start


def test_done(begin):
    folder = begin({'train_cfg.max_iters': 2})
    assert read_record(folder)['status'] == 'started'
    assert main(folder) == 0
    record = read_record(folder)
    assert (record['status'], record['iterations'], record['tokens'], record['bits']) == ('done', 2, 32, 32 * 6)
    assert record['bits_per_pixel'] == 192 / 32 ** 2 and record['parameters'] > 10 ** 4 and record['peak_mb'] > 50 and 0 < record['seconds'] < 600
    assert len(record['identity']) == 16


def test_diverged(begin, capsys):
    folder = begin({'optim_wrapper.generator.optimizer.lr': 1e30})
    assert main(folder) == 1
    record = read_record(folder)
    assert record['status'] == 'diverged' and 'at iteration' in record['reason'] and 'diverged: at iteration' in capsys.readouterr().err


def test_failed_by_an_error_and_by_what_has_changed(begin, capsys, monkeypatch):
    folder = begin(code_hash='another')
    assert main(folder) == 1
    record = read_record(folder)
    assert record['status'] == 'failed' and record['stale'] and 'the code hash is' in record['reason']

    def broken(self):
        raise ZeroDivisionError('by nothing')
    monkeypatch.setattr('dtbox.training.runner.Runner.train', broken)
    folder = begin({'train_cfg.max_iters': 2})
    assert main(folder) == 1
    assert read_record(folder)['reason'] == 'ZeroDivisionError: by nothing' and 'Traceback' in capsys.readouterr().err


def test_a_trial_runs_once_at_a_time(begin):
    from dtbox.errors import InputError
    folder = begin()
    with trials.Locked(os.path.join(folder, '.lock'), 'it'), pytest.raises(InputError, match='working on this trial'):
        main(folder)


def test_records(tmp_path):
    assert read_record(tmp_path) == {}
    (tmp_path / 'trial.json').write_text('{"cut')
    assert read_record(tmp_path) == {}
    write_record(tmp_path, dict(status='done'))
    assert read_record(tmp_path) == dict(status='done')


def test_seconds_count_up_to_the_checkpoint_that_a_killed_trial_goes_on_from(begin, write_grid):
    folder = begin()
    record = read_record(folder)
    write_record(folder, dict(record, begun=1000.0, seconds_before=5.0))
    trial, grid = read_grid(write_grid()).trials[0], GridFolder(os.path.dirname(os.path.dirname(folder)))
    grid.begin(trial, record['hashes'], 'continue')
    assert read_record(folder)['seconds_before'] == 0  # no checkpoint: it starts anew
    write_record(folder, dict(record, begun=1000.0, seconds_before=5.0))
    open(os.path.join(folder, 'checkpoint.pth'), 'w').close()
    os.utime(os.path.join(folder, 'checkpoint.pth'), (1030, 1030))
    grid.begin(trial, record['hashes'], 'continue')
    assert read_record(folder)['seconds_before'] == 35.0 and read_record(folder)['attempts'] == 2
