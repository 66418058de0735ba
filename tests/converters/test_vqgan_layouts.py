"""Other layouts of the VQGAN through the converter: Chameleon's against transformers' ChameleonVQVAE, a VQModel of
diffusers against its forward, written out from the names of its weights."""
import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from dtbox.converters import vqgan
from dtbox.errors import InputError
from tests.converters.cnn_kit import build, is_near


def images(size):
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize('attention', [None, [16]])
def test_chameleon(tmp_path, attention):
    """Its encoder and codes are those of transformers, with and without attention at a level, and a larger decoder."""
    from transformers.models.chameleon.configuration_chameleon import ChameleonVQVAEConfig
    from transformers.models.chameleon.modeling_chameleon import ChameleonVQVAE
    torch.manual_seed(0)
    theirs = ChameleonVQVAE(ChameleonVQVAEConfig(
        embed_dim=8, num_embeddings=40, latent_channels=8, resolution=32, base_channels=32, channel_multiplier=[1, 2],
        num_res_blocks=1, attn_resolutions=attention, initializer_range=0.2)).eval()
    for name, value in theirs.named_parameters():
        torch.nn.init.normal_(value, mean=float('norm' in name and name.endswith('weight')), std=0.1)
    state = theirs.state_dict()
    torch.save(dict(state_dict=state), tmp_path / 'encoder.ckpt')
    with pytest.raises(InputError, match='encoder.ckpt has no decoder .transformers keeps the encoder of Chameleon'):
        vqgan.convert(str(tmp_path / 'encoder.ckpt'), image_size=32)
    from dtbox.decoders.cnn import CNNStack
    decoder = CNNStack(8, 64, (1, 2), 2, (False, attention is not None)).eval()
    state.update({f'decoder.{name}': value for name, value in decoder.state_dict().items()})
    torch.save(dict(state_dict=state), tmp_path / 'vqgan.ckpt')
    model, x = build(vqgan.convert(str(tmp_path / 'vqgan.ckpt'), image_size=32)), images(32)
    codes = model.encode(x)['pixel']
    with torch.no_grad():
        want = theirs.encode(x, return_dict=True)
        assert torch.equal(codes.flatten(), want.image_tokens)
        rows = theirs.quantize.embedding.weight[codes[..., 0]].transpose(1, 2).unflatten(2, (16, 16))
        assert is_near(model.decode(dict(pixel=codes)), decoder(theirs.post_quant_conv(rows)))


