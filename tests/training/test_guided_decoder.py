"""Texts of a batch guide a decoder in training and in evaluation."""
import torch

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
