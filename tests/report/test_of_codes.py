"""Nats of codes compare within one tokenizer alone; drawings compare as fractions of reconstructions."""
import json

import pytest

from dtbox.errors import InputError
from dtbox.evaluation import CodeLikelihood, DrawingScore
from dtbox.evaluation.results import Results
from dtbox.report.assembly import build

INFOS = (*CodeLikelihood.info, *DrawingScore.info)


@pytest.fixture
def runs(tmp_path):
    """Two runs of language models with two seeds each; a function of the tokenizer of the second."""
    def write(tokenizer):
        folders = []
        for name, own, drawn in (('a', 'aaaa', 0.2), ('b', tokenizer, 0.3)):
            for seed in (0, 1):
                folder = tmp_path / f'{name}-seed{seed}'
                folder.mkdir()
                scores = {'nats/pixel': 2.0 + drawn + seed, 'drawing_cosine/s=1': drawn + 0.1 * seed,
                          'drawing_cosine/reconstruction': 0.8 if name == 'a' else 0.5,
                          'drawing_cosine/shuffled': 0.1}
                Results(dict(all=scores, val=scores), dict(all=8, val=8), infos=INFOS, protocols=dict(
                    recipe=dict(hash='s', data='d', tokenizer=own))).write(folder / 'metrics.json')
                folders.append(str(folder))
        return folders
    return write


def table(out, name):
    return (out / 'tables' / f'{name}.md').read_text()


def test_two_tokenizers(runs, tmp_path):
    """Asked for, nats are refused; in the table of all scores they are marked, and none is the best."""
    folders = runs('bbbb')
    with pytest.raises(InputError, match=r'`val/nats/pixel` of a-seed0 and of b-seed0 are nats of the codes '
                                         r'of different tokenizers \(aaaa and bbbb\)'):
        build(folders, tmp_path / 'out', metrics=['val/nats/pixel'])
    build(folders, tmp_path / 'out')
    text = table(tmp_path / 'out', 'scores_val')
    assert 'codes of different tokenizers, in one column' in text and 's-d-aaaa' in text
    assert '**2.' not in text and '**0.35' in text  # the better drawing


def test_one_tokenizer(runs, tmp_path):
    build(runs('aaaa'), tmp_path / 'out', metrics=['val/nats/pixel'])
    text = table(tmp_path / 'out', 'scores')
    assert 'different tokenizers' not in text and '**2.700' in text


def test_fractions_of_reconstructions(runs, tmp_path):
    """0.25 of 0.8 and 0.35 of 0.5, means of two seeds; anchors and nats are in no fraction."""
    build(runs('bbbb'), tmp_path / 'out')
    text = table(tmp_path / 'out', 'relative')
    assert '0.312' in text and '**0.700' in text and 'nats' not in text and 'shuffled' not in text


def test_stamps_of_results():
    """The tokenizer stands in the stamp of nats alone; results without one have none."""
    whole = Results(dict(val={'nats/pixel': 1.0}), infos=INFOS, protocols=dict(
        recipe=dict(hash='s', data='d', tokenizer='t')))
    assert (whole.stamp('nats/pixel'), whole.stamp('drawing_cosine/s=1'), whole.stamp()) == ('s-d-t', 's-d', 's-d')
    assert whole.row() == {'protocol': 's-d', 'tokenizer_hash': 't', 'val/nats/pixel': 1.0}
    again = Results.from_dict(json.loads(json.dumps(whole.to_dict())))
    assert again.stamp('nats/pixel') == 's-d-t'
