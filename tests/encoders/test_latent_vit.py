"""TiTok's encoder: what its layers show, and the sizes that it refuses. Its values are compared with the release's in
tests/converters/test_titok.py."""
import pytest
import torch

from dtbox.encoders.latent_vit import LatentViT
from dtbox.errors import InputError
from dtbox.layout import Grid, Sequence
from dtbox.registry import ENCODERS, TOKENIZERS


def build(**changes):
    return ENCODERS.build({'type': 'LatentViT', **LatentViT.example, **changes})


def test_grids_and_then_a_sequence():
    """32 x 32 pixels in patches of 8; 5 latent tokens after the last of 2 blocks; class token and patches are gone."""
    encoder = build()
    assert [encoder.layout(layer) for layer in range(3)] == [Grid(4, 4), Grid(4, 4), Sequence(5)]
    tokens = encoder.embed(torch.zeros(2, 3, 32, 32))
    assert tokens.shape == (2, 1 + 16 + 5, 32)
    last, taps = encoder.run(tokens, 0, 2, (1, 2))
    assert taps[1].shape == (2, 16, 32) and taps[2].shape == (2, 5, 32) and last.shape == (2, 6, 32)
    assert torch.equal(encoder.patches(encoder.normalize(last)), encoder.norm(taps[2]))
    with pytest.raises(InputError, match='layer 2 of LatentViT needs tokens on a grid .* sequence of 5 tokens'):
        encoder.grid(2)


def test_replaced_tokens_reach_the_latents():
    """Patches before the last block, latent tokens after it; what else travels stays."""
    encoder = build().eval()
    tokens = encoder.embed(torch.rand(1, 3, 32, 32))
    changed = encoder.with_patches(tokens, torch.zeros(1, 16, 32))
    assert torch.equal(changed[:, 17:], tokens[:, 17:]) and not changed[:, 1:17].any()
    last, other = (encoder.run(t, 0, 2)[0] for t in (tokens, changed))
    assert not torch.allclose(last[:, 1:], other[:, 1:])
    replaced = encoder.with_patches(last, torch.ones(1, 5, 32))
    assert torch.equal(replaced[:, :1], last[:, :1]) and bool((replaced[:, 1:] == 1).all())


@pytest.mark.parametrize('changes, says', [
    (dict(image_size=36), r'`image_size` \(36, 36\) is not a multiple of `patch_size` 8. What fits: \(32, 32\)'),
    (dict(image_size=4), 'smaller than one patch'), (dict(heads=5), '`width` 32 does not divide into 5 heads')])
def test_sizes_that_do_not_fit(changes, says):
    with pytest.raises(InputError, match=says):
        build(**changes)


def make_tokenizer(**changes):
    vocabulary = dict(taps='norm', quantizer=dict(type='VQ', size=8, dim=6), out_dim=6,
                      projection=dict(type='LinearProjection', norm=False), post_projection=dict(type='NoProjection'))
    decoder = dict(type='MaskTokenDecoder', patch_size=8, width=32, depth=1, heads=2)
    return TOKENIZERS.build({**dict(
        type='VisualTokenizer', image_size=32, encoders=dict(trunk=dict(type='LatentViT', **LatentViT.example)),
        vocabularies=dict(pixel=vocabulary), decoder=decoder), **changes})


def test_a_grid_and_a_sequence_in_one_tokenizer():
    """Patches of an inner layer are a vocabulary of their own; regions are pooled from these alone."""
    plain = dict(type='LinearProjection', norm=False)
    sequence = dict(taps='norm', quantizer=dict(type='VQ', size=8, dim=4), projection=plain)
    grid = dict(taps=1, quantizer=dict(type='VQ', size=8, dim=4), projection=plain)
    masks = [torch.ones(1, 32, 32, dtype=torch.bool)]
    for reads, says in (('grid', None), ('sequence', 'pooling of regions needs tokens on a grid'),
                        (None, 'pooling of regions needs tokens on a grid')):
        tokenizer = make_tokenizer(vocabularies=dict(sequence=sequence, grid=grid),
                                   decoder=dict(type='MaskTokenDecoder', reads='sequence', patch_size=8, width=32,
                                                depth=1, heads=2), head=dict(type='MeanPool', out_dim=3, reads=reads))
        assert {s.name: s.token_layout for s in tokenizer.layout.streams} == dict(sequence=Sequence(5), grid=Grid(4, 4))
        out = tokenizer(torch.zeros(1, 3, 32, 32))
        if says is None:
            assert tokenizer.pool_regions(out.last, masks)[0].shape == (1, 3)
        else:
            with pytest.raises(InputError, match=says):
                tokenizer.pool_regions(out.last, masks)


def test_width_of_features():
    """Without `out_dim` features are as wide as the layer; with it, as wide as it says, and too wide to re-inject."""
    assert make_tokenizer().vocabularies['pixel'].out_dim == 6
    vocabulary = dict(taps=2, quantizer=dict(type='VQ', size=8, dim=4), reinject=2,
                      projection=dict(type='LinearProjection'))
    assert make_tokenizer(vocabularies=dict(a=vocabulary)).vocabularies['a'].out_dim == 32
    with pytest.raises(InputError, match='features of width 16 .* do not fit layer 2'):
        make_tokenizer(vocabularies=dict(a=dict(vocabulary, out_dim=16)))


def test_decoders_of_another_layout():
    with pytest.raises(InputError, match=r'on a sequence of 5 tokens \(Sequence\), but ViTDecoder takes Grid. Choose a '
                                         r'decoder that takes it \(MaskTokenCodeDecoder, MaskTokenDecoder'):
        make_tokenizer(decoder=dict(type='ViTDecoder'))
