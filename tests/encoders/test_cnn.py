"""The CNN encoder against VQGAN's forward, written out from the published parameter names; its stages, and what it
refuses."""
import pytest
import torch
import torch.nn.functional as F

from dtbox.encoders.cnn import CNNEncoder
from dtbox.errors import InputError
from dtbox.registry import ENCODERS, TOKENIZERS

TINY = dict(image_size=16, channels=32, multipliers=(1, 2, 2), blocks=2, latent_channels=6, attention_resolutions=(4,))


def build(**changes):
    """Return a tiny encoder whose weights, norms included, are all random."""
    encoder = ENCODERS.build(dict(type='CNNEncoder', **{**TINY, **changes}))
    torch.manual_seed(1)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return encoder


def images(encoder, count=2):
    return torch.randn(count, 3, *encoder.image_size, generator=torch.Generator().manual_seed(2)).clamp(-1, 1)


def published(s, x, levels=3, blocks=2):
    """VQGAN's encoder as taming-transformers runs it, from a state dict of its names: images -> [B,D,h,w]."""
    def conv(name, x, **args):
        return F.conv2d(x, s[f'{name}.weight'], s[f'{name}.bias'], **args)

    def norm(name, x):
        return F.group_norm(x, 32, s[f'{name}.weight'], s[f'{name}.bias'], eps=1e-6)

    def swish(x):
        return x * torch.sigmoid(x)

    def resnet(name, x):
        h = conv(f'{name}.conv1', swish(norm(f'{name}.norm1', x)), padding=1)
        h = conv(f'{name}.conv2', swish(norm(f'{name}.norm2', h)), padding=1)
        return h + (conv(f'{name}.nin_shortcut', x) if f'{name}.nin_shortcut.weight' in s else x)

    def attention(name, x):
        b, c, h, w = x.shape
        q, k, v = (conv(f'{name}.{part}', norm(f'{name}.norm', x)).reshape(b, c, h * w) for part in 'qkv')
        weights = (q.transpose(1, 2) @ k * c ** -0.5).softmax(2)
        return x + conv(f'{name}.proj_out', (v @ weights.transpose(1, 2)).reshape(b, c, h, w))

    x = conv('conv_in', x, padding=1)
    for i in range(levels):
        for j in range(blocks):
            x = resnet(f'down.{i}.block.{j}', x)
            if f'down.{i}.attn.{j}.q.weight' in s:
                x = attention(f'down.{i}.attn.{j}', x)
        if i < levels - 1:
            x = conv(f'down.{i}.downsample.conv', F.pad(x, (0, 1, 0, 1)), stride=2)
    x = resnet('mid.block_2', attention('mid.attn_1', resnet('mid.block_1', x)))
    return conv('conv_out', swish(norm('norm_out', x)), padding=1)


def test_stages_are_the_published_forward():
    encoder = build()
    x = images(encoder)
    with torch.no_grad():
        tokens, tapped = encoder.run(encoder.embed(x), 0, encoder.depth, range(encoder.depth + 1))
        want = published(encoder.state_dict(), x)
    assert encoder.depth == 4 and want.shape == (2, 6, 4, 4) and want.std() > 0.1
    assert torch.allclose(tokens, want.flatten(2).transpose(1, 2), atol=1e-4) and torch.equal(tapped[4], tokens)
    attended = {n.split('.')[1] for n in encoder.state_dict() if n.startswith('down') and 'attn' in n}
    assert attended == {'2'}  # at 4 x 4 alone


def test_widths_and_grids_of_the_layers():
    encoder = build(image_size=(16, 24), attention_resolutions=())
    with torch.no_grad():
        _, tapped = encoder.run(encoder.embed(images(encoder)), 0, encoder.depth, range(encoder.depth + 1))
    assert [(encoder.grid(layer), encoder.width(layer)) for layer in range(5)] == [
        ((16, 24), 32), ((8, 12), 32), ((4, 6), 64), ((4, 6), 64), ((4, 6), 6)]
    for layer, tokens in tapped.items():
        assert tokens.shape == (2, encoder.grid(layer)[0] * encoder.grid(layer)[1], encoder.width(layer))
    assert encoder.num_prefix_tokens == 0 and encoder.pooled_dim is None


def test_resuming_in_the_middle():
    encoder = build()
    with torch.no_grad():
        straight, tapped = encoder.run(encoder.embed(images(encoder)), 0, 4, {1, 2})
        halfway, first = encoder.run(encoder.embed(images(encoder)), 0, 2, {1, 2})
        end, second = encoder.run(halfway, 2, 4, {2})
    assert torch.allclose(end, straight, atol=1e-5)
    assert torch.equal(second[2], tapped[2])
    assert torch.equal(first[1], tapped[1])


