import json
import math
import os
import stat

import pytest
import torch

from dtbox.errors import InputError
from dtbox.evaluation import CodeUsage, EvalContext, Results, SetEvaluator, format_table, to_json
from dtbox.structures import take

MERGING = ('PSNR', 'SSIM', 'L1', 'FrechetDistance', 'TokenCosine', 'CodeUsage')
ALL = (*MERGING, 'Retrieval', 'ZeroShot')
METRICS = [dict(type=name) for name in ALL]


@pytest.fixture
def evaluator(context):
    """Return evaluator(*pairs) -> a SetEvaluator of every metric that has seen them."""
    def build(*pairs):
        found = SetEvaluator(METRICS)
        found.setup(context)
        for pair in pairs:
            found.update(*pair)
        return found
    return build


def split(pair, index):
    size = len(pair[0])
    return take(pair[0], torch.tensor(index), size), take(pair[1], torch.tensor(index), size)


SETS = ['concepts'] * 4 + ['variants', 'concepts'] + ['variants'] * 5


def test_columns_are_what_each_set_gives_alone(make, build, evaluator):
    pair = make(11, sets=SETS)
    results = evaluator(split(pair, range(5)), split(pair, range(5, 11))).results()
    assert results.counts == dict(concepts=5, variants=6, all=11) and results.skipped == {}
    for name in ('concepts', 'variants'):
        alone = split(pair, [i for i in range(11) if SETS[i] == name])
        for kind in ALL:
            metric = build(kind)
            metric.process(*alone)
            expected = metric.compute()
            assert {k: results.sets[name][k] for k in expected} == pytest.approx(expected, rel=1e-6, abs=1e-9)
    for kind in MERGING:
        metric = build(kind)
        metric.process(*pair)
        expected = metric.compute()
        assert {k: results.sets['all'][k] for k in expected} == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert not [k for k in results.sets['all'] if k.startswith(('t2i', 'i2t', 'zeroshot', 'kept'))]


@pytest.mark.parametrize('first', [range(0), range(4), [0, 4, 9], range(11)])
def test_two_ranks_equal_one(first, make, evaluator, thread_ranks):
    pair = make(11, sets=SETS)
    whole = evaluator(pair).results()

    def work(rank):
        mine = [i for i in range(11) if (i in first) == (rank == 0)]
        return evaluator(*[split(pair, mine[i:i + 3]) for i in range(0, len(mine), 3)]).results()

    for found in thread_ranks.run(work):
        assert (
            found.flat() == pytest.approx(whole.flat(), rel=1e-6, abs=1e-9)
            and found.skipped == whole.skipped
            and found.counts == whole.counts
        )


def test_a_pass_starts_with_setup(make, context, evaluator):
    found = evaluator(make(3, sets=['a'] * 3))
    assert found.results() is found.results()
    with pytest.raises(RuntimeError, match='setup'):
        found.update(*make(3))
    found.setup(context)
    found.update(*make(4))
    assert found.results().counts == dict(heldout=4, all=4)
    assert len(found.find(CodeUsage).histograms()['pixel']) == 2 and found.find('PSNR', 'heldout').state
    assert found.find('Retrieval') is None
    assert {'reconstructions', 'teacher.pooled', 'pooled', 'text_pooled', 'batch.texts', 'features.semantic',
            'codes'} <= found.reads


def test_no_samples_at_all():
    results = SetEvaluator(METRICS).results()
    assert (results.sets, results.skipped, results.counts) == (dict(all={}), {},
                                                               dict(all=0)) and isinstance(format_table(results), str)


def test_reasons_name_the_set_where_they_differ(make):
    found = SetEvaluator(METRICS)
    found.setup(EvalContext())
    found.update(*make(3, sets=['a'] * 3))
    found.update(*make(2, 1, sets=['b'] * 2, texts=False))
    skipped = found.results().skipped
    assert skipped['Retrieval'] == 'b: the data has no texts'
    assert skipped['FrechetDistance'] == 'no teacher to embed the images'
    assert skipped['CodeUsage'] == 'the sizes of the codebooks are not known'
    assert set(skipped) == {'Retrieval', 'FrechetDistance', 'CodeUsage', 'ZeroShot'}


