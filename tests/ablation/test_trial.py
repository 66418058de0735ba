"""What a trial's process leaves behind, run in this one."""
import errno
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from dtbox.ablation import GridFolder, read_grid
from dtbox.ablation import trial as trials
from dtbox.ablation.facts import compute_tokenizer_facts, measure_rates
from dtbox.ablation.identity import PARTS, hash_code, hash_config, hash_files, hash_plugins
from dtbox.ablation.plan import check_variant
from dtbox.ablation.trial import main, read_record, write_record
from dtbox.layout import Grid


@pytest.fixture
def begin(write_grid, tmp_path, monkeypatch):
    """begin(**options) -> folder of a trial that is ready to run."""
    monkeypatch.setattr(trials, 'end_with_parent', lambda parent: None)
    monkeypatch.setattr(trials, 'BEGUN', time.monotonic())

    def start(options=None, **hashes):
        trial = read_grid(write_grid(), options).trials[0]
        found = dict(config_hash=hash_config(trial.config), code_hash=hash_code(),
                     plugin_hash=hash_plugins(trial.config),
                     data_hash=hash_files(trial.config, check_variant(trial)[0]))
        folder = GridFolder(tmp_path / 'out')
        folder.begin(trial, {**found, **hashes}, 'new')
        return folder.trial(trial)
    return start


def test_done(begin):
    folder = begin({'train_cfg.max_iters': 2})
    assert read_record(folder)['status'] == 'started'
    assert main(folder) == 0
    record = read_record(folder)
    assert (record['status'], record['iterations'], record['tokens'], record['bits']) == ('done', 2, 16, 16 * 6)
    assert record['bits_per_pixel'] == 96 / 32 ** 2
    assert record['parameters'] > 10 ** 4
    assert record['peak_mb'] > 50
    assert record['encode_rate'] > 0 and record['decode_rate'] > 0
    assert 0 < record['seconds'] < 600
    assert len(record['identity']) == 16


def test_diverged(begin, capsys):
    folder = begin({'optim_wrapper.generator.optimizer.lr': 1e30})
    assert main(folder) == 1
    record = read_record(folder)
    assert record['status'] == 'diverged'
    assert 'at iteration' in record['reason']
    assert 'diverged: at iteration' in capsys.readouterr().err


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


def test_a_full_disk(begin, monkeypatch, capsys):
    """Nothing is noted, so that the trial resumes from its last checkpoint; its exit code tells the grid."""
    folder = begin({'train_cfg.max_iters': 2})

    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')
    with monkeypatch.context() as disk:
        disk.setattr('dtbox.training.runner.Runner.train', full)
        assert main(folder) == trials.NO_ROOM and 'No space left' in capsys.readouterr().err
    monkeypatch.setattr(trials, 'write_record', full)
    monkeypatch.setattr(trials, 'run', lambda folder, record: {})
    assert main(folder) == trials.NO_ROOM and read_record(folder)['status'] == 'started'


def test_an_orphan_ends_at_once(tmp_path):
    """A grid that is killed right after it has started a process is gone before that can ask to die with it."""
    gone = subprocess.run([sys.executable, '-c', 'import os; print(os.getpid())'], capture_output=True,
                          text=True).stdout.strip()
    done = subprocess.run([sys.executable, '-m', 'dtbox.ablation.trial', str(tmp_path), gone], capture_output=True,
                          text=True)
    assert done.returncode == 137 and os.listdir(tmp_path) == [] and done.stderr == ''


def test_a_trial_runs_once_at_a_time(begin):
    from dtbox.errors import InputError
    folder = begin()
    with trials.Locked(os.path.join(folder, '.lock'), 'it'), pytest.raises(InputError, match='working on this trial'):
        main(folder)


