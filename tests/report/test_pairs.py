"""Scores of single images of two runs are put together by set and key, never by place."""
import zipfile

import numpy as np
import pytest

from dtbox.evaluation import read_samples, write_samples
from dtbox.report.experiment import Experiment, Trial
from dtbox.report.pairs import Samples, choose_columns, compare
from dtbox.report.trials import read


def experiment(folder, **runs):
    """Runs name -> {seed: samples}; the first is the reference."""
    trials = []
    for name, seeds in runs.items():
        for seed, samples in seeds.items():
            run = folder / f'{name}{seed}'
            run.mkdir()
            if samples is not None:
                write_samples({k: np.array(v) for k, v in samples.items()}, run / 'samples.npz')
            trials.append(Trial(run.name, str(run), 'done', '', (name,), seed,
                                metrics={'all/psnr': 0.0, 'b/t2i_r1/tokens': 0.0}))
    return Experiment('', '', {'run': list(runs)}, trials, {}, [], (next(iter(runs)),))


def test_means_are_those_of_metrics_json(grid):
    found = read([grid])
    samples, trial = Samples(), next(t for t in found.trials if t.done)
    for metric in ('all/psnr', 'variants/psnr', 'all/token_cosine', 'concepts/t2i_r1/tokens',
                   'variants/i2t_r5/teacher'):
        keys, values = samples.of(trial, metric)
        assert values.mean() == pytest.approx(trial.metrics[metric], abs=1e-9) and len(set(keys)) == len(keys)
    for metric in ('all/frechet_teacher', 'all/keys', 'variants/kept', 'nowhere/psnr', 'all/usage/pixel'):
        assert samples.of(trial, metric) is None
    assert choose_columns(found, ['all/ssim', 'all/kept'])[:3] == ['all/psnr', 'all/token_cosine', 'all/pooled_cosine']
    assert {'concepts/t2i_r1/tokens', 'variants/i2t_r1/tokens',
            'all/ssim'} <= set(choose_columns(found, ['all/ssim', 'all/kept']))


def test_difference_of_the_means(grid):
    found, samples = read([grid]), Samples()
    for variant in found.variants[2:]:
        for metric, count in (('all/psnr', 80), ('variants/t2i_r1/tokens', 40)):
            ours, theirs = ({s: t.metrics[metric] for s, t in found.of(v).items()} for v in (variant, found.reference))
            d = compare(found, samples, variant, metric)
            assert d.value == pytest.approx(np.mean([ours[s] - theirs[s] for s in (0, 1)]), abs=1e-9)
            assert (d.seeds, d.images) == (2, count)


def test_order_and_missing_pictures_by_hand(tmp_path):
    reference = dict(keys=['x', 'y', 'z', 'x'], sets=['a', 'a', 'a', 'b'], psnr=[1.0, 2.0, 3.0, 4.0])
    other = dict(keys=['z', 'x', 'y', 'w'], sets=['a', 'b', 'a', 'a'], psnr=[13.0, 24.0, np.nan, 9.0])
    found = experiment(tmp_path, reference={0: reference}, other={0: other})
    # z of a: 10, x of b: 20; y is not measured, w and x of a not in both
    d = compare(found, Samples(), ('other',), 'all/psnr')
    assert (d.value, d.images, d.seeds) == (15.0, 2, 1)
    assert compare(found, Samples(), ('other',), 'b/psnr').value == 20.0


def test_samples_of_one_key_are_one_picture_and_places_are_hits(tmp_path):
    nothing = dict(keys=['x', 'x', 'y'], sets=['b'] * 3, psnr=[1.0, 3.0, 5.0])
    queries = {'t2i/keys': ['p', 'q', 'r'], 't2i/sets': ['b', 'b', 'c']}
    ours = {**nothing, **queries, 't2i/tokens': [0.0, 0.0, 0.0]}
    theirs = {**nothing, **queries, 'psnr': [2.0, 2.0, 6.0], 't2i/tokens': [0.0, 3.0, 3.0]}
    found = experiment(tmp_path, reference={0: theirs, 1: None}, other={0: ours, 1: ours})
    # x 0, y -1; seed 1 of the reference has no samples
    assert compare(found, Samples(), ('other',), 'all/psnr').value == -0.5
    assert compare(found, Samples(), ('other',), 'b/t2i_r1/tokens').value == 0.5
    assert compare(found, Samples(), ('other',), 'b/t2i_r4/tokens').value == 0.0


def test_nothing_in_common_and_broken_files(tmp_path):
    a, b = (dict(keys=[k], sets=['b'], psnr=[1.0]) for k in 'xy')
    found = experiment(tmp_path, reference={0: a}, other={0: b}, third={1: a}, fourth={0: None}, fifth={0: a},
                       sixth={0: a})
    samples = Samples()
    (tmp_path / 'fifth0' / 'samples.npz').write_bytes(b'nothing')
    broken = tmp_path / 'sixth0' / 'samples.npz'
    with zipfile.ZipFile(broken) as f:
        at = f.infolist()[0]
    data = bytearray(broken.read_bytes())
    start = data.index(b'.npy', at.header_offset) + 4
    data[start:start + 40] = b'\xff' * 40  # no deflate stream
    broken.write_bytes(data)
    for name in ('other', 'third', 'fourth', 'fifth', 'sixth'):
        assert compare(found, samples, (name,), 'all/psnr') is None
    assert len(samples.troubles) == 2 and 'fifth0' in samples.troubles[0] and 'sixth0' in samples.troubles[1]
    assert read_samples(tmp_path / 'other0' / 'samples.npz')['keys'].tolist() == ['y']
