"""One table in four languages; what is bold, what is missing."""
import csv
import io

import pytest

from dtbox.evaluation import Infos
from dtbox.report import score_tables as scores
from dtbox.report.experiment import Experiment, Trial
from dtbox.report.pairs import Samples
from dtbox.report.score_tables import (
    build_fact_table,
    build_paired_table,
    build_score_table,
    build_trial_table,
    compute_means,
)
from dtbox.report.statistics import Difference
from dtbox.report.tables import Cell, Column, Table
from dtbox.report.trials import read

TABLE = Table('a_table', 'A & title', [Column('run', words=True), Column('PSNR [dB]', ('psnr', 'psnr ±', 'psnr n'))], [
    [Cell('a_b|<i>'), Cell('22.80 ± 0.10', True, raw=(22.8, 0.1, 3))], [Cell('50% #1'),
                                                                        Cell('−1.0', better=False,
                                                                             raw=(-1.0, None, 1))],
    [Cell('c'), Cell('–')]], ['A note.'])


def test_html():
    text = TABLE.html()
    assert '<th scope="row"><div>a_b|&lt;i&gt;</div></th><td><b>22.80 ± 0.10</b></td>' in text
    assert '<div class="scroll"' in text
    assert '−1.0 <span class="down">▼</span>' in text
    assert '<p class="note">A note.</p>' in text
    assert text.count('<tr>') == 4


def test_markdown():
    assert TABLE.markdown().splitlines() == ['**A & title**', '', '| run | PSNR \\[dB\\] |', '|---|---:|',
                                             '| a\\_b\\|\\<i\\> | **22.80 ± 0.10** |', '| 50% #1 | −1.0 ▼ |',
                                             '| c | – |', '', 'A note.']


def test_csv():
    rows = list(csv.reader(io.StringIO(TABLE.csv())))
    assert rows == [['run', 'psnr', 'psnr ±', 'psnr n'], ['a_b|<i>', '22.8', '0.1', '3'], ['50% #1', '-1.0', '',
                                                                                           '1'], ['c', '', '', '']]


def test_latex():
    lines = TABLE.latex().splitlines()
    assert lines[3] == r'\caption{A \& title. A note.}'
    assert r'\begin{tabular}{lr}' in lines
    assert r'run & PSNR [dB] \\' in lines
    assert r'a\_b\textbar{}\textless{}i\textgreater{} & \textbf{22.80 $\pm$ 0.10} \\' in lines
    assert r'50\% \#1 & $-$1.0 $\blacktriangledown$ \\' in lines
    assert [line for line in lines if 'rule' in line] == [r'\toprule', r'\midrule', r'\bottomrule']


def test_latex_that_could_be_taken_for_arguments():
    """After a line's end, a bracket or a star would be an argument of it."""
    table = Table('t', 'T', [Column('taps', words=True), Column('text to image R@1, tokens [%]\u00a0↑', ('x',)),
                             Column('')], [
        [Cell('[2, 1]'), Cell('1'), Cell('')], [Cell('*'), Cell('2'), Cell('')]])
    lines = table.latex().splitlines()
    assert r'taps & \shortstack[r]{text to image R@1, \\ tokens [%]~$\uparrow$} &  \\'.replace('[%]', r'[\%]') in lines
    assert r'{}[2, 1] & 1 &  \\' in lines and r'{}* & 2 &  \\' in lines
    assert r'{}[points]' in Table('t', 'T', [Column('of all the queries [points]')], []).latex()


def experiment(*trials, reference=None):
    made = [Trial(f'{name}{seed}', '/none', 'done' if metrics else 'failed', '', (name,), seed, metrics=metrics or {})
            for name, seed, metrics in trials]
    return Experiment('', '', {'run': []}, made, {}, [], reference)


