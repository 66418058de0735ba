"""Texts of a batch guide a decoder in training and in evaluation."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import dtbox
from dtbox.apis.reconstruction import reconstruct_files
from dtbox.drawing.sheets import to_uint8
from dtbox.errors import InputError
from dtbox.evaluation.functional import psnr
from dtbox.evaluation.functional.image_quality import to_unit
from dtbox.registry import MODELS
from dtbox.structures import Batch
from dtbox.training import tokenizer_evaluation

TEXT = dict(type='MeanPoolText', embed_dim=4, width=8, depth=1, heads=2, tokenizer=dict(
    type='FileTokenizer', file='dtbox://siglip-tiny-twemoji/tokenizer.json', context_length=6))
TOKENIZER = dict(
    image_size=16, text=TEXT,
    encoders=dict(trunk=dict(type='LatentViT', latents=3, patch_size=8, width=16, depth=1, heads=2)),
    vocabularies=dict(pixel=dict(taps='norm', quantizer=dict(type='VQ', size=8, dim=4))),
    decoder=dict(type='MaskTokenDecoder', patch_size=8, width=16, depth=1, heads=2, guidance=dict(length=6, width=8)))


def test_texts_of_a_batch():
    """Also where images have several captions: the one in `texts` guides."""
    torch.manual_seed(0)
    task = MODELS.build(dict(type='TokenizerTask', tokenizer=TOKENIZER,
                             losses=dict(pixels=dict(type='L2Loss', weight=1.0)))).eval()
    texts = ['a cat', 'a red heart']
    batch = Batch(images=torch.rand(2, 3, 16, 16), texts=texts)
    with torch.no_grad():
        want = task.tokenizer(batch.images, task.tokenizer.text.ids(texts)).reconstructions
        assert torch.equal(task.run_losses_inputs(batch).reconstructions, want)
        several = Batch(images=batch.images, texts=texts, captions=[[text, 'something else'] for text in texts])
        for one in (batch, several):
            assert torch.equal(tokenizer_evaluation.predict(task, one).reconstructions, want)
    out = task.train().run_losses_inputs(batch)
    out.reconstructions.sum().backward()
    assert task.tokenizer.text.words.weight.grad.abs().sum() > 0  # it learns along, where it is not frozen


def build(default=None, text=TEXT):
    torch.manual_seed(0)
    guidance = dict(length=6, width=8, **({} if default is None else dict(default=default)))
    tokenizer = dict(TOKENIZER, text=text, decoder=dict(TOKENIZER['decoder'], guidance=guidance))
    return MODELS.build(dict(type='TokenizerTask', tokenizer=tokenizer,
                             losses=dict(pixels=dict(type='L2Loss', weight=1.0)))).eval()


@torch.no_grad()
def test_images_without_a_text():
    """The decoder's default stands for a text that is missing, in training, evaluation and figures; without one such
    samples are left out of training, and are an error elsewhere."""
    images, texts = torch.rand(2, 3, 16, 16), ['a cat', ' ']
    task, batch = build('a dog'), Batch(images=images, texts=texts, keys=['x.png', 'y.png'])
    want = task.tokenizer(images, task.tokenizer.text.ids(['a cat', 'a dog'])).reconstructions
    assert not task.needs_texts
    for got in (task.run_losses_inputs(batch).reconstructions, task.reconstruct(batch),
                tokenizer_evaluation.predict(task, batch).reconstructions):
        assert torch.equal(got, want)
    every = task.tokenizer(images, task.tokenizer.text.ids(['a dog', 'a dog'])).reconstructions
    assert torch.equal(task.reconstruct(Batch(images=images)), every)
    task = build()
    assert task.needs_texts
    for call in (task.run_losses_inputs, task.reconstruct, lambda b: tokenizer_evaluation.predict(task, b)):
        with pytest.raises(InputError, match='and the image y.png has none. Give it one, leave it out'):
            call(batch)
    with pytest.raises(InputError, match='texts guide the decoder, but the data has no texts. Add captions'):
        task.run_losses_inputs(Batch(images=images))


def test_a_decoder_without_a_text_tower():
    with pytest.raises(InputError, match='no text tower that reads those of the data. Add `text`'):
        build(text=None)


@torch.no_grad()
def test_verbs_hand_texts_in(tmp_path):
    """`dtbox reconstruct --text` and `dtbox decode`, which takes the first text of each row."""
    pa = pytest.importorskip('pyarrow')
    from dtbox.tokens.decoding import _decode_rows
    tok = dtbox.Tokenizer(build().tokenizer, [dict(type='ResizeCrop', size=16), dict(type='PackImage')])
    Image.new('RGB', (16, 16), 'red').save(tmp_path / 'red.png')
    without, = reconstruct_files(tok, [tmp_path / 'red.png'], tmp_path)
    assert 'guided by texts, and none came' in str(without.error)
    made, = reconstruct_files(tok, [tmp_path / 'red.png'], tmp_path, text='a cat')
    images = tok.prepare(tmp_path / 'red.png')
    want = psnr(to_unit(images), to_unit(tok.reconstruct(images, texts='a cat')))
    assert made.psnr == pytest.approx(float(want))
    codes = tok.encode(images.expand(2, -1, -1, -1))
    columns = dict(key=['a', 'lost', 'b'], view=[0, 0, 0], texts=[['a cat', 'other'], [], ['a red heart']])
    shard = SimpleNamespace(
        ok=np.array([True, False, True]), column=lambda name: pa.array(columns[name]),
        codes=lambda name: codes[name].numpy(), meta=SimpleNamespace(streams=[SimpleNamespace(name='pixel')]))
    paths = list(_decode_rows(tok, shard, np.arange(2), str(tmp_path / 'out')))
    want = to_uint8(tok.decode(codes, texts=['a cat', 'a red heart']))
    assert np.array_equal(np.stack([np.asarray(Image.open(path)) for path in paths]), want)
