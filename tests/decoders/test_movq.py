"""MoVQ's decoder: a norm by hand, the whole stack against the 2D part of transformers' Emu3, published names."""
import re

import pytest
import torch
import torch.nn.functional as F

from dtbox.decoders.movq import MoVQDecoder, SpatialNorm
from dtbox.errors import InputError
from dtbox.layout import Grid


def test_spatial_norm_by_hand():
    """GroupNorm of each channel alone, times 2 q + 1, plus 3 q + 5; q is repeated to the size of x."""
    norm = SpatialNorm(32, 1)
    for conv, weight, bias in ((norm.conv_y, 2.0, 1.0), (norm.conv_b, 3.0, 5.0)):
        conv.weight.data.fill_(weight)
        conv.bias.data.fill_(bias)
    x = torch.tensor([0.0, 2.0, 4.0, 6.0]).view(1, 1, 2, 2).expand(1, 32, 2, 2)
    q = torch.tensor([10.0, 20.0]).view(1, 1, 1, 2)
    unit = (x - 3) / (5 + 1e-6) ** 0.5
    wide = torch.tensor([[10.0, 20.0], [10.0, 20.0]])
    assert torch.allclose(norm(x, q), unit * (2 * wide + 1) + 3 * wide + 5, atol=1e-4)


def test_convolution_of_the_map():
    """With `add_conv` the resized map passes a 3x3 convolution first."""
    norm, x, q = SpatialNorm(32, 2, add_conv=True), torch.randn(1, 32, 4, 4), torch.randn(1, 2, 2, 2)
    y = norm.conv(F.interpolate(q, (4, 4), mode='nearest'))
    assert torch.allclose(norm(x, q), norm.norm_layer(x) * norm.conv_y(y) + norm.conv_b(y), atol=1e-5)


def rename(name):
    """Emu3's name -> ours."""
    name = re.sub(r'^up_block\.', '', name).replace('middle_block.', 'mid.')
    name = name.replace('mid.attn_norm.', 'mid.attn_1.norm.')
    name = re.sub(r'attn_norms\.(\d+)\.', r'attn.\1.norm.', name)
    return re.sub(r'\.([qkv])_proj\.', r'.\1.', name).replace('out_proj', 'proj_out')


def test_as_emu3():
    """Weights of transformers' Emu3 decoder, without what it does along time, give its images."""
    emu3 = pytest.importorskip('transformers.models.emu3.modeling_emu3')
    config = emu3.Emu3VQVAEConfig(embed_dim=4, latent_channels=6, base_channels=32, channel_multiplier=[1, 2, 2],
                                  num_res_blocks=1, attn_resolutions=[2], hidden_size=64, num_attention_heads=1,
                                  temporal_downsample_factor=1)
    config._attn_implementation = 'eager'
    theirs = emu3.Emu3VQVAEDecoder(config).eval()
    ours = MoVQDecoder(4, Grid(3, 5), (12, 20), channels=32, multipliers=(1, 2, 2), blocks=1, latent_channels=6,
                       attention_resolutions=(3,))
    state = {rename(k): v[..., None, None] if re.search(r'\.(q|k|v|out)_proj\.weight', k) else v
             for k, v in theirs.state_dict().items() if not k.startswith('time_')}
    ours.decoder.load_state_dict(state, strict=True)
    features = torch.randn(2, 15, 4)
    with torch.no_grad():
        q = features.mT.unflatten(2, (3, 5))
        h = theirs.up_block(theirs.middle_block(theirs.conv_in(ours.post_quant_conv(q)), q), q)
        want = theirs.conv_out(F.silu(theirs.norm_out(h, q)))
        assert (ours(features) - want).abs().max() <= 1e-5 * max(1, want.abs().max())


def test_published_names_and_size():
    """MoVQGAN 270M at 256 pixels, on no memory: Kandinsky's names of norms, attention at 32 rows alone."""
    with torch.device('meta'):
        decoder = MoVQDecoder(4, Grid(32, 32), 256)
    names = dict(decoder.state_dict())
    assert {'post_quant_conv.weight', 'decoder.mid.attn_1.norm.norm_layer.weight', 'decoder.norm_out.conv_y.weight',
            'decoder.mid.block_1.norm2.conv_b.bias', 'decoder.up.3.attn.2.q.weight',
            'decoder.up.1.upsample.conv.weight'} <= set(names)
    assert names['decoder.up.0.block.0.nin_shortcut.weight'].shape == (256, 512, 1, 1)
    assert not any(name.startswith('decoder.up.2.attn') for name in names)


@pytest.mark.parametrize('change, says', [(dict(image_size=48), 'doubled 2 times'),
                                          (dict(multipliers=()), '`multipliers` is ')])
def test_refused(change, says):
    with pytest.raises(InputError, match=says):
        MoVQDecoder(**{**MoVQDecoder.example, **change})
