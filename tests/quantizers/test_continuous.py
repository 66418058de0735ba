"""Quantizers without codes: features that pass, Gaussian latents, noise, statistics."""
import math

import pytest
import torch

from dtbox.errors import InputError
from dtbox.layout import Grid
from dtbox.quantizers.kl import KL
from dtbox.quantizers.no_quantizer import NoQuantizer
from dtbox.registry import QUANTIZERS
from dtbox.testing import run_checks


def test_features_pass():
    z = torch.randn(2, 5, 3)
    out = NoQuantizer(3)(z)
    assert out.codes is None and out.losses == {}
    assert torch.equal(out.features, z)
    assert torch.equal(NoQuantizer(3).encode(z), z)


def test_kl_by_hand():
    """Two tokens of two channels: 0.5 (mean^2 + var - 1 - log var), summed over tokens and channels, a mean of images.
    """
    z = torch.tensor([[[1.0, 0.0, 0.0, math.log(4)], [0.0, 2.0, 0.0, 0.0]], [[0.0] * 4] * 2])
    token = [0.5 * 1 + 0.5 * (4 - 1 - math.log(4)), 0.5 * 4]
    quantizer = KL(2).eval()
    assert quantizer(z).losses['kl'].item() == pytest.approx(sum(token) / 2)
    assert torch.equal(quantizer(z).features, z[..., :2])
    assert torch.equal(quantizer.encode(z), z[..., :2])


def test_kl_samples_in_training():
    """Samples have the mean and the variance that came in; the log variance is clamped."""
    z = torch.tensor([3.0, math.log(0.25)]).expand(1, 40000, 2)
    torch.manual_seed(0)
    features = KL(1)(z).features
    assert features.mean().item() == pytest.approx(3, abs=0.02)
    assert features.std().item() == pytest.approx(0.5, abs=0.02)
    low = KL(1, clamp=(-30, -20))(z).features
    assert (low - 3).abs().max() < 1e-3
    assert not torch.equal(KL(1).eval().train(True).encode(z)[0, 0], KL(1)(z).features[0, 0])


def test_noise_in_training_alone():
    """noise * U of the image * N: within an image one level, over images the variance noise^2 / 3."""
    z = torch.zeros(4000, 20, 3)
    torch.manual_seed(0)
    quantizer = NoQuantizer(3, noise=0.8)
    levels = quantizer(z).features.flatten(1).std(1)
    assert levels.max() < 0.8 * 1.35
    assert levels.mean().item() == pytest.approx(0.4, abs=0.02)
    assert levels.square().mean().item() == pytest.approx(0.64 / 3, abs=0.02)
    assert torch.equal(quantizer.eval()(z).features, z)


@pytest.mark.parametrize('kind, shape', [('channel', (3,)), ('position', (4, 3))])
def test_statistics(kind, shape):
    """Latents are (features - mean) / sqrt(variance + 1e-5); decode undoes it, forward does not see it."""
    quantizer = NoQuantizer(3, statistics=kind).eval()
    quantizer.set_layout(Grid(2, 2))
    mean, var = torch.randn(shape), torch.rand(shape) + 0.1
    quantizer.set_statistics(mean, var)
    z = torch.randn(2, 4, 3)
    latents = quantizer.encode(z)
    torch.testing.assert_close(latents, (z - mean) / (var + 1e-5).sqrt())
    torch.testing.assert_close(quantizer.decode(latents), z)
    assert torch.equal(quantizer(z).features, z)
    twin = NoQuantizer(3, statistics=kind)
    twin.set_layout(Grid(2, 2))
    twin.load_state_dict(quantizer.state_dict())
    assert torch.equal(twin.encode(z), latents)


def test_statistics_of_other_tokens():
    quantizer = NoQuantizer(3, statistics='position')
    quantizer.set_layout(Grid(2, 2))
    with pytest.raises(InputError, match='statistics of 4 tokens, the features have 9'):
        quantizer.encode(torch.zeros(1, 9, 3))


@pytest.mark.parametrize('build, says', [
    (lambda: NoQuantizer(3, noise=-1), 'expected a number of at least 0'),
    (lambda: NoQuantizer(3, statistics='token'), "expected 'channel', 'position' or None"),
    (lambda: NoQuantizer(0), 'positive integer'),
    (lambda: KL(2, clamp=(3, 1)), 'lowest, highest'),
    (lambda: NoQuantizer(3).set_statistics(torch.zeros(3), torch.ones(3)), 'keeps no statistics'),
    (lambda: NoQuantizer(3, statistics='channel').set_statistics(torch.zeros(4), torch.ones(3)), r'expected \[3\]'),
    (lambda: NoQuantizer(3, statistics='channel').set_statistics(torch.zeros(3), -torch.ones(3)), 'negative'),
    (lambda: NoQuantizer(3).decode(torch.zeros(1, 4, 3).long()), 'has no codes; expected latents'),
    (lambda: KL(3)(torch.zeros(1, 4, 3)), r'expected \[B, N, 6\]')])
def test_what_is_refused(build, says):
    with pytest.raises(InputError, match=says):
        build()


class HalfBound(NoQuantizer):
    """Breaks the contract: latents depend on the batch, and codes are decoded."""
    example = dict(dim=4)

    def encode(self, z):
        return z - z.mean()

    def check_codes(self, codes):
        pass


def test_the_contract_finds_what_is_wrong():
    """The suite has a continuous side: these checks fail for a quantizer that breaks it."""
    wrong = {'codes_stand_alone', 'refuses_wrong_codes', 'decode_equals_forward'}
    QUANTIZERS.register_module(module=HalfBound)
    try:
        found = run_checks(dict(type='HalfBound', dim=4), only=sorted(wrong | {'shapes'}))
    finally:
        del QUANTIZERS.module_dict['HalfBound']
    assert {r.name for r in found if r.status == 'fails'} == wrong
