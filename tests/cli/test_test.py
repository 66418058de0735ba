"""dtbox test: the numbers that training wrote, and files that nothing overwrites."""
import json
import shutil

import pytest

from dtbox.apis.evaluation import choose_results_path, choose_samples_path, evaluate_run
from dtbox.cli.test import VERB
from dtbox.errors import InputError
from dtbox.evaluation import read_samples
from tests.tiny_run import write_config


def test_equals_what_training_wrote(tiny_run, tmp_path, capsys):
    shutil.copytree(tiny_run, tmp_path / 'run')
    VERB.main([str(tmp_path / 'run')])
    shown = capsys.readouterr().out
    written, trained = (json.loads((tmp_path / 'run' / name).read_text())
                        for name in ('metrics.1.json', 'metrics.json'))
    about = written.pop('evaluation')
    again, before = (read_samples(tmp_path / 'run' / name) for name in ('samples.1.npz', 'samples.npz'))
    assert again.keys() == before.keys() and all((again[k] == before[k]).all()
                                                 for k in ('keys', 'sets', 'psnr', 'token_cosine'))
    assert written == trained and written['counts']['all'] == 8 and written['iteration'] == 6
    assert about['command'] == f'dtbox test {tmp_path}/run' and about['checkpoint'] == f'{tmp_path}/run/checkpoint.pth'
    for piece in (about['command'], about['checkpoint'], about['time'], 'iteration 6', 'PSNR [dB]', 'perplexity',
                  'metrics.1.json'):
        assert piece in shown


def test_config_and_checkpoint(tiny_run, tiny_config, tmp_path, capsys):
    out = tmp_path / 'new' / 'scores.json'
    VERB.main([str(tiny_config), str(tiny_run / 'checkpoint.pth'), '--out', str(out), '--cfg-options',
               'val_evaluator=dict(_delete_=True, psnr=dict(type="PSNR"))'])
    assert list(json.loads(out.read_text())['heldout']) == ['psnr', 'psnr/stderr']
    assert not (tiny_run / 'metrics.1.json').exists() and [p.name for p in out.parent.iterdir()] == ['scores.json']


def test_a_run_without_held_out_data(tiny_run):
    with pytest.raises(InputError, match='the config has no `val_dataloader`'):
        evaluate_run(tiny_run, options={'val_dataloader': None})


def test_another_teacher(tiny_run, tiny_config):
    other = write_config(tiny_config.parent, weights_seed=1)
    with pytest.raises(InputError, match=r'model.teacher: .* was trained with the teacher \w{16}, but the config\'s '
                                         r'teacher is'):
        evaluate_run(other, tiny_run)


def test_where_results_go(tmp_path):
    checkpoint = str(tmp_path / 'checkpoint.pth')
    for name in ('metrics.json', 'metrics.1.json', 'metrics.2.json'):
        path = choose_results_path(checkpoint)
        assert path == str(tmp_path / name)
        open(path, 'w').close()
    assert choose_results_path(checkpoint, path) == path  # who names a file gets it
    assert choose_samples_path('a/metrics.json') == 'a/samples.npz'
    assert choose_samples_path('metrics.2.json') == 'samples.2.npz'
    assert choose_samples_path('a/scores.json') is None and choose_samples_path('a/metrics_b.json') is None
    with pytest.raises(InputError, match='it is a folder'):
        choose_results_path(checkpoint, str(tmp_path))
