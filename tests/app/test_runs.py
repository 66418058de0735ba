"""Runs and grids as they lie on disk."""
import json
import os
import shutil

import pytest

from dtbox.ablation.trial import HASHES, write_record
from dtbox.app.functions import runs
from dtbox.errors import InputError


def test_a_finished_run(tiny_run, tmp_path):
    one = runs.read_run(str(tiny_run))
    assert one.row == ['run', 'finished', '6']
    assert runs.draw_history(str(tiny_run), str(tmp_path / 'curves.png'))
    assert (tmp_path / 'curves.png').stat().st_size > 1000
    scores = runs.list_scores(str(tiny_run))
    assert 'all/psnr' in [row[0] for row in scores] and all(len(row) == 3 for row in scores)


def test_a_run_that_trains(tmp_path):
    """Its log says how far it is; a row of its history that is cut short is left out."""
    folder = tmp_path / 'run'
    folder.mkdir()
    (folder / 'history.jsonl').write_text('{"iteration": 10, "total": 1.5}\n{"iteration": 20, "to')
    (folder / 'log.txt').write_text('...\n[20/600] left 0:01:30 total 1.2\n')
    assert runs.read_run(str(folder)).row == ['run', '[20/600] left 0:01:30 total 1.2', '10']
    assert runs.list_scores(str(folder)) == []
    (folder / 'history.jsonl').unlink()
    assert not runs.draw_history(str(folder), str(tmp_path / 'none.png')) and not (tmp_path / 'none.png').exists()


def test_a_grid(tmp_path):
    (tmp_path / 'grid.json').write_text(json.dumps(dict(format=1, name='decoupling')))
    for name, status in (('a', 'done'), ('b', 'failed'), ('c', 'running')):
        (tmp_path / 'trials' / name).mkdir(parents=True)
        write_record(str(tmp_path / 'trials' / name), dict(status=status, reason='', hashes=dict.fromkeys(HASHES, 'h')))
    assert runs.is_grid(str(tmp_path)) and not runs.is_grid(str(tmp_path / 'trials'))
    sentence, found = runs.read_grid(str(tmp_path))
    assert sentence == 'decoupling: 3 trials have begun, 1 done, 1 failed'
    assert [one.row for one in found] == [['a', 'done', ''], ['b', 'failed', ''], ['c', 'no log', '']]


@pytest.mark.parametrize('call', [runs.read_run, runs.read_grid, runs.list_scores])
def test_a_run_that_has_gone(tmp_path, call):
    folder = tmp_path / 'run'
    folder.mkdir()
    shutil.rmtree(folder)
    with pytest.raises(InputError, match='run is not there any more'):
        call(str(folder))


def test_report_pages(tmp_path):
    for place in ('report', 'diagnostics/semantics', 'diagnostics/atlas'):
        os.makedirs(tmp_path / 'run' / place)
    for place in ('report', 'diagnostics/semantics'):
        (tmp_path / 'run' / place / 'index.html').write_text('<p>')
    folder = str(tmp_path / 'run')
    assert runs.find_reports([folder]) == {'run: report': f'{folder}/report',
                                           'run: semantics': f'{folder}/diagnostics/semantics'}
