"""Scores of single samples: their means are the scores, whatever the order, the batches and the ranks."""
from dataclasses import replace

import numpy as np
import pytest
import torch

from dtbox.errors import InputError
from dtbox.evaluation import SetEvaluator, read_samples, write_samples
from dtbox.evaluation.samples import LONGEST, SampleScores
from dtbox.structures import take

METRICS = [dict(type=t) for t in ('PSNR', 'SSIM', 'L1', 'FrechetDistance', 'TokenCosine', 'CodeUsage', 'Retrieval',
                                  'ZeroShot')]
SETS = ['concepts'] * 4 + ['variants', 'concepts'] + ['variants'] * 5
PICTURES = ('psnr', 'ssim', 'l1', 'token_cosine', 'token_mse', 'pooled_cosine')


def split(pair, index):
    return take(pair[0], torch.tensor(index), len(pair[0])), take(pair[1], torch.tensor(index), len(pair[0]))


def evaluated(context, *pairs):
    found = SetEvaluator(METRICS)
    found.setup(context)
    for pair in pairs:
        found.update(*pair)
    return found


def equal(found, want):
    assert found.keys() == want.keys()
    for name, values in want.items():
        assert (found[name] == values).all() if values.dtype.kind == 'U' else np.allclose(found[name], values,
                                                                                          atol=1e-9,
                                                                                          equal_nan=True), name


def test_kept_by_hand():
    first, second = SampleScores(), SampleScores()
    first.keep('a', torch.tensor([1.0, 2.0]))
    first.pass_over(2)
    first.pass_over(1)  # a picture that nothing could be measured of
    second.keep('b', torch.tensor([True]), torch.tensor([1]))
    second.pass_over(2)
    first.add(second)
    nan = np.nan
    assert first.seen == 5
    equal(first.arrays(), dict(a=np.array([1, 2, nan, nan, nan]), b=np.array([nan, nan, nan, nan, 1])))


def test_means_are_the_scores(make, context):
    evaluator = evaluated(context, make(11, sets=SETS))
    results, samples = evaluator.results(), evaluator.samples()
    assert samples['sets'].tolist() == ['concepts'] * 5 + ['variants'] * 6 and samples['keys'].tolist()[:2] == ['0-0',
                                                                                                                '0-1']
    for name in ('concepts', 'variants'):
        mine = samples['sets'] == name
        for score in PICTURES:
            assert samples[score][mine].mean() == pytest.approx(results.sets[name][score], abs=1e-12)
        for side in ('teacher', 'tokens'):
            assert (samples[f'zeroshot/{side}'][mine].mean()
                    == pytest.approx(results.sets[name][f'zeroshot_top1/{side}']))
            for way in ('t2i', 'i2t'):
                place = samples[f'{way}/{side}'][samples[f'{way}/sets'] == name]
                assert [(place < k).mean()
                        for k in (1, 5)] == pytest.approx([results.sets[name][f'{way}_r{k}/{side}'] for k in (1, 5)])
    for score in PICTURES:
        assert samples[score].mean() == pytest.approx(results.sets['all'][score], abs=1e-12)


@pytest.mark.parametrize('first', [range(0), [0, 4, 9], range(11)])
def test_ranks_and_order_do_not_matter(first, make, context, thread_ranks):
    pair = make(11, sets=SETS)
    whole = evaluated(context, pair).samples()

    def work(rank):
        mine = [i for i in reversed(range(11)) if (i in first) == (rank == 0)]
        evaluator = evaluated(context, *[split(pair, mine[i:i + 3]) for i in range(0, len(mine), 3)])
        evaluator.results()
        return evaluator.samples()

    for found in thread_ranks.run(work):
        equal(found, whole)


def test_what_is_not_measured_is_nan_or_absent(make, context):
    with_labels, without = make(3, sets=['a'] * 3), make(2, 1, sets=['b'] * 2)
    batch, outputs = without
    evaluator = evaluated(context, with_labels, (replace(batch, labels=None, texts=['', 'two']),
                                                 outputs.replace(reconstructions=None, pooled=None)))
    samples = evaluator.samples()
    assert np.isfinite(samples['psnr']).tolist() == [True] * 3 + [False] * 2
    assert np.isfinite(samples['zeroshot/teacher']).tolist() == [True] * 3 + [False] * 2
    assert samples['i2t/sets'].tolist() == ['a'] * 3 + ['b']
    assert np.isnan(samples['i2t/tokens'][3])
    assert samples['i2t/teacher'][3] == 0
    assert 'frechet_teacher' not in samples
    empty = SetEvaluator(METRICS).samples()
    assert empty['keys'].shape == (0,) and set(empty) == {'keys', 'sets'}


def test_queries_have_keys_of_their_own(make, context):
    batch, outputs = make(4, sets=['a'] * 4)
    long = 'a very long caption ' * 20
    samples = evaluated(context, (replace(batch, texts=['one', 'two', 'two', long], keys=['x', 'y', 'z', 'z']),
                                  outputs)).samples()
    assert samples['keys'].tolist() == ['x', 'y', 'z', 'z'] and samples['i2t/keys'].tolist() == ['x', 'y', 'z']
    shown = [k for k in samples['t2i/keys'] if k not in ('one', 'two')]
    assert len(samples['t2i/keys']) == 3 and len(shown[0]) == LONGEST and shown[0].startswith('a very long')
    assert (samples['t2i/sets'] == 'a').all() and len(samples['t2i/tokens']) == 3 and len(samples['i2t/teacher']) == 3


def test_prefix_and_samples_without_keys(make, context):
    batch, outputs = make(3)
    evaluator = SetEvaluator([dict(type='PSNR', prefix='mine'), dict(type='Retrieval', prefix='mine')])
    evaluator.setup(context)
    evaluator.update(replace(batch, keys=None), outputs)
    samples = evaluator.samples()
    assert samples['keys'].tolist() == ['sample 0', 'sample 1', 'sample 2'] and set(samples['sets']) == {'heldout'}
    assert {'mine/psnr', 'mine/t2i/keys', 'mine/t2i/tokens', 'mine/i2t/sets'} <= set(samples)


def test_file(make, context, tmp_path):
    samples = evaluated(context, make(5)).samples()
    path = tmp_path / 'new' / 'samples.npz'
    write_samples(samples, path)
    equal(read_samples(path), samples)
    assert [p.name for p in path.parent.iterdir()] == ['samples.npz']
    with pytest.raises(InputError, match='dtbox test RUN'):
        read_samples(tmp_path / 'nothing.npz')
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match='cannot be read'):
        read_samples(path)
    np.savez_compressed(path, keys=np.array(['a'] * 500))
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):  # whatever a bad byte makes numpy or zlib raise
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1:])
        try:
            read_samples(path)
        except InputError:
            pass
    np.savez(path, keys=np.array(['a']), sets=np.array(['s']), psnr=np.zeros(2))
    with pytest.raises(InputError, match='`psnr` of the shape'):
        read_samples(path)