def test_a_shared_quantizer_counts_once():
    shared, own = SimpleNamespace(codebook_sizes=[64, 64]), SimpleNamespace(codebook_sizes=[16])
    vocabularies = dict(a=SimpleNamespace(layout=Grid(4, 2), quantizer=shared),
                        b=SimpleNamespace(layout=Grid(4, 2), quantizer=shared),
                        c=SimpleNamespace(layout=Grid(2, 2), quantizer=own))
    tokenizer = SimpleNamespace(vocabularies=vocabularies, image_size=(16, 8),
                                parameters=lambda: [torch.zeros(3, 5), torch.zeros(2)])
    assert compute_tokenizer_facts(tokenizer) == dict(parameters=17, tokens=16 + 4, bits=16 * 6.0 + 4 * 4.0,
                                                      bits_per_pixel=112 / 128)


def test_rates_by_hand():
    """An encoder that computes for 20 ms of CPU time a batch, a decoder for 10; the mode stays as it was."""
    def compute(seconds):
        begun = time.process_time()
        while time.process_time() - begun < seconds:
            assert not tokenizer.training
        return {}
    tokenizer = torch.nn.Linear(1, 1)
    tokenizer.image_size, tokenizer.decoder = (8, 8), True
    tokenizer.reads, tokenizer.guided = ['pixel'], False
    tokenizer.check_streams = lambda names: ['pixel']
    tokenizer.encode, tokenizer.decode = lambda images, names: compute(0.02), lambda codes, texts: compute(0.01)
    rates = measure_rates(tokenizer, images=4, calls=3)
    assert 4 / 0.04 < rates['encode_rate'] <= 4 / 0.02 and 4 / 0.02 < rates['decode_rate'] <= 4 / 0.01
    assert tokenizer.training
    tokenizer.decoder = None
    assert set(measure_rates(tokenizer, images=4, calls=1)) == {'encode_rate'}


def test_memory_is_the_process_own():
    """Linux counts what the parent held at the start of a process into ru_maxrss."""
    code = ('import sys; from types import SimpleNamespace as N; sys.modules["torch"] = N(cuda=N(is_available=lambda: '
            'False)); from dtbox.ablation.facts import measure_peak_megabytes; print(measure_peak_megabytes())')
    grown = f'import subprocess, sys; held = bytearray(3 * 10 ** 8); subprocess.run([sys.executable, "-c", {code!r}])'
    done = subprocess.run([sys.executable, '-c', grown], capture_output=True, text=True)
    assert 5 < float(done.stdout) < 200, done.stderr


def test_records(tmp_path):
    assert read_record(tmp_path) == {}
    (tmp_path / 'trial.json').write_text('{"cut')
    assert read_record(tmp_path) == {}
    (tmp_path / 'trial.json').write_text('{"status": "failed"}')  # nothing tells what it was
    assert read_record(tmp_path) == {}
    for odd in ([1], dict(status='done', hashes={}), dict(status='done', hashes=7), 'x'):
        write_record(tmp_path, odd)
        assert read_record(tmp_path) == {}
    whole = dict(status='done', hashes=dict.fromkeys(PARTS, 'x'))
    write_record(tmp_path, whole)
    assert read_record(tmp_path) == whole


def test_seconds_of_a_killed_trial(begin, write_grid):
    """Seconds count up to the checkpoint from which a killed trial resumes."""
    folder = begin()
    record = read_record(folder)
    write_record(folder, dict(record, begun=1000.0, seconds_before=5.0))
    trial, grid = read_grid(write_grid()).trials[0], GridFolder(os.path.dirname(os.path.dirname(folder)))
    grid.begin(trial, record['hashes'], 'continue')
    assert read_record(folder)['seconds_before'] == 0  # no checkpoint: it starts anew
    write_record(folder, dict(record, begun=1000.0, seconds_before=5.0))
    open(os.path.join(folder, 'checkpoint.pth'), 'w').close()
    os.utime(os.path.join(folder, 'checkpoint.pth'), (1030, 1030))
    with open(os.path.join(folder, 'config.py'), 'a') as config:
        config.write('exec(1)')  # a trial trusts its config: the grid writes it anew
    grid.begin(trial, record['hashes'], 'continue')
    with open(os.path.join(folder, 'config.py')) as config:
        assert 'exec' not in config.read()
    assert read_record(folder)['seconds_before'] == 35.0 and read_record(folder)['attempts'] == 2
