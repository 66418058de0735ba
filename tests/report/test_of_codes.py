"""Nats of codes compare within one tokenizer alone; drawings compare as fractions of reconstructions."""
import csv
import json

import numpy as np
import pytest

from dtbox.errors import InputError
from dtbox.evaluation import CodeLikelihood, DrawingScore, write_samples
from dtbox.evaluation.results import Results
from dtbox.report.assembly import build

INFOS = (*CodeLikelihood.info, *DrawingScore.info)


@pytest.fixture
def runs(tmp_path):
    """Two runs of language models with seeds each; a function of the tokenizers of each, a seed of its own for each."""
    def write(first, second):
        folders = []
        for name, owns, drawn in (('a', first, 0.2), ('b', second, 0.3)):
            for seed, own in enumerate(owns):
                folder = tmp_path / f'{name}-seed{seed}'
                folder.mkdir(exist_ok=True)
                scores = {'nats/pixel': 2.0 + drawn + seed, 'drawing_cosine/s=1': drawn + 0.1 * seed,
                          'drawing_cosine/reconstruction': 0.8 if name == 'a' else 0.5,
                          'drawing_cosine/shuffled': 0.1}
                Results(dict(all=scores, val=scores), dict(all=8, val=8), infos=INFOS, protocols=dict(
                    recipe=dict(hash='s', data='d', tokenizer=own))).write(folder / 'metrics.json')
                nats = np.array([1.9, 2.1]) + drawn + seed
                write_samples({'keys': np.array(['x', 'y']), 'sets': np.array(['val', 'val']), 'nats/pixel': nats,
                               'drawing_cosine/s=1': nats / 4}, folder / 'samples.npz')
                folders.append(str(folder))
        return folders
    return write


def table(out, name):
    return (out / 'tables' / f'{name}.md').read_text()


def test_two_tokenizers(runs, tmp_path):
    """Asked for, nats are refused; in the table of all scores they are marked, and none is the best."""
    folders = runs(['aaaa', 'aaaa'], ['bbbb', 'bbbb'])
    with pytest.raises(InputError, match=r'`val/nats/pixel` of a-seed0 and of b-seed0 are nats of the codes '
                                         r'of different tokenizers \(aaaa and bbbb\)'):
        build(folders, tmp_path / 'out', metrics=['val/nats/pixel'])
    build(folders, tmp_path / 'out')
    text = table(tmp_path / 'out', 'scores_val')
    assert 'codes of different tokenizers, in one column' in text and 's-d-aaaa' in text
    assert '**2.' not in text and '**0.35' in text  # the better drawing


def test_one_tokenizer(runs, tmp_path):
    build(runs(['aaaa', 'aaaa'], ['aaaa', 'aaaa']), tmp_path / 'out', metrics=['val/nats/pixel'])
    text = table(tmp_path / 'out', 'scores')
    assert 'different tokenizers' not in text and '**2.700' in text


def test_a_tokenizer_for_each_seed(runs, tmp_path):
    """Where both variants have the tokenizer of the seed, their nats compare, asked for or not, and are paired."""
    folders = runs(['aaaa', 'bbbb'], ['aaaa', 'bbbb'])
    build(folders, tmp_path / 'out', metrics=['val/nats/pixel'])
    text = table(tmp_path / 'out', 'scores')
    assert 'different tokenizers' not in text and '**2.700' in text
    assert '+0.100 ± 0.000 ▼' in table(tmp_path / 'out', 'paired')


def test_seeds_of_other_tokenizers(runs, tmp_path):
    """A seed that one variant lacks, or has for another tokenizer, mixes the means; pairs hold the seeds that agree,
    while scores of drawings pair all."""
    folders = runs(['aaaa', 'bbbb'], ['aaaa', 'cccc'])
    with pytest.raises(InputError, match='are nats of the codes of different tokenizers'):
        build(folders, tmp_path / 'out', metrics=['val/nats/pixel'])
    build(folders, tmp_path / 'out', metrics=['val/nats/pixel', 'val/drawing_cosine/s=1'], mixed=True)
    with open(tmp_path / 'out' / 'tables' / 'paired.csv', newline='') as f:
        row, = csv.DictReader(f)
    assert (row['val/nats/pixel seeds'], row['val/drawing_cosine/s=1 seeds']) == ('1', '2')
    build(runs(['aaaa', 'bbbb'], ['aaaa'])[:3], tmp_path / 'few')
    assert 'different tokenizers' in table(tmp_path / 'few', 'scores_val')


def test_fractions_of_reconstructions(runs, tmp_path):
    """0.25 of 0.8 and 0.35 of 0.5, means of two seeds; anchors and nats are in no fraction."""
    build(runs(['aaaa', 'aaaa'], ['bbbb', 'bbbb']), tmp_path / 'out')
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