class VQModel:
    """A VQModel of diffusers with random weights, as its state dict and its forward.

    Args:
        attended: levels (of the encoder; of the decoder from the other end) with attention.
        middle: whether the middle blocks have attention.
        names: of the query, key, value and output layers of the attention.
    """
    WIDTHS = (32, 64, 32)
    LAYERS = 2
    LATENT, DIM = 8, 4
    CODES = 40

    def __init__(self, attended=(), middle=True, names=('to_q', 'to_k', 'to_v', 'to_out.0')):
        self.made, self.state = torch.Generator().manual_seed(0), {}
        self.names, self.levels = names, len(self.WIDTHS)
        for side, widths, layers, blocks, ends in (
                ('encoder', self.WIDTHS, self.LAYERS, 'down_blocks', (3, self.LATENT)),
                ('decoder', self.WIDTHS[::-1], self.LAYERS + 1, 'up_blocks', (self.LATENT, 3))):
            last = self.WIDTHS[-1]
            self.conv(f'{side}.conv_in', ends[0], widths[0])
            width = widths[0]
            for i, out in enumerate(widths):
                level = i if side == 'encoder' else self.levels - 1 - i
                for j in range(layers):
                    self.resnet(f'{side}.{blocks}.{i}.resnets.{j}', width, out)
                    width = out
                    if level in attended:
                        self.attention(f'{side}.{blocks}.{i}.attentions.{j}', out)
                if i < self.levels - 1:
                    self.conv(f'{side}.{blocks}.{i}.{blocks.split("_")[0]}samplers.0.conv', out, out)
            for j in (0, 1):
                self.resnet(f'{side}.mid_block.resnets.{j}', last, last)
            if middle:
                self.attention(f'{side}.mid_block.attentions.0', last)
            self.norm(f'{side}.conv_norm_out', widths[-1])
            self.conv(f'{side}.conv_out', widths[-1], ends[1])
        self.conv('quant_conv', self.LATENT, self.DIM, 1)
        self.conv('post_quant_conv', self.DIM, self.LATENT, 1)
        self.state['quantize.embedding.weight'] = self.random(self.CODES, self.DIM)

    def random(self, *shape, scale=1.0):
        return torch.randn(*shape, generator=self.made) * scale

    def conv(self, name, width, out, kernel=3):
        self.state[f'{name}.weight'] = self.random(out, width, kernel, kernel, scale=(width * kernel ** 2) ** -0.5)
        self.state[f'{name}.bias'] = self.random(out, scale=0.1)

    def norm(self, name, width):
        self.state[f'{name}.weight'], self.state[f'{name}.bias'] = 1 + self.random(width, scale=0.2), self.random(width)

    def resnet(self, name, width, out):
        for i, (a, b) in enumerate(((width, out), (out, out)), 1):
            self.norm(f'{name}.norm{i}', a)
            self.conv(f'{name}.conv{i}', a, b)
        if width != out:
            self.conv(f'{name}.conv_shortcut', width, out, 1)

    def attention(self, name, width):
        self.norm(f'{name}.group_norm', width)
        for part in self.names:
            self.state[f'{name}.{part}.weight'] = self.random(width, width, scale=width ** -0.5)
            self.state[f'{name}.{part}.bias'] = self.random(width)

    # ---- the forward, by the names alone ----------------------------------------------------------------------

    def call(self, function, name, x, **args):
        return function(x, self.state[f'{name}.weight'], self.state[f'{name}.bias'], **args)

    def call_norm(self, name, x):
        return F.group_norm(x, 32, self.state[f'{name}.weight'], self.state[f'{name}.bias'], 1e-6)

    def call_resnet(self, name, x):
        h = x
        for i in (1, 2):
            h = self.call(F.conv2d, f'{name}.conv{i}', F.silu(self.call_norm(f'{name}.norm{i}', h)), padding=1)
        shortcut = f'{name}.conv_shortcut'
        return h + (self.call(F.conv2d, shortcut, x) if f'{shortcut}.bias' in self.state else x)

    def call_attention(self, name, x):
        if f'{name}.group_norm.weight' not in self.state:
            return x
        tokens = self.call_norm(f'{name}.group_norm', x).flatten(2).transpose(1, 2)
        q, k, v = (self.call(F.linear, f'{name}.{part}', tokens) for part in self.names[:3])
        weights = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(-1)
        out = self.call(F.linear, f'{name}.{self.names[3]}', weights @ v)
        return x + out.transpose(1, 2).view_as(x)

    def call_middle(self, side, x):
        x = self.call_attention(f'{side}.mid_block.attentions.0', self.call_resnet(f'{side}.mid_block.resnets.0', x))
        return self.call_resnet(f'{side}.mid_block.resnets.1', x)

    def call_side(self, side, blocks, x, layers):
        x = self.call(F.conv2d, f'{side}.conv_in', x, padding=1)
        x = self.call_middle(side, x) if side == 'decoder' else x
        for i in range(self.levels):
            for j in range(layers):
                x = self.call_attention(f'{side}.{blocks}.{i}.attentions.{j}',
                                        self.call_resnet(f'{side}.{blocks}.{i}.resnets.{j}', x))
            if i < self.levels - 1 and side == 'encoder':
                x = self.call(F.conv2d, f'{side}.{blocks}.{i}.downsamplers.0.conv', F.pad(x, (0, 1, 0, 1)), stride=2)
            elif i < self.levels - 1:
                x = self.call(F.conv2d, f'{side}.{blocks}.{i}.upsamplers.0.conv', F.interpolate(x, scale_factor=2.0),
                              padding=1)
        x = self.call_middle(side, x) if side == 'encoder' else x
        return self.call(F.conv2d, f'{side}.conv_out', F.silu(self.call_norm(f'{side}.conv_norm_out', x)), padding=1)

    def encode(self, x):
        """images -> codes [B, N]."""
        z = self.call(F.conv2d, 'quant_conv', self.call_side('encoder', 'down_blocks', x, self.LAYERS))
        return torch.cdist(z.flatten(2).transpose(1, 2), self.state['quantize.embedding.weight']).argmin(-1)

    def decode(self, codes, grid):
        rows = self.state['quantize.embedding.weight'][codes].transpose(1, 2).unflatten(2, grid)
        return self.call_side('decoder', 'up_blocks', self.call(F.conv2d, 'post_quant_conv', rows), self.LAYERS + 1)

    def save(self, folder, **config):
        save_file(self.state, folder / 'diffusion_pytorch_model.safetensors')
        (folder / 'config.json').write_text(json.dumps({'_class_name': 'VQModel', 'norm_num_groups': 32, **config}))
        return str(folder)


@pytest.mark.parametrize('args', [dict(attended=(2,)), dict(middle=False),
                                  dict(attended=(0, 2), names=('query', 'key', 'value', 'proj_attn'))])
def test_diffusers(tmp_path, args):
    """With attention at a level, without attention in the middle (aMUSEd), and under the names of old versions."""
    theirs, x = VQModel(**args), images(16)
    model = build(vqgan.convert(theirs.save(tmp_path), image_size=16))
    codes = model.encode(x)['pixel']
    assert torch.equal(codes[..., 0], theirs.encode(x)) and codes.unique().numel() > 5
    with torch.no_grad():
        assert is_near(model.decode(dict(pixel=codes)), theirs.decode(codes[..., 0], (4, 4)))


def test_images_of_amused(tmp_path):
    """Its network works in [0, 1], which its files do not say; here images are in [-1, 1]."""
    theirs, x = VQModel(middle=False), images(16)
    model = build(vqgan.convert(theirs.save(tmp_path), image_size=16, unit_images=True))
    codes = model.encode(x)['pixel']
    assert torch.equal(codes[..., 0], theirs.encode((x + 1) / 2)) and not torch.equal(codes[..., 0], theirs.encode(x))
    with torch.no_grad():
        assert is_near(model.decode(dict(pixel=codes)), theirs.decode(codes[..., 0], (4, 4)) * 2 - 1)


@pytest.mark.parametrize('config, says', [
    (dict(_class_name='AutoencoderKL'), 'holds an `AutoencoderKL` of diffusers; expected a VQModel'),
    (dict(norm_type='spatial'), r"has norm_type 'spatial' \(expected 'group'\)"),
    (dict(norm_num_groups=16), r'has norm_num_groups 16 \(expected 32\)')])
def test_other_models_of_diffusers(tmp_path, config, says):
    with pytest.raises(InputError, match=says):
        vqgan.convert(VQModel().save(tmp_path, **config))