def test_bad_input(make, evaluator):
    with pytest.raises(InputError, match='prefix'):
        SetEvaluator([dict(type='PSNR'), dict(type='PSNR')])
    SetEvaluator([dict(type='PSNR'), dict(type='PSNR', prefix='again')])
    with pytest.raises(InputError, match='Did you mean'):
        SetEvaluator([dict(type='PNSR')])
    with pytest.raises(InputError, match='cannot be called'):
        evaluator(make(2, sets=['all', 'a']))
    with pytest.raises(InputError, match='a batch of 3 samples'):
        evaluator((make(3)[0], make(2)[1]))


def results():
    """Results as a run without infos left them."""
    both = {f'{name}/{side}': 0.8125 for name in ('t2i_r1', 'i2t_r10', 'zeroshot_top5')
            for side in ('teacher', 'tokens')}
    pixel = {'psnr': 24.1234, 'psnr/stderr': 0.1, 'ssim': 0.75, 'my/own': 12.5}
    names = ('pixel', 'pixel/depth0', 'pixel/depth1', 'fsq', 'fsq/depth0')
    usage = {f'{k}/{v}': 0.5 for k in ('usage', 'perplexity', 'dead') for v in names}
    sets = dict(concepts={**pixel, **both, 'kept': 0.975}, variants={**pixel, **both, 't2i_r1/tokens': math.nan},
                all={**pixel, **usage})
    return Results(sets, dict(concepts=3, variants=4, all=7), dict(Frechet='no teacher'))


def test_table():
    text = format_table(results())
    assert all(len(line) <= 100 for line in text.splitlines()) and '\n\n\n' not in text
    rows = {line[:26].strip(): line[26:].split() for line in text.splitlines()}
    assert rows['images'] == ['3', '4', '7']
    assert rows['PSNR [dB] ↑'] == ['24.12', '±', '0.10'] * 3 and rows['my/own'] == ['12.5'] * 3
    assert rows['text to image R@1 ↑'] == ['81.2%', '81.2%', '81.2%', 'nan%', '-', '-']
    assert rows['mean R@1 kept by tokens ↑'] == ['97.5%', '-', '-']
    assert rows['pixel'] == ['50.0%', '0.5', '0'] and rows['depth 1'] and text.count('depth 0') == 1
    assert 'Frechet: no teacher' in text
    shown = [name for name in rows if name in ('PSNR [dB] ↑', 'SSIM ↑', 'zero-shot top-5 ↑', 'my/own')]
    assert shown == ['PSNR [dB] ↑', 'SSIM ↑', 'my/own', 'zero-shot top-5 ↑']  # by group, then by order


def test_table_of_long_labels():
    """The column of labels is as wide as the longest one, and no wider than 98 characters a line allow."""
    row = format_table(Results(dict(val={'y' * 40: 2.5}))).splitlines()[1]
    assert row == 'y' * 40 + '2.5'.rjust(1 + 24)
    rows = format_table(Results(dict(val={'x' * 90: 2.5}))).splitlines()[1:3]
    assert rows == ['x' * 79, f'{"  " + "x" * 11:<80}' + '2.5'.rjust(18)]  # columns are narrower beside long labels


def test_table_of_many_sets_and_of_one():
    values = {f'set {i}': dict(psnr=20.0 + i) for i in range(5)}
    text = format_table(Results(dict(**values, all=dict(psnr=22.0))))  # counts may be absent
    assert all(len(line) <= 100 for line in text.splitlines()) and text.count('PSNR') == 2
    assert 'all' not in format_table(Results(dict(heldout=dict(psnr=20.0), all=dict(psnr=20.0)), dict(heldout=2)))


def test_json(tmp_path):
    path = tmp_path / 'new' / 'metrics.json'
    to_json({**results().to_dict(), 'more': [torch.tensor(1.5), math.inf]}, path)
    read = json.loads(path.read_text())
    assert read['concepts']['kept'] == 0.975 and read['variants']['t2i_r1/tokens'] is None and read['more'] == [1.5,
                                                                                                                None]
    with pytest.raises(TypeError):
        to_json(dict(a=object()), path)
    assert json.loads(path.read_text()) == read and os.listdir(path.parent) == ['metrics.json']
    assert stat.S_IMODE(path.stat().st_mode) & stat.S_IRUSR
    with pytest.raises(InputError, match='folder'):
        to_json({}, tmp_path)
    with pytest.raises(InputError, match='cannot write'):
        to_json({}, path / 'below')
