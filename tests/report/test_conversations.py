"""The report of language models: sheets beside scores, floors and anchors beside scores."""
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dtbox.errors import InputError
from dtbox.evaluation import AnswerAccuracy, CaptionScore, DrawingScore, MetricInfo
from dtbox.report import build
from dtbox.report.anchor_tables import build_anchor_tables
from dtbox.report.trials import read

SCORES = dict(
    variants_talk={'caption_f1': 0.8, 'cider': 6.0, 'cider_ceiling': 9.5, 'answer/size': 0.9, 'majority/size': 0.5,
                   'asked/size': 8.0},
    variants_draw={f'drawing_t2i_r1/{label}': value for label, value in
                   {'s=2': 0.3, 'real': 0.77, 'reconstruction': 0.75, 'shuffled': 0.003}.items()})
ANCHORS = dict(set='variants', drawings={'nearest name': dict(t2i_r1=0.23, cosine=0.6)},
               captions=dict(pixel=dict(exact=0.0, f1=0.7, cider=2.0), semantic=dict(exact=0.1, f1=0.78, cider=3.0)))


def write_run(folder, **more):
    """Write the folder of a run with `SCORES`, sheets, and anchors.json."""
    folder.mkdir(parents=True)
    infos = [info.to_dict() for kind in (CaptionScore, AnswerAccuracy, DrawingScore) for info in kind.info]
    (folder / 'metrics.json').write_text(json.dumps(dict(SCORES, skipped={}, counts={}, iteration=2, infos=infos)))
    (folder / 'config.py').write_text('seed = 0\n')
    for i, name in enumerate(('drawings', 'replies')):
        Image.fromarray(np.full((20, 30, 3), 40 + i, np.uint8)).save(folder / f'{name}.png')
    (folder / 'anchors.json').write_text(json.dumps(dict(ANCHORS, **more)))
    return folder


def rows_of(table):
    """Return score -> heading -> text of a Table."""
    return {row[0].text.replace('\u00a0', ' '): {c.title: cell.text for c, cell in zip(table.columns[1:], row[1:])}
            for row in table.rows}


def test_scores_beside_floors_and_anchors(tmp_path):
    """Each score of the model is a row; majority, other prompts, reconstructions and real images are columns."""
    (understanding, drawing), troubles = build_anchor_tables(read([str(write_run(tmp_path / 'run'))]))
    assert troubles == []
    assert rows_of(understanding) == {
        'caption, word F1 (variants_talk) ↑': {'the model': '0.800', 'nearest in training': '0.780',
                                               'most frequent answer': '', 'right captions': ''},
        'CIDEr-D of 10 (variants_talk) ↑': {'the model': '6.00', 'nearest in training': '3.00',
                                            'most frequent answer': '', 'right captions': '9.50'},
        'right answers, size (variants_talk) [%] ↑': {'the model': '90.0', 'nearest in training': '',
                                                      'most frequent answer': '50.0', 'right captions': ''}}
    assert rows_of(drawing) == {'prompt to drawing R@1, s=2 (variants_draw) [%] ↑': {
        'the model': '30.0', 'nearest in training': '23.0', 'images of other prompts': '0.3', 'reconstructions': '75.0',
        'real images': '77.0'}}


def test_anchors_of_another_set_and_broken_ones(tmp_path):
    """anchors.json of another held-out set is not shown; one that is cut short is told."""
    tables, troubles = build_anchor_tables(read([str(write_run(tmp_path / 'other', set='concepts'))]))
    assert troubles == [] and all('nearest' not in c.title for table in tables for c in table.columns)
    (write_run(tmp_path / 'cut') / 'anchors.json').write_text('{"set": "variants"')
    _, (trouble,) = build_anchor_tables(read([str(tmp_path / 'cut')]))
    assert 'anchors.json cannot be read' in trouble and 'tools/mllm_anchors.py' in trouble


def test_anchors_are_no_scores_of_the_model(tmp_path):
    """Neither ranked nor among the headlines."""
    experiment = read([str(write_run(tmp_path / 'run'))])
    real, own = (experiment.describe(f'variants_draw/drawing_t2i_r1/{label}') for label in ('real', 's=2'))
    assert (real.lower, real.headline, real.label) == (None, 0, 'prompt to drawing R@1, real images')
    assert own.lower is False and own.headline == 12


class Page(HTMLParser):
    """Collects headings and the number of images below each."""

    def __init__(self, text):
        super().__init__()
        self.sections, self.inside = {}, False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.inside = tag == 'h2'
        if tag == 'img':
            self.sections[list(self.sections)[-1]] += 1

    def handle_data(self, data):
        if self.inside:
            self.sections[data] = 0
            self.inside = False


def test_page_shows_drawings_and_replies(tmp_path):
    """The sheets of each run stand in the page and, pixel by pixel, in figures/; a broken one is told."""
    folders = [write_run(tmp_path / name) for name in ('a b', 'a-b')]
    (folders[1] / 'replies.png').write_bytes(b'no image')
    page = Path(build([str(f) for f in folders], tmp_path / 'out'))
    sections = Page(page.read_text()).sections
    assert sections['Prompts and drawings'] == 2 and sections['Images and replies'] == 1
    assert 'Floors and anchors' in sections and 'replies.png cannot be shown' in page.read_text()
    figures = page.parent / 'figures'
    names = sorted(p.name for p in figures.glob('drawings*'))
    assert names == ['drawings_a-b-1.png', 'drawings_a-b-2.png']
    assert (figures / names[0]).read_bytes() == (folders[0] / 'drawings.png').read_bytes()


def test_what_a_score_is_compared_with_is_checked():
    with pytest.raises(InputError, match='`beside` of the metric info `a/{x}`.*expected pairs'):
        MetricInfo('a/{x}', 'a', beside=[('floor', 'b/{y}')])
    info = MetricInfo('a/{x}', 'a', beside=[['floor', 'b/{x}']])
    assert MetricInfo.from_dict(json.loads(json.dumps(info.to_dict()))) == info == MetricInfo.from_dict(info.to_dict())
    assert info.prefixed('p').beside == (('floor', 'p/b/{x}'),)
