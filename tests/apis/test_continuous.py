"""A trained tokenizer without codes: what a user calls works with its latents, or says in one sentence why not."""
import json

import pytest
import torch

import dtbox
from dtbox.ablation.facts import compute_tokenizer_facts
from dtbox.apis.export import list_parts
from dtbox.apis.latents import measure_latents
from dtbox.apis.model_card import list_facts
from dtbox.apis.reconstruction import reconstruct_files
from dtbox.config import load_config, resolve
from dtbox.diagnostics.code_atlas import make_atlas
from dtbox.errors import InputError
from dtbox.hooks.codebook_health import CodebookHealth
from dtbox.mllm.frozen_tokenizer import FrozenTokenizer
from dtbox.registry import TOKENIZERS
from dtbox.runs import RunFolder
from dtbox.sizing.describe import describe
from dtbox.sizing.fit import format_description
from dtbox.tokens.encoder import Encoder, Settings
from tests.tiny_run import train


@pytest.fixture(scope='module')
def config(tiny_config):
    """The tiny recipe with Gaussian latents, and with a quarter of its training."""
    text = tiny_config.read_text().replace("dict(type='RQ', size=64, dim=8, depth=2)",
                                           "dict(type='KL', dim=8, statistics='channel')")
    text = text.replace("commitment=dict(type='CommitmentLoss')", "quantizers=dict(type='QuantizerLoss', weight=1e-6)")
    path = tiny_config.parent / 'continuous.py'
    path.write_text(text.replace('max_iters=6', 'max_iters=2').replace('interval=6', 'interval=2'))
    return path


@pytest.fixture(scope='module')
def run(config):
    train(config, config.parent / 'continuous')
    return config.parent / 'continuous'


@pytest.fixture
def tok(run):
    return dtbox.load(run)


@pytest.fixture(scope='module')
def images():
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_training_evaluates(run):
    """Scores are there, but those of codes, with the reason."""
    with open(RunFolder(run).metrics, encoding='utf-8') as file:
        written = json.load(file)
    assert 'psnr' in written['heldout']
    assert not [name for name in written['heldout'] if name.startswith('usage')]
    assert 'every vocabulary is continuous' in str(written)


def test_latents_survive_saving(tok, images, tmp_path):
    """Statistics are measured by hand-computed formulas, saved, and do not change reconstructions."""
    raw = tok.encode(images)['pixel']
    before = tok.reconstruct(images)
    mean, variance = measure_latents(tok, [images[:2], images[2:]], 'pixel')['pixel']
    # the statistics of before, mean 0 and variance 1, divided by sqrt(1 + 1e-5)
    torch.testing.assert_close(mean, raw.flatten(0, 1).mean(0), atol=1e-5, rtol=2e-5)
    torch.testing.assert_close(variance, raw.flatten(0, 1).var(0, unbiased=False), atol=1e-6, rtol=5e-5)
    latents = tok.encode(images)
    torch.testing.assert_close(latents['pixel'].flatten(0, 1).std(0, unbiased=False), torch.ones(8), atol=1e-2, rtol=0)
    torch.testing.assert_close(tok.decode(latents), before, atol=1e-5, rtol=0)
    tok.save_pretrained(tmp_path / 'saved')
    assert torch.equal(dtbox.load(tmp_path / 'saved').encode(images)['pixel'], latents['pixel'])


@pytest.mark.parametrize('call, says', [
    (lambda tok: measure_latents(tok, []), 'batches: there are too few images'),
    (lambda tok: measure_latents(tok, [torch.zeros(1, 3, 32, 32)], 'colour'), 'no vocabulary `colour`')])
def test_latents_that_cannot_be_measured(tok, call, says):
    with pytest.raises(InputError, match=says):
        call(tok)


