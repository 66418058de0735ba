"""A whole run of two vocabularies with one index: trained, evaluated, opened, reconstructed; the index is counted once
everywhere."""
import json

import pytest
import torch

import dtbox
from dtbox.apis.reconstruction import reconstruct_files
from dtbox.config import load_config
from dtbox.training.runner import Runner

OPTIONS = {
    'model.tokenizer.quantizers': dict(joint=dict(type='JointVQ', size=64, members=dict(semantic=16, pixel=8))),
    'model.tokenizer.vocabularies.pixel.quantizer': 'joint', 'model.tokenizer.vocabularies.semantic.quantizer': 'joint',
    'hooks': dict(log=None, codebook_health=dict(type='CodebookHealth', interval=2), checkpoint=dict(interval=4),
                  images=dict(interval=0, count=2, per_set=2)),
    'train_cfg.max_iters': 4}


@pytest.fixture(scope='module')
def run(tiny_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp('joint') / 'run'
    torch.manual_seed(0)
    Runner.from_config(load_config(tiny_config, OPTIONS), work_dir=str(folder)).train()
    return folder


def test_what_the_run_says(run):
    scores = json.loads((run / 'metrics.json').read_text())['all']
    assert {'usage/joint', 'perplexity/joint'} <= scores.keys()
    assert not {'usage/pixel', 'usage/semantic'} & scores.keys()
    rows = [json.loads(line) for line in (run / 'codebooks.jsonl').read_text().splitlines()]
    assert len(rows) == 2
    assert {'usage_joint', 'restarts_joint', 'spread_joint'} <= rows[0].keys()
    assert 'usage_pixel' not in rows[0]
    assert (run / 'codebooks.png').is_file() and (run / 'reconstructions.png').is_file()


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_opened(run, dtype):
    tok = dtbox.load(run, dtype=dtype)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    codes = tok.encode(images)
    assert list(codes) == ['joint'] and codes['joint'].shape == (2, 16, 1) and tok.flat_size == 64
    made = tok.decode(tok.from_flat_ids(tok.flat_ids(codes)))
    assert torch.equal(made, tok.reconstruct(images)) and {f.dtype for f in tok.features(codes).values()} == {tok.dtype}
    book = tok.model.quantizers['joint'].codebook
    assert book.weight.dtype == torch.float32 and int(book.updates) == 4 and tok.embed_image(images).shape == (2, 32)


def test_bits_of_a_picture(run, tiny_config, tmp_path):
    photo = next((tiny_config.parent / 'photos' / 'val').glob('*.png'))
    for names in (None, ['semantic']):
        result, = reconstruct_files(dtbox.load(run), [photo], tmp_path, names)
        assert result.codes == dict(joint=(16, 1)) and result.bits == 16 * 6
