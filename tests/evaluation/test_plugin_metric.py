"""A metric from a plugin shows right everywhere: in the table, in the report, in a grid's best so far."""
import csv
import json
from types import SimpleNamespace

import pytest

from dtbox.ablation.folder import GridFolder
from dtbox.ablation.grid import Trial
from dtbox.ablation.summary import describe_best
from dtbox.evaluation import Results, SetEvaluator, format_table
from dtbox.extend import load_plugins
from dtbox.registry import METRICS
from dtbox.report import build
from tests.plugins_kit import without_plugins, write

PLUGIN = '''"""Metrics from outside."""
from dtbox.evaluation import Metric, MetricInfo
from dtbox.registry import METRICS


@METRICS.register_module()
class Ratio(Metric):
    """Made-up numbers, each with what describes it."""
    info = [MetricInfo('my_distance_ratio', 'ratio of distances', unit='m', format='.1f', direction='higher',
                       group='reconstruction'),
            MetricInfo('my_score', 'score I count', format='.1%', direction='lower', group='semantics'),
            MetricInfo('my_quality', 'quality I note', format='.3f')]
    requires = ('reconstructions',)

    def __init__(self, value=1.0, prefix=''):
        self.value = value
        super().__init__(prefix)

    def update(self, batch, outputs):
        pass

    def values(self):
        return dict(my_distance_ratio=10 * self.value, my_score=self.value / 10, my_quality=self.value)
'''
VALUES = dict(near=1.0, far=2.0)


@pytest.fixture
def measured(make, context, tmp_path):
    """Return name -> Results of the plugin's metric, measured while the plugin was loaded, and forgotten since."""
    write(tmp_path / 'mine.py', PLUGIN)
    results = {}
    with without_plugins():
        load_plugins([str(tmp_path / 'mine.py')])
        for name, value in VALUES.items():
            evaluator = SetEvaluator(dict(mine=dict(type='Ratio', value=value), psnr=dict(type='PSNR')))
            evaluator.setup(context)
            evaluator.update(*make(3))
            results[name] = evaluator.results()
    assert 'Ratio' not in METRICS.module_dict
    return results


def test_its_numbers_bear_the_hash_of_the_plugin(tmp_path):
    """Another content of the plugin, the same name: the numbers do not belong in one column."""
    hashes = []
    for text in (PLUGIN, PLUGIN.replace('10', '11'), PLUGIN):
        write(tmp_path / 'mine.py', text)
        with without_plugins():
            load_plugins([str(tmp_path / 'mine.py')])
            hashes.append(SetEvaluator(dict(mine=dict(type='Ratio', value=1.0))).hash)
    assert hashes[0] == hashes[2] != hashes[1]


def test_in_the_text_table(measured):
    lines = {line[:26].strip(): line[26:].split() for line in format_table(measured['far']).splitlines()}
    assert lines['ratio of distances [m] ↑'] == ['20.0']
    assert lines['score I count ↓'] == ['20.0%']
    assert lines['quality I note'] == ['2.000']


def test_in_the_report(measured, tmp_path):
    """Of two runs whose folders are all that is left: label, unit, percent, arrow and the best in bold, in Markdown,
    HTML and CSV."""
    for name, results in measured.items():
        (tmp_path / name).mkdir()
        results.write(tmp_path / name / 'metrics.json')
    page = build([tmp_path / name for name in measured], out=tmp_path / 'report')
    text = (tmp_path / 'report' / 'tables' / 'scores_all.md').read_text()
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in text.splitlines() if line.startswith('|')]
    table = {title: [row[i] for row in rows[2:]] for i, title in enumerate(rows[0])}
    assert table['ratio of distances \\[m\\] ↑'] == ['10.0', '**20.0**']
    assert table['score I count \\[%\\] ↓'] == ['**10.0**', '20.0']
    assert table['quality I note'] == ['1.000', '2.000'] and 'none is the best' in text
    html = open(page, encoding='utf-8').read()
    assert 'ratio of distances [m]\u00a0↑' in html and '<b>20.0</b>' in html and 'score I count [%]\u00a0↓' in html
    with open(tmp_path / 'report' / 'tables' / 'scores_all.csv', newline='') as f:
        assert [float(row['all/my_distance_ratio']) for row in csv.DictReader(f)] == [10.0, 20.0]


@pytest.mark.parametrize('metric, best, title', [
    ('all/my_distance_ratio', 'far (all/my_distance_ratio 20)', 'ratio of distances \\[m\\] ↑'),
    ('all/my_score', 'near (all/my_score 0.1)', 'score I count \\[%\\] ↓'), ('all/my_quality', '', 'quality I note')])
def test_in_a_grid(measured, tmp_path, metric, best, title):
    """The best so far follows the direction, and the report of the grid needs neither plugin nor trials."""
    folder = GridFolder(tmp_path / 'grid')
    trials = [Trial(f'{name}__seed0', dict(kind=name), 0, {}, 'recipe.py', None) for name in measured]
    for trial, results in zip(trials, measured.values()):
        write(tmp_path / 'grid' / 'trials' / trial.name / 'trial.json', json.dumps(dict(
            status='done', hashes={f'{part}_hash': part for part in ('config', 'code', 'plugin', 'data')})))
        results.write(tmp_path / 'grid' / 'trials' / trial.name / 'metrics.json')
    grid = SimpleNamespace(name='g', trials=trials, axes=dict(kind=list(measured)), metrics=[metric], threads=1)
    write(tmp_path / 'grid' / 'grid.json', json.dumps(dict(format=1, name='g', axes=grid.axes, metrics=[metric])))
    rows = folder.write_table(grid)
    assert describe_best(grid, rows, folder.infos) == best
    for trial in trials:
        (tmp_path / 'grid' / 'trials' / trial.name / 'metrics.json').unlink()
    build(tmp_path / 'grid')
    text = (tmp_path / 'grid' / 'report' / 'tables' / 'scores.md').read_text()
    assert title in [cell.strip() for cell in text.split('|')]


def test_results_say_what_they_hold(measured, tmp_path):
    measured['near'].write(tmp_path / 'metrics.json')
    again = Results.read(tmp_path / 'metrics.json').described
    assert again.describe('heldout/my_score').label == 'score I count'
    assert again.describe('heldout/my_distance_ratio').lower is False
