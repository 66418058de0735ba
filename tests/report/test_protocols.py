"""Numbers of different protocols do not get into one column."""
import csv
import json
import os

import pytest

from dtbox.errors import InputError
from dtbox.evaluation.results import Results
from dtbox.report.metric_names import format_label
from dtbox.report.score_tables import build_score_table
from dtbox.report.trials import read
from tests.report.synthetic import edit_rows, write_grid


def run_folder(path, psnr, protocols=None, more=()):
    """A run folder with metrics.json and, for (name, content) of `more`, other results."""
    path.mkdir()
    (path / 'config.py').write_text('seed = 0\n')
    (path / 'metrics.json').write_text(json.dumps(dict(all=dict(psnr=psnr), counts=dict(all=3), skipped={}, iteration=5,
                                                       **(dict(protocols=protocols) if protocols else {}))))
    for name, content in more:
        (path / name).write_text(json.dumps(content))
    return str(path)


def stamp(settings='s', data='d', name='recipe'):
    return {name: dict(hash=settings, data=data)}


def test_runs_of_one_protocol(tmp_path):
    found = read([run_folder(tmp_path / 'a', 20.0, stamp()), run_folder(tmp_path / 'b', 21.0, stamp())])
    assert [t.metrics['all/psnr'] for t in found.trials] == [20, 21] and found.trials[0].stamps == {'all/psnr': 's-d'}


@pytest.mark.parametrize('other, what', [
     (stamp('t'), 'other settings: s-d and t-d'), (stamp(data='e'), 'other data: s-d and s-e')])
def test_runs_of_different_protocols(tmp_path, other, what):
    folders = [run_folder(tmp_path / 'a', 20.0, stamp()), run_folder(tmp_path / 'b', 21.0, other)]
    with pytest.raises(InputError, match='`all/psnr` of a and of b come from different protocols '
                                         f'.{what}.*--mixed-protocols'):
        read(folders)
    mixed = read(folders, mixed=True)
    table = build_score_table(mixed, ['all/psnr'], 'scores', 'Scores')
    assert not any(cell.bold for row in table.rows for cell in row)
    says = f'none is marked as the best. Hashes of settings and data: PSNR [dB]: s-d (a), {what[-3:]} (b).'
    assert says in table.notes[-1]


def test_the_best_of_one_protocol_is_marked(tmp_path):
    alike = read([run_folder(tmp_path / 'a', 20.0, stamp()), run_folder(tmp_path / 'b', 21.0, stamp())])
    table = build_score_table(alike, ['all/psnr'], 'scores', 'Scores')
    assert [row[-1].bold for row in table.rows] == [False, True] and 'protocols' not in ' '.join(table.notes)


def test_numbers_that_tell_nothing_go_with_any(tmp_path):
    assert len(read([run_folder(tmp_path / 'a', 20.0), run_folder(tmp_path / 'b', 21.0, stamp())]).trials) == 2


def test_results_of_protocols_are_read_beside_metrics(tmp_path):
    first = dict(val={'psnr@reconstruction': 30.0}, counts=dict(val=9), protocols=stamp('p', 'x', 'reconstruction'))
    later = dict(val={'psnr@reconstruction': 31.0, 'zeroshot_top1@zeroshot/tokens': 0.5}, counts=dict(val=9),
                 protocols={**stamp('p', 'y', 'reconstruction'), **stamp('z', 'y', 'zeroshot')})
    a = run_folder(tmp_path / 'a', 20.0, stamp(), [('protocols.json', first)])
    b = run_folder(tmp_path / 'b', 20.0, stamp(), [('protocols.json', first), ('protocols.1.json', later)])
    with pytest.raises(InputError, match='val/psnr@reconstruction. of a and of b come from different protocols .other '
                                         'data'):
        read([a, b])
    found = read([a, b], metrics=['all/psnr'])
    assert found.trials[1].metrics['val/psnr@reconstruction'] == 31
    assert found.trials[0].metrics['val/psnr@reconstruction'] == 30
    assert format_label(found.describe('val/psnr@reconstruction')) == 'PSNR [dB] (reconstruction) (val)'
    described = found.describe('val/zeroshot_top1@zeroshot/tokens')
    assert format_label(described) == 'zero-shot top-1, tokens (zeroshot) (val) [%]'


def test_grids(tmp_path):
    write_grid(tmp_path / 'grid', dict(kind=['a', 'b']), [0, 1], metrics=['all/psnr'], reference=dict(kind='a'))
    assert len(read([str(tmp_path / 'grid')]).trials) == 4

    def change(rows):
        for row in rows:
            row['protocol'] = 's-d' if row['seed'] == '0' else 's-e'
    with open(tmp_path / 'grid' / 'results.csv', newline='') as f:
        reader = csv.DictReader(f)
        rows, columns = list(reader), reader.fieldnames
    change(rows)
    with open(tmp_path / 'grid' / 'results.csv', 'w', newline='') as f:
        writer = csv.DictWriter(f, [*columns, 'protocol'], lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(InputError, match='come from different protocols .other data: s-d and s-e'):
        read([str(tmp_path / 'grid')])
    edit_rows(tmp_path / 'grid', lambda rows: [row.update(protocol='s-d') for row in rows])
    assert read([str(tmp_path / 'grid')]).trials[0].stamps['all/psnr'] == 's-d'


def test_the_row_of_a_trial_bears_the_stamp(tmp_path):
    folder = run_folder(tmp_path / 'a', 20.0, stamp())
    assert Results.read(os.path.join(folder, 'metrics.json')).row() == {'protocol': 's-d', 'all/psnr': 20.0}