def test_best_gaps_and_counts():
    found = experiment(
        ('a', 0, {'all/psnr': 20.0, 'all/l1': 0.1}),
        ('a', 1, {'all/psnr': 22.0}),
        ('b', 0, {'all/psnr': 20.5, 'all/l1': 0.2}),
        ('c', 0, None),
    )
    table = build_score_table(found, ['all/psnr', 'all/l1'], 'scores', 'Scores')
    texts = [[cell.text for cell in row] for row in table.rows]
    assert texts == [['a', '2', '21.00 ± 12.71', '0.1000 (n 1)'], ['b', '1', '20.50', '0.2000'], ['c', '0', '–', '–']]
    assert [[cell.bold for cell in row] for row in table.rows] == [[False, False, True, True], [False] * 4, [False] * 4]
    assert table.rows[0][2].raw == (21.0, pytest.approx(12.7062, abs=1e-3), 2) and any('(n 2)' in note
                                                                                       for note in table.notes)
    assert [c.title for c in table.columns[2:]] == ['PSNR [dB]\u00a0↑', 'L1 in [-1, 1]\u00a0↓']
    same = build_score_table(experiment(('a', 0, {'all/psnr': 1.0}), ('b', 0, {'all/psnr': 1.0})), ['all/psnr'], 'x',
                             'X')
    assert not any(cell.bold for row in same.rows for cell in row) and same.notes[0].startswith('One seed each')


def test_codebooks_of_other_sizes_are_not_ranked():
    scores = {'all/usage/x': 0.5, 'all/perplexity/x': 100.0, 'all/dead/x': 10.0}
    table = build_score_table(experiment(('a', 0, scores), ('b', 0, {k: 2 * v for k, v in scores.items()})),
                              list(scores), 'x', 'X')
    assert [c.title for c in table.columns[2:]] == ['codes in use, x [%]\u00a0↑', 'perplexity, x', 'dead codes, x']
    assert [[cell.bold for cell in row[2:]] for row in table.rows] == [
        [False] * 3,
        [True, False, False],
    ] and 'none is the best' in table.notes[-1]


def test_many_variants_are_numbered():
    found = experiment(*((f'v{i}', 0, {'all/psnr': float(i)}) for i in range(15)))
    table = build_score_table(found, ['all/psnr'], 'scores', 'Scores')
    assert table.rows[14][0].text == '15. v14'
    assert table.csv().splitlines()[15].startswith('v14,')
    assert table.rows[14][2].bold


def test_tables_of_a_grid(grid):
    found = read([grid])
    facts = build_fact_table(found)
    assert [c.title for c in facts.columns][:3] == ['lr, codebooks', 'iterations',
                                                    'time [s]'] and facts.rows[0][2].text == '200'
    assert [row[2].text for row in build_trial_table(found).rows].count('diverged') == 1
    table = build_paired_table(found, Samples(), ['all/psnr', 'variants/t2i_r1/tokens', 'all/kept'])
    assert [row[0].text for row in table.rows] == ['0.001, two & <more>', '0.01, one', '0.01, two & <more>']
    assert [c.title for c in table.columns] == ['lr, codebooks', 'seeds', 'PSNR [dB]\u00a0↑',
                                                'text to image R@1, tokens '
                                                                                       '(variants) [points]\u00a0↑']
    assert [row[1].text for row in table.rows] == ['1', '2', '2'] and any('one seed' in note for note in table.notes)
    value, low, high, seeds, images, narrow = table.rows[2][2].raw
    assert 0.5 < value < 1.3 and low < value < high and (seeds, images) == (2, 80) and 0 < narrow < high - value
    assert table.rows[2][2].text.startswith('+')
    assert compute_means(found, 'all/psnr')[('0.01', 'one')].count == 2


@pytest.mark.parametrize('metric, value, better', [
     ('all/psnr', 1.0, True), ('all/l1', 1.0, False), ('all/ssim', -1.0, False), ('all/l1', 0.05, None),
     ('all/mine', 1.0, None), ('a/flicker', 1.0, False)])
def test_better_is_less_for_errors(metric, value, better):
    described = Infos().describe(metric)
    # one seed says nothing of others
    assert scores._difference(Difference(value, 0.1, 1, 9), described, 1).better is None
    assert scores._difference(Difference(value, 0.1, 2, 9), described, 3).text.endswith('(n 2)')
    assert scores._difference(Difference(value, 0.1, 2, 9), described, 2).better is better
