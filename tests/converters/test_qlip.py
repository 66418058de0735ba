"""QLIP's published folder through the converter, against what its own modules gave (golden_qlip.pt: 2 blocks a tower),
and all names and shapes of QLIP-B-16-256."""

import pytest
import torch

import dtbox
from dtbox.converters import qlip
from dtbox.converters.folding import CLIP_MEAN, CLIP_STD
from dtbox.converters.run_folder import convert
from dtbox.errors import InputError
from dtbox.quantizers.bsq import BSQ
from dtbox.registry import TOKENIZERS
from tests.conftest import DATA
from tests.converters.published import is_near, read_qlip_images, widen, write_qlip

KEYS = {name: torch.empty(eval(shape), device='meta') for name, shape in (
    line.strip().split(': ', 1) for line in (DATA / 'keys_qlip.txt').read_text().splitlines()[1:])}
MEAN, STD = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))


@pytest.fixture(scope='module')
def golden():
    return widen(torch.load(DATA / 'golden_qlip.pt', weights_only=True))


@pytest.fixture(scope='module')
def tok(golden, tmp_path_factory):
    folder = tmp_path_factory.mktemp('qlip')
    convert('qlip', write_qlip(folder / 'qlip', golden), folder / 'run')
    return dtbox.load(folder / 'run')


@pytest.fixture(scope='module')
def image(golden):
    """The golden image, which is normalised as CLIP's are, in [-1, 1]."""
    return read_qlip_images(golden)


def test_codes(tok, golden, image):
    """All bits; the release's own numbers of 28 bits are not those of its bits."""
    out = golden['outputs']
    codes = tok.model.encode(image)['unified']
    assert torch.equal(codes[..., 0], out['index'])
    places = torch.arange(27, -1, -1)
    assert torch.equal((codes >> places) & 1 == 1, out['bits'])
    groups = (codes[..., 0, None] >> torch.tensor([21, 14, 7, 0])) & 127
    assert torch.equal(groups, out['group_codes'])
    assert not torch.equal(out['official_indices'], out['index'])


def test_features_and_reconstructions(tok, golden, image):
    out, model = golden['outputs'], tok.model
    with torch.no_grad():
        layers = model(image, layers=[('trunk', 1), ('trunk', 2)]).layers
        assert is_near(layers['trunk', 1], out['hidden_1'][:, 1:], 3e-6)
        assert is_near(layers['trunk', 2], out['encoder'][:, 1:], 3e-6)
        vocabulary, codes = model.vocabularies['unified'], out['index'][..., None]
        h = torch.nn.functional.normalize(vocabulary.combine([layers['trunk', 2]]), dim=-1)
        assert is_near(h, torch.nn.functional.normalize(out['h'], dim=-1), 3e-6)
        assert is_near(vocabulary.quantizer.decode(codes), out['quantized'], 3e-6)
        assert is_near(vocabulary.features(codes), out['decoder_input'], 3e-6)
        images = model.decode(dict(unified=codes))
    assert is_near(((images + 1) / 2 - MEAN) / STD, out['recon'], 1e-5)


def test_embeddings(tok, golden, image):
    """Of the class token and of the first end token; their logits."""
    out, text = golden['outputs'], golden['inputs']['text']
    with torch.no_grad():
        assert is_near(tok.model.pool_image(image), out['image_features'], 3e-6)
        assert is_near(tok.model.pool_text(text), out['text_features'], 3e-6)
        images, texts = tok.model.embed_image(image), tok.model.embed_text(text)
    assert is_near(images, out['image_embeds'], 3e-6)
    assert is_near(texts, out['text_embeds'], 3e-6)
    assert is_near(tok.model.text.logit_scale.exp() * images @ texts.T, out['logits_per_image'], 3e-6)


@pytest.mark.parametrize('group, key', [(7, None), (1, 'analytical')])
def test_terms_of_training(tok, golden, group, key):
    """The terms of the config are the release's loss, but for 1e-8 that it adds to each probability; their gradient is
    the tangential part of the published one."""
    train = golden['train'] if key is None else golden['train'][key]
    ours = tok.model.vocabularies['unified'].quantizer
    assert ours.group == 7
    quantizer = BSQ(28, ours.commitment_weight, ours.entropy_weight, ours.diversity, ours.temperature, group)
    h = torch.nn.functional.normalize(golden['outputs']['h'], dim=-1).requires_grad_(True)
    loss = sum(quantizer(h).losses.values())
    assert loss.item() == pytest.approx(train['loss'].item(), rel=3e-5)
    loss.backward()
    want = train['grad_h'] - (train['grad_h'] * h.detach()).sum(-1, keepdim=True) * h.detach()
    assert (h.grad - want).abs().max() <= 3e-4 * want.abs().max()


