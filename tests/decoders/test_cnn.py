"""The CNN decoder against the golden data, and what it refuses."""
from pathlib import Path

import pytest
import torch

from dtbox.decoders.cnn import CNNDecoder
from dtbox.errors import InputError
from dtbox.layout import Grid, Sequence
from dtbox.registry import DECODERS

DATA = Path(__file__).parents[1] / 'data'
TINY = dict(in_dim=32, layout=Grid(4, 4), image_size=16, channels=32, multipliers=(1, 1, 2), blocks=1,
            latent_channels=32,
            attention_resolutions=(4,))


@pytest.fixture(scope='module')
def golden():
    return torch.load(DATA / 'golden_A.pt', weights_only=True)


@pytest.fixture(scope='module')
def decoder(golden):
    decoder = CNNDecoder(in_dim=64, layout=Grid(5, 5), image_size=32, channels=32, multipliers=(1, 1, 1, 2), blocks=2,
                         latent_channels=32,
                         attention_resolutions=(4,), latent_size=(4, 4))
    state = {k: v.float() for k, v in golden['state_dict'].items() if k.startswith(('post_quant_conv.', 'decoder.'))}
    decoder.load_state_dict(state, strict=True)
    return decoder.eval()


def test_every_stage_matches_the_golden_data(decoder, golden):
    seen = {}
    inner = dict(post_quant_conv=decoder.post_quant_conv, decoder_conv_in=decoder.decoder.conv_in,
                 decoder_mid=decoder.decoder.mid,
                 decoder_norm_out=decoder.decoder.norm_out)
    hooks = [m.register_forward_hook(lambda _m, _i, out, k=k: seen.__setitem__(k, out)) for k, m in inner.items()]
    tokens = golden['intermediates']['postquant_pix']
    with torch.no_grad():
        images = decoder(tokens)
        seen['post_quant_conv_input'] = decoder.to_map(tokens)
    for hook in hooks:
        hook.remove()
    for name, value in seen.items():
        assert (value - golden['intermediates'][name]).abs().max() <= 5e-5, name
    assert len(seen) == 5
    assert (images - golden['outputs']['images_recon']).abs().max() <= 5e-5


def test_keys_are_the_published_ones(decoder):
    wanted = [line.split('\t')[0] for line in (DATA / 'keys_A.txt').read_text().splitlines()]
    wanted = {k for k in wanted if k.startswith(('post_quant_conv.', 'decoder.'))}
    assert wanted == set(decoder.state_dict())


def test_equal_grids_are_not_interpolated():
    decoder = CNNDecoder(**TINY, latent_size=4)
    tokens = torch.randn(1, 16, 32)
    assert torch.equal(decoder.to_map(tokens), tokens.transpose(1, 2).reshape(1, 32, 4, 4))


def test_published_384_model_has_the_published_size():
    with torch.device('meta'):
        decoder = CNNDecoder(in_dim=1152, layout=Grid(27, 27), image_size=384, latent_size=24)

    def millions(module):
        return round(sum(p.numel() for p in module.parameters()) / 1e6, 3)
    assert (millions(decoder.post_quant_conv), millions(decoder.decoder)) == (11.804, 168.450)


def test_registered_rectangular_and_with_a_plain_convolution():
    decoder = DECODERS.build(dict(type='CNNDecoder', **{**TINY, 'image_size': (16, 32)}, post_quant=False),
                             layout=Grid(9, 9), latent_size=(4, 8))
    assert decoder.layout == Grid(4, 4)
    assert decoder.post_quant_conv.weight.shape == (32, 32, 1, 1)
    assert decoder(torch.randn(2, 16, 32)).shape == (2, 3, 16, 32)


def test_recomputing_changes_no_gradient():
    torch.manual_seed(0)
    plain = CNNDecoder(**TINY)
    spare = CNNDecoder(**TINY, recompute=True)
    spare.load_state_dict(plain.state_dict())
    tokens = torch.randn(2, 16, 32)
    for decoder in (plain, spare):
        decoder(tokens).square().mean().backward()
    for (name, a), b in zip(plain.named_parameters(), spare.parameters()):
        assert torch.allclose(a.grad, b.grad, atol=1e-6), name
    assert plain.last_layer is plain.decoder.conv_out.weight


@pytest.mark.parametrize('change, message', [
    (dict(image_size=24), r'`image_size` \(16, 16\), or `latent_size` \(6, 6\)'),
    (dict(image_size=18), r'makes images of \(16, 16\), but `image_size` is \(18, 18\). What fits: `image_size` \(16, '
                          r'16\), or another'),
    (dict(image_size=0), '`image_size` is 0; expected a positive number of pixels'),
    (dict(latent_size=4.5), '`latent_size` is 4.5; expected a positive number of cells'),
    (dict(layout=(4, 4)), r'^layout: `layout` is \(4, 4\); CNNDecoder takes a Grid'),
    (dict(layout=Sequence(16)), r'`layout` is Sequence\(length=16\); CNNDecoder takes a Grid'),
    (dict(in_dim=None), '`in_dim` is None'),
    (dict(in_dim=40), 'multiple of 32'),
    (dict(channels=24), 'multiple of 32'),
    (dict(multipliers=()), '`multipliers`'),
])
def test_sizes_that_do_not_fit_are_refused_when_built(change, message):
    with pytest.raises(InputError, match=message):
        CNNDecoder(**{**TINY, **change})


@pytest.mark.parametrize('shape', [(2, 15, 32), (2, 16, 31), (16, 32)])
def test_features_of_another_tokenizer_are_refused(shape):
    with pytest.raises(InputError, match=r'expects \[B, 16, 32\] for the 4 x 4 token grid'):
        CNNDecoder(**TINY)(torch.randn(shape))


def test_a_working_size():
    """16 pixels are decoded and reduced to 12."""
    decoder = CNNDecoder(**dict(TINY, image_size=12, working_size=16))
    features = torch.randn(1, 16, 32)
    images = decoder(features)
    decoder.image_size = (16, 16)
    want = torch.nn.functional.interpolate(decoder(features), (12, 12), mode='bicubic')
    assert images.shape == (1, 3, 12, 12) and torch.equal(images, want)
    with pytest.raises(InputError, match=r'makes images of \(16, 16\), but `working_size` is \(24, 24\)'):
        CNNDecoder(**dict(TINY, image_size=12, working_size=24))
