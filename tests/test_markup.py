"""Names of others are no formulas in CSV and no markup in Markdown."""
import csv
import io
from types import SimpleNamespace

import pytest
import torch

from dtbox.ablation.table import format_csv
from dtbox.apis.building import TooLarge, limit_tensors
from dtbox.evaluation import MetricInfo
from dtbox.evaluation.info import Infos
from dtbox.markup import escape_csv, escape_markdown, unescape_csv
from dtbox.protocols.resolution import format_resolution_table
from dtbox.report.tables import Cell, Column, Table
from dtbox.report.trials import read_grid


@pytest.mark.parametrize('text', ['=1+1', '+cmd|x', '-2+3', '@SUM(A1)', '\t=1', '\r=1', ' =1', "'=1", '＝1', '-',
                                  '=-1.5'])
def test_formulas_become_texts(text):
    cell = escape_csv(text)
    assert cell == f"'{text}" and unescape_csv(cell) == text


@pytest.mark.parametrize('value', ['-1.5', '+3', '-1e-05', '-inf', 'a=b', "it's", "'a'", '', 'x', -1.5, None, 7,
                                   'soft_split'])
def test_numbers_and_plain_texts_stay(value):
    assert escape_csv(value) == value and unescape_csv(value) == value


@pytest.mark.parametrize('text, shown', [
    ('a|b', r'a\|b'), ('`x`', r'\`x\`'), ('[a](http://b)', r'[a\](http\://b)'), ('<img src=x>', r'\<img src=x>'),
    ('</td>', r'\</td>'), ('<!-- x', r'\<!-- x'), ('**a**', r'\*\*a\*\*'), ('_a_', r'\_a\_'), ('~~a~~', r'\~~a\~~'),
    ('a\n\nb', 'a b'), ('&lt;b&gt;', r'\&lt;b\&gt;'), ('<https://a.b>', r'\<https\://a.b>'), ('# a', r'\# a'),
    ('a\\|b', r'a\\\|b'), ('![x][y]', r'![x\][y]'), ('www.a.b', r'www\.a.b')])
def test_markup_shows_as_it_is(text, shown):
    assert escape_markdown(text) == shown


@pytest.mark.parametrize('text', ['soft_split', 'PSNR [dB]', 'a < b', 'R@1', 'rq 4 x 8', '-1.5', '– 3', 'a & b', 'k=5'])
def test_plain_names_stay(text):
    assert escape_markdown(text) == text


def test_tables_hold_no_formulas_and_no_markup():
    table = Table('t', 'a | <b>', [Column('=name', words=True), Column('x', ('=x',))],
                  [[Cell('=HYPERLINK("http://a")|<i>'), Cell('-1.5', raw=(-1.5,))],
                   [Cell('@a'), Cell('', raw=('-2.5',))]],
                  ['see [x](y)'])
    rows = list(csv.reader(io.StringIO(table.csv())))
    assert rows == [["'=name", "'=x"], ['\'=HYPERLINK("http://a")|<i>', '-1.5'], ["'@a", '-2.5']]
    lines = table.markdown().splitlines()
    assert lines[0] == r'**a \| \<b\>**' and lines[4] == r'| =HYPERLINK("http\://a")\|\<i\> | -1.5 |'
    assert lines[-1] == r'see \[x\](y)'


def test_a_grid_reads_back_what_it_has_written(tmp_path):
    """Labels, columns and reasons that would be formulas are texts in results.csv, and themselves again in a report."""
    axes = {'=axis': {'-wide': None}}
    row = {'trial': '@t', 'folder': 'trials/t', 'status': 'failed', 'seed': 0, 'reason': '=1+1', '=axis': '-wide',
           'val/psnr': -1.5}
    text = format_csv(SimpleNamespace(axes=axes), [row])
    (tmp_path / 'results.csv').write_text(text)
    cells = [cell for line in csv.reader(io.StringIO(text)) for cell in line]
    assert not any(cell.startswith(('=', '+', '@')) or cell == '-wide' for cell in cells) and '-1.5' in cells
    experiment = read_grid(str(tmp_path))
    assert experiment.axes == {'=axis': ['-wide']}
    trial = experiment.trials[0]
    assert (trial.name, trial.reason, trial.variant) == ('@t', '=1+1', ('-wide',))


def test_tables_of_protocols_hold_no_markup():
    info = MetricInfo('odd/{way}/{size}', 'a|<b>', '', '.1f', group='codes')
    row = dict(size=64, way='squash', images=4, odd=1.0)
    assert format_resolution_table([row], Infos([info])).splitlines()[0] == r'| size | by | images | a\|\<b> |'


def test_building_stops_with_the_weights():
    """A model of many more tensors than the file has is not built to its end."""
    built = []
    with pytest.raises(TooLarge, match='it holds 1 tensor, and the config describes a model of more than 1,005 with'):
        with limit_tensors({'a': torch.ones(1)}, 'the file'):
            for _ in range(5000):
                built.append(torch.nn.Linear(1, 1, bias=False))
    assert len(built) == 1004
    torch.nn.Linear(1, 1)