@pytest.mark.parametrize('stem, kernel, rows', [(1, 3, 16), (2, 4, 8), (4, 8, 4)])
def test_stem(stem, kernel, rows):
    encoder = build(stem=stem, multipliers=(1, 2))
    assert encoder.conv_in.weight.shape == (32, 3, kernel, kernel) and encoder.grid(0) == (rows, rows)
    x = images(encoder, 1)
    x.requires_grad_(True)
    encoder.embed(x).sum().backward()
    assert encoder.embed(x).shape == (1, rows * rows, 32) and (x.grad != 0).all()  # every pixel is seen


def test_published_256_model_has_the_published_size():
    with torch.device('meta'):
        encoder = CNNEncoder(256)
    assert encoder.grid(encoder.depth) == (16, 16) and sum(p.numel() for p in encoder.parameters()) == 29_298_176


def test_recomputing_changes_no_gradient():
    grads = []
    for recompute in (False, True):
        encoder = build(recompute=recompute).train()
        encoder.run(encoder.embed(images(encoder)), 0, encoder.depth)[0].square().mean().backward()
        grads.append([p.grad for p in encoder.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*grads))


def test_weights_with_a_prefix(tmp_path):
    source = build()
    file = str(tmp_path / 'vqgan.ckpt')
    state = {f'encoder.{k}': v for k, v in source.state_dict().items()}
    torch.save({'state_dict': {**state, 'quant_conv.weight': torch.ones(1)}}, file)
    encoder = ENCODERS.build(dict(type='CNNEncoder', weights=file, prefix='encoder.', **TINY))
    encoder.init_weights()
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in encoder.state_dict().items())
    with pytest.raises(InputError, match='does not match CNNEncoder'):
        ENCODERS.build(dict(type='CNNEncoder', weights=file, **TINY)).init_weights()


def test_in_a_tokenizer():
    """The last layer feeds a vocabulary as wide as itself; layers of other grids do not go together."""
    quantizer = dict(type='VQ', size=8, dim=6)
    cfg = dict(type='VisualTokenizer', image_size=16, encoders=dict(cnn=dict(type='CNNEncoder', **TINY)),
               vocabularies=dict(pixel=dict(taps=4, quantizer=quantizer, projection=dict(type='NoProjection'))),
               decoder=dict(type='LightCNNDecoder', width=32, blocks=1))
    model = TOKENIZERS.build(cfg)
    out = model(torch.zeros(2, 3, 16, 16))
    assert out.codes['pixel'].shape == (2, 16, 1) and out.reconstructions.shape == (2, 3, 16, 16)
    cfg['vocabularies']['pixel'] = dict(taps=[4, 1], quantizer=quantizer, projection=dict(type='LinearProjection'))
    with pytest.raises(InputError, match='different token layouts'):
        TOKENIZERS.build(cfg)


@pytest.mark.parametrize('changes, says', [
    (dict(image_size=18), r'divide the image by 4, .* What fits: `image_size` \(16, 16\)'),
    (dict(stem=4, image_size=24), 'stem of stride 4 divide the image by 16'),
    (dict(stem=3), 'one of the strides 1, 2, 4'), (dict(channels=24), 'multiple of 32'),
    (dict(multipliers=()), '`multipliers` is'),
    (dict(blocks=0), '`blocks` is 0'), (dict(latent_channels=2.5), '`latent_channels` is 2.5'),
    (dict(image_size='16'), '`image_size` is')])
def test_what_cannot_be_built(changes, says):
    with pytest.raises(InputError, match=says):
        build(**changes)


def test_a_working_size():
    """Images of 12 pixels are enlarged to 16; grids, attention and what must divide follow from that."""
    encoder, plain = build(image_size=12, working_size=16), build()
    x = torch.randn(1, 3, 12, 12)
    large = F.interpolate(x, (16, 16), mode='bicubic')
    assert torch.equal(encoder.embed(x), plain.embed(large)) and encoder.grid(4) == plain.grid(4) == (4, 4)
    assert encoder.image_size == (12, 12) and len(encoder.down[2].attn) == len(plain.down[2].attn) == 2
    with pytest.raises(InputError, match=r'`working_size` \(18, 18\) is not a multiple of it'):
        build(working_size=18)