def build(**quantizer):
    tiny = dict(type='TimmViT', name='vit_base_patch16_siglip_224', image_size=32,
                model_args=dict(embed_dim=16, depth=1, num_heads=1, patch_size=8))
    cfg = dict(type='VisualTokenizer', image_size=32, encoders=dict(trunk=tiny), vocabularies=dict(
        latent=dict(taps=1, quantizer=dict(type='NoQuantizer', dim=16, **quantizer),
                    projection=dict(type='NoProjection'))))
    return dtbox.Tokenizer(TOKENIZERS.build(cfg).eval(), [])


def test_no_statistics_to_measure(images):
    with pytest.raises(InputError, match='no continuous vocabulary that keeps statistics'):
        measure_latents(build(), [images])
    with pytest.raises(InputError, match='the stream `latent` keeps no statistics'):
        measure_latents(build(), [images], 'latent')


def test_statistics_of_each_position(images):
    """Over images alone, whatever the batches; one image has no variance."""
    tok = build(statistics='position')
    raw = tok.encode(images)['latent'] * (1 + 1e-5) ** 0.5
    mean, variance = measure_latents(tok, [images[:1], images[1:]])['latent']
    torch.testing.assert_close(mean, raw.mean(0), atol=1e-5, rtol=2e-5)
    torch.testing.assert_close(variance, raw.var(0, unbiased=False), atol=1e-6, rtol=5e-5)
    with pytest.raises(InputError, match='too few images'):
        measure_latents(tok, [images[:1]])


def test_image_files(tok, tmp_path, tiny_config):
    """The line of a reconstruction names latents and no bits."""
    path = next((tiny_config.parent / 'photos' / 'val').iterdir())
    found, = reconstruct_files(tok, [str(path)], str(tmp_path))
    assert found.error is None and found.latents == {'pixel': (16, 8)}
    assert str(found).endswith('dB  pixel 16 tokens of 8 channels, continuous')


def test_graphs(tok, images):
    """What is exported takes and gives latents."""
    parts = list_parts(tok)
    assert parts['encode'].outputs == ['latents_pixel', 'latents_semantic']
    assert parts['decode'].inputs == ['latents_pixel']
    encoded, (example,) = parts['encode'](images), parts['decode'].example()
    assert (example.dtype, example.shape) == (torch.float32, (2, 16, 8))
    torch.testing.assert_close(encoded[0], tok.encode(images)['pixel'])
    torch.testing.assert_close(parts['decode'](encoded[0]), tok.reconstruct(images, False))


def test_sizes(tok, config):
    """Costs, facts of a table and the model card name latents in the place of codes and bits."""
    text = format_description(describe(resolve(load_config(config))))
    assert 'latents of pixel: 16 tokens of 8 channels, continuous: no codes, and so no number of bits' in text
    assert text.endswith('an image: 32 tokens')
    assert set(compute_tokenizer_facts(tok.model)) == {'parameters', 'tokens'}
    assert list_facts(tok)['Latents of an image'] == 'pixel, 16 tokens of 8 channels; semantic, 16 tokens of 8 channels'


class Task:
    """What a hook asks of a task."""

    def __init__(self, tok):
        self.quantizers = {name: stream.quantizer for name, stream in tok.model.streams.items()}


@pytest.mark.parametrize('call, says', [
    (lambda tok, run, out: make_atlas(str(run), str(out)), 'the stream `pixel` is continuous: it has no codes'),
    (lambda tok, run, out: CodebookHealth().check(Task(tok)), 'pixel, semantic are continuous: they have no codes'),
    (lambda tok, run, out: FrozenTokenizer(tok.model, (), None), 'has no codes in pixel, semantic'),
    (lambda tok, run, out: Encoder(Settings(run=str(run))), 'no vocabularies with codes'),
    (lambda tok, run, out: tok.model.budget(), 'no number of bits')])
def test_what_needs_codes_says_so(tok, run, tmp_path, call, says):
    with pytest.raises(InputError, match=says):
        call(tok, run, tmp_path)
