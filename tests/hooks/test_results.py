"""The Results hook: the scores of single pictures fit those of the whole."""
import json

import pytest

from dtbox.evaluation import read_samples
from dtbox.evaluation.results import RESERVED


def test_samples_go_with_the_metrics(tiny_run):
    metrics, samples = json.loads((tiny_run / 'metrics.json').read_text()), read_samples(tiny_run / 'samples.npz')
    assert len(samples['keys']) == metrics['counts']['all'] == 8 and len(set(samples['keys'])) == 8
    assert set(samples['sets']) == set(metrics) - set(RESERVED)
    for name in ('psnr', 'ssim', 'token_cosine', 'token_mse', 'pooled_cosine'):
        assert samples[name].mean() == pytest.approx(metrics['all'][name], abs=1e-9)