def test_every_published_name_at_full_size():
    """The 777 names and shapes of QLIP-B-16-256 make exactly the tokenizer that its config says, on no memory."""
    tower = dict(subln=True, swiglu=True, rope=True, k_bias=False, layer_norm_eps=1e-6, num_attention_heads=12)
    config = dict(vision_config=tower, decoder_config=tower, text_config=dict(num_attention_heads=8))
    folded = ('vision_model.embeddings.patch_embedding', 'vision_decoder.conv_out', 'logit_scale')
    state = {name: torch.zeros(value.shape) if name.startswith(folded) else value for name, value in KEYS.items()}
    assert len(state) == 777
    cfg = qlip.build_tokenizer_config(config, state, 'the release')
    with torch.device('meta'):
        model = TOKENIZERS.build(cfg)
    found = qlip.map_state(state, config, cfg, 'the release')
    assert {name: value.shape for name, value in found.items()} == {
        name: value.shape for name, value in model.state_dict().items()}
    assert (model.image_size, model.budget().bits, model.text.tokenizer.context_length) == ((256, 256), 256 * 28, 77)


def plain(config, state):
    """Without sub-norms, rotary positions and gates, as the switches of config.json allow."""
    for part, stem in (('vision_config', 'vision_model'), ('decoder_config', 'vision_decoder')):
        config[part].update(subln=False, rope=False, swiglu=False)
        for name in [name for name in state if name.startswith(stem) and '_ln.' in name or '.mlp.w2.' in name]:
            state.pop(name)
        for name in [name for name in state if name.startswith(stem)]:
            for theirs, ours in (('.mlp.w1.', '.mlp.fc1.'), ('.mlp.w3.', '.mlp.fc2.')):
                if theirs in name:
                    state[name.replace(theirs, ours)] = state.pop(name)


def test_switches_of_the_config(golden, tmp_path, image):
    """A block of the plain model, written out."""
    convert('qlip', write_qlip(tmp_path / 'qlip', golden, plain), tmp_path / 'run')
    trunk, state = dtbox.load(tmp_path / 'run').model.encoders['trunk'], golden['state_dict']
    stem = 'vision_model.encoder.layers.0'

    def layer(name, x):
        return torch.nn.functional.linear(x, state[f'{stem}.{name}.weight'], state.get(f'{stem}.{name}.bias'))

    def norm(name, x):
        return torch.nn.functional.layer_norm(x, (64,), state[f'{stem}.{name}.weight'], state[f'{stem}.{name}.bias'],
                                              1e-6)

    with torch.no_grad():
        x = trunk.embed(image)
        y = norm('layer_norm1', x)
        q, k, v = (layer(f'self_attn.{c}_proj', y).unflatten(-1, (4, 16)).transpose(1, 2) for c in 'qkv')
        y = ((q @ k.transpose(-1, -2) / 4).softmax(-1) @ v).transpose(1, 2).flatten(2)
        want = x + layer('self_attn.out_proj', y)
        want = want + layer('mlp.w3', torch.nn.functional.gelu(layer('mlp.w1', norm('layer_norm2', want))))
        assert is_near(trunk.step(x, 1), want, 3e-6)


@pytest.mark.parametrize('change, says', [
    (lambda c, s: c.pop('decoder_config'), 'lacks decoder_config; expected the folder of a QLIP'),
    (lambda c, s: c['vision_config'].update(quantizer='vq'), "`quantizer` of vision_config is 'vq'"),
    (lambda c, s: c['text_config'].update(rope=True), 'asks for rope of a tower'),
    (lambda c, s: c['vision_config'].update(hidden_act='quick_gelu'), 'another activation than gelu'),
    (lambda c, s: s.pop('vision_decoder.norm.bias'), r'1 missing: vision_decoder\.norm\.bias'),
    (lambda c, s: s.pop('vision_decoder.conv_out.weight'), "lacks 'vision_decoder.conv_out.weight'"),
    (lambda c, s: s.update(extra=torch.ones(1)), '1 left over: extra'),
    (lambda c, s: s.update({'vision_model.encoder.layers.1.self_attn.k_proj.bias': torch.ones(64)}),
     r'1 left over: vision_model\.encoder\.layers\.1\.self_attn\.k_proj\.bias')])
def test_folders_of_another_layout(golden, tmp_path, change, says):
    with pytest.raises(InputError, match=says):
        convert('qlip', write_qlip(tmp_path / 'qlip', golden, change), tmp_path / 'run')


def test_the_licence_is_told(golden, tmp_path, command):
    code, out, _ = command('convert', 'qlip', write_qlip(tmp_path / 'qlip', golden), tmp_path / 'run')
    assert code == 0 and 'licence of the code Nvidia Source Code License-NC' in out and 'non-commercial' in out
