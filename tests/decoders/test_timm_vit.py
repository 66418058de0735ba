"""Blocks of timm's transformers as a decoder: the same as timm's own pass, and pixel heads by hand."""
import pytest
import timm
import torch

from dtbox.decoders.timm_vit import TimmDecoder
from dtbox.errors import InputError
from dtbox.layout import Grid
from dtbox.registry import PIXEL_HEADS

SIZES = dict(embed_dim=32, depth=2, num_heads=2)


@pytest.mark.parametrize('name, args', [('vit_tiny_patch16_224', {}), ('vit_small_patch14_reg4_dinov2', {}),
                                        ('vit_small_patch16_dinov3', {}), ('eva02_tiny_patch14_224', {}),
                                        ('vitamin_small_224', dict(pos_embed='none', embed_dim=384))])
def test_as_timm(name, args):
    """Tokens that a timm model embeds itself leave the decoder's blocks and norm as they leave timm's."""
    torch.manual_seed(0)
    side = 28 if 'patch14' in name else 32
    args = {**SIZES, **args}
    theirs = timm.create_model(name, img_size=side, num_classes=0, global_pool='', **args).eval()
    decoder = TimmDecoder(args['embed_dim'], Grid(2, 2), 8, name=name, model_args=args).eval()
    decoder.trunk.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith('patch_embed')})
    decoder.proj_in, decoder.head = torch.nn.Identity(), torch.nn.Identity()
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        tokens = theirs.patch_embed(images)
        want = theirs.forward_features(images)[:, theirs.num_prefix_tokens:]
        got = decoder(tokens.flatten(1, -2))
    assert got.shape == (2, 2, 2, args['embed_dim'])
    assert (got.flatten(1, 2) - want).abs().max() <= 3e-6 * max(1, want.abs().max())


def test_patches_by_hand():
    """Patch vectors are (row, column, colour); tokens lie row by row."""
    head = PIXEL_HEADS.build(dict(type='LinearPixels'), width=12, patch=(2, 2))
    head.fc.weight.data.copy_(torch.eye(12))
    head.fc.bias.data.zero_()
    tokens = torch.arange(24.0).view(1, 1, 2, 12)
    assert head(tokens)[0, 0].tolist() == [[0, 3, 12, 15], [6, 9, 18, 21]]
    assert head(tokens)[0, 2].tolist() == [[2, 5, 14, 17], [8, 11, 20, 23]]


def test_other_heads_by_hand():
    """`ConvPixels` convolves over the edges of patches; `TanhPixels` is tanh between two linear layers."""
    torch.manual_seed(0)
    tokens = torch.randn(2, 1, 2, 5)
    head = PIXEL_HEADS.build(dict(type='ConvPixels', channels=1), width=5, patch=(1, 2))
    pixels = head.fc(tokens).flatten(2)[:, None]
    assert torch.allclose(head(tokens), torch.nn.functional.conv2d(pixels, head.conv_out.weight, head.conv_out.bias,
                                                                   padding=1))
    assert head.last_layer is head.conv_out.weight
    head = PIXEL_HEADS.build(dict(type='TanhPixels', hidden=7), width=5, patch=(1, 1))
    want = head.fc2(torch.tanh(head.fc1(tokens))).permute(0, 3, 1, 2)
    assert torch.allclose(head(tokens), want)
    assert head.fc1.out_features == 7


@pytest.mark.parametrize('change, says', [
    (dict(image_size=18), 'not a multiple of the latent grid'),
    (dict(name='resnet18', model_args={}), 'timm cannot build `resnet18`|not a plain vision transformer'),
    (dict(name='vit_tiny_patch16_22'), 'timm does not have a model'),
    (dict(head=dict(type='LinearPixel')), 'Did you mean `LinearPixels`')])
def test_refused(change, says):
    with pytest.raises(InputError, match=says):
        TimmDecoder(**{**TimmDecoder.example, **change})
