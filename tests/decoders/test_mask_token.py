"""TiTok's decoders: text guidance, the order of pixels in a patch, and what they refuse. Their values are compared with
the release's in tests/converters/test_titok.py."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.layout import Grid, Sequence
from dtbox.registry import DECODERS
from tests.encoders.test_latent_vit import make_tokenizer

TEXT = dict(type='OpenCLIPText', embed_dim=4, text_cfg=dict(context_length=6, vocab_size=30, width=8, heads=2,
                                                            layers=1))


def build(kind='MaskTokenDecoder', **changes):
    return DECODERS.build({**DECODERS.get(kind).example, 'type': kind, **changes})


def test_pixels_of_a_patch_by_hand():
    """16 x 8 pixels of patches of 4: channel (row * 4 + column) * 3 + colour of patch 5 (row 2, column 1)."""
    decoder = build(image_size=(16, 8)).eval()
    with torch.no_grad():
        decoder.to_pixels.weight.zero_(), decoder.to_pixels.bias.copy_(torch.arange(48.))
        decoder.conv_out.weight.zero_(), decoder.conv_out.bias.zero_()
        for colour in range(3):
            decoder.conv_out.weight[colour, colour, 1, 1] = 1
        images = (decoder(torch.zeros(1, 5, 8)) + 1) / 2
    assert images.shape == (1, 3, 16, 8)
    assert images[0, 2, 2 * 4 + 3, 4 + 1].item() == (3 * 4 + 1) * 3 + 2


def test_softmax_looks_codes_up():
    """Logits that are one code's alone decode that row of the table at every patch."""
    decoder = build('MaskTokenCodeDecoder').eval()
    with torch.no_grad():
        decoder.to_logits.weight.zero_(), decoder.to_logits.bias.fill_(-100), decoder.to_logits.bias[3].fill_(100)
        got = decoder(torch.randn(2, 5, 8))
        want = decoder.pixels(decoder.table[3].expand(2, 16, -1))
    assert torch.allclose(got, want, atol=1e-3)


@pytest.mark.parametrize('changes, says', [
    (dict(image_size=18), r'`image_size` \(18, 18\) is not a multiple of `patch_size` 4. What fits: \(16, 16\)'),
    (dict(heads=3), '`width` 32 does not divide into 3 heads'), (dict(layout=Grid(2, 2)), 'expected Sequence'),
    (dict(guidance=dict(length=3)), r'`guidance` is .*; expected dict\(length=..., width=...\)'),
    (dict(guidance=dict(length=3, width=4, default=1)), 'and `default`, a text')])
def test_arguments_that_do_not_fit(changes, says):
    with pytest.raises(InputError, match=says):
        build(**changes)


def test_more_latents_than_positions():
    """Features of 6 latent tokens for a decoder of 5."""
    with pytest.raises(InputError, match=r'\[2, 6, 8\]; this decoder expects \[B, 5, 8\] for the sequence of 5 tokens'):
        build()(torch.zeros(2, 6, 8))
    with pytest.raises(RuntimeError, match='latent_positions'):
        build().load_state_dict(build(layout=Sequence(6)).state_dict())


def guide(**guidance):
    decoder = dict(type='MaskTokenDecoder', patch_size=8, width=32, depth=1, heads=2,
                   guidance=dict(length=6, width=8, **guidance))
    return make_tokenizer(decoder=decoder, text=TEXT).eval()


@torch.no_grad()
def test_texts_reach_the_decoder():
    """Ids of texts, one for each image, through the tower; codes are the same whatever they say."""
    tokenizer, images = guide(), torch.rand(2, 3, 32, 32)
    ids = torch.randint(1, 30, (2, 6))
    out = tokenizer(images, ids)
    want = tokenizer.decoder(out.features['pixel'], tokenizer.text.tokens(ids))
    assert torch.equal(out.reconstructions, want) and out.text_pooled is None
    assert torch.equal(tokenizer.decode(out.codes, ids), want)
    other = tokenizer(images, ids.flip(0))
    assert torch.equal(other.codes['pixel'], out.codes['pixel'])
    assert not torch.allclose(other.reconstructions, want, atol=1e-4)
    with pytest.raises(InputError, match='guided by texts, and none came. Give one for each image'):
        tokenizer(images)
    with pytest.raises(InputError, match='1 text comes for 2 images'):
        tokenizer(images, ids[:1])
    assert tokenizer(images, reconstruct=False).reconstructions is None


def test_a_text_for_images_without():
    text = dict(type='MeanPoolText', embed_dim=4, width=8, depth=1, heads=2, tokenizer=dict(
        type='FileTokenizer', file='dtbox://siglip-tiny-twemoji/tokenizer.json', context_length=6))
    tokenizer = make_tokenizer(text=text, decoder=dict(
        type='MaskTokenDecoder', patch_size=8, width=32, depth=1, heads=2,
        guidance=dict(length=6, width=8, default='a cat'))).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(tokenizer(images).reconstructions,
                           tokenizer(images, tokenizer.text.ids(['a cat', 'a cat'])).reconstructions)


@pytest.mark.parametrize('changes, says', [
    (dict(text=dict(TEXT, text_cfg=dict(TEXT['text_cfg'], width=16))), 'guided by 6 tokens of width 8 a text, and '
                                                                      'OpenCLIPText gives 6 tokens of width 16'),
    (dict(default='a cat'), '`default` is a text, and there is no text tower')])
def test_towers_that_do_not_fit(changes, says):
    guidance = dict(length=6, width=8, **{k: v for k, v in changes.items() if k == 'default'})
    with pytest.raises(InputError, match=says):
        make_tokenizer(text=changes.get('text'), decoder=dict(
            type='MaskTokenDecoder', patch_size=8, width=32, depth=1, heads=2, guidance=guidance))
