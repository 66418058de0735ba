"""Janus' image tokenizer through the converter, against what DeepSeek's own modules gave (golden_janus.pt: 12 x 12
tokens of 48 pixels) and against transformers' JanusVQVAE; all names and shapes of the full size, also as LlamaGen's."""
import copy
import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import dtbox
from dtbox.converters import janus, vqgan
from dtbox.errors import InputError
from tests.converters.cnn_kit import build, check_gradients, check_whole, is_near, read_golden, read_keys, to_map
from tools.convert_checkpoint import main

OTHERS = {'gen_embed.weight': torch.ones(64, 8), 'language_model.model.norm.weight': torch.ones(4),
          'vision_model.vision_tower.encoder.norm.weight': torch.ones(4)}
"""What a language model's file holds beside the tokenizer."""


@pytest.fixture(scope='module')
def golden():
    return read_golden('janus')


@pytest.fixture(scope='module')
def source(golden, tmp_path_factory):
    """A language model's folder: two shards and their index."""
    folder = tmp_path_factory.mktemp('janus')
    return write_shards(folder, {**golden['state_dict'], **OTHERS})


def write_shards(folder, state):
    names, half = list(state), len(state) // 2
    table = {}
    for i, part in enumerate((names[:half], names[half:])):
        file = f'model-{i + 1:05}-of-00002.safetensors'
        save_file({name: state[name].contiguous() for name in part}, folder / file)
        table.update({name: file for name in part})
    (folder / 'model.safetensors.index.json').write_text(json.dumps(dict(weight_map=table)))
    return folder


@pytest.fixture(scope='module')
def model(source):
    return build(janus.convert(str(source), image_size=48))


def test_codes_and_reconstructions(source, golden, tmp_path, monkeypatch):
    """The search normalises, as the log says; without it half of the codes would differ."""
    said = []
    monkeypatch.setattr(janus, 'print_log', lambda text, *_, **__: said.append(text))
    main(['janus', str(source), str(tmp_path / 'run'), '--image-size', '48'])
    assert 'JanusVQVAE searches without normalising' in said[0]
    model, out = dtbox.load(tmp_path / 'run').model, golden['outputs']
    codes = model.encode(golden['inputs']['image'])
    assert torch.equal(codes['pixel'].flatten(), out['codes'])
    assert (codes['pixel'].flatten() != out['codes_if_not_normalised']).float().mean() > 0.4
    vocabulary = model.vocabularies['pixel']
    with torch.no_grad():
        layer = model(golden['inputs']['image'], layers=[('cnn', 4)]).layers['cnn', 4]
        assert is_near(to_map(vocabulary.combine([layer]), (12, 12)), out['f'])
        assert is_near(to_map(vocabulary.quantizer.decode(codes['pixel']), (12, 12)), out['entry'], 3e-6)
        assert is_near(model.decode(codes), out['recon'])


def test_wide_images_and_one_file(golden, tmp_path):
    torch.save({**golden['state_dict'], **OTHERS}, tmp_path / 'pytorch_model.bin')
    model, out = build(janus.convert(str(tmp_path / 'pytorch_model.bin'), image_size=(32, 64))), golden['outputs']
    codes = model.encode(golden['inputs']['image_wide'])
    assert torch.equal(codes['pixel'].flatten(), out['codes_wide'])
    with torch.no_grad():
        assert is_near(model.decode(codes), out['recon_wide'])


def test_a_step_of_training(model, golden):
    """0.25 x the terms of VQ are the published ones; the entropy, off by default there, is written out."""
    train, image = golden['train'], golden['inputs']['image']
    model = copy.deepcopy(model).train().requires_grad_(True)
    encoder, vocabulary = model.encoders['cnn'], model.vocabularies['pixel']
    z = vocabulary.combine([encoder.run(encoder.embed(image), 0, encoder.depth)[0]])
    out = vocabulary.quantizer(z)
    recon = model.decoder(vocabulary.finish(out).features)
    terms = {name: 0.25 * value for name, value in out.losses.items()}
    assert terms['codebook'].item() == pytest.approx(train['vq'].item(), rel=1e-5)
    assert terms['commitment'].item() == pytest.approx(train['commit'].item(), rel=1e-5)
    logits = F.normalize(z.flatten(0, 1), dim=1) @ F.normalize(vocabulary.quantizer.codebook.weight, dim=1).t() * 200
    p = logits.softmax(1)
    entropy = -(p * logits.log_softmax(1)).sum(1).mean() + (p.mean(0) * (p.mean(0) + 1e-5).log()).sum()
    assert 0.1 * entropy.item() == pytest.approx(train['entropy'].item(), rel=1e-4)
    loss = F.mse_loss(recon, image) + terms['codebook'] + terms['commitment'] + 0.1 * entropy
    assert loss.item() == pytest.approx(train['loss'].item(), rel=1e-4)
    loss.backward()
    check_gradients(model, train['grads'], {
        'encoder.conv_in.weight': 'encoders.cnn.conv_in.weight',
        'encoder.mid.1.k.weight': 'encoders.cnn.mid.attn_1.k.weight',
        'quant_conv.weight': 'vocabularies.pixel.projections.0.fc.weight',
        'quantize.embedding.weight': 'vocabularies.pixel.quantizer.codebook.weight',
        'post_quant_conv.weight': 'vocabularies.pixel.post_projection.fc.weight',
        'decoder.conv_out.bias': 'decoder.decoder.conv_out.bias'}, 3e-4)


@pytest.fixture(scope='module')
def hugging():
    """transformers' JanusVQVAE with random weights, three levels of two widths."""
    from transformers.models.janus.configuration_janus import JanusVQVAEConfig
    from transformers.models.janus.modeling_janus import JanusVQVAE
    torch.manual_seed(0)
    config = JanusVQVAEConfig(embed_dim=6, num_embeddings=40, latent_channels=12, base_channels=32, num_patches=8,
                              channel_multiplier=[1, 2, 1], num_res_blocks=1, initializer_range=0.2)
    model = JanusVQVAE(config).eval()
    for name, value in model.named_parameters():
        torch.nn.init.normal_(value, mean=float('norm' in name and name.endswith('weight')), std=0.1)
    return model


@pytest.mark.parametrize('prefix', ['', 'model.vqmodel.'])
def test_layout_of_transformers(hugging, prefix, tmp_path):
    """Its decoder counts levels in running order; decoder and look-up are equal, the search is DeepSeek's."""
    state = {f'{prefix}{name}': value for name, value in hugging.state_dict().items()}
    folder = write_shards(tmp_path, {**state, **({f'model.{name}': value for name, value in OTHERS.items()
                                                 } if prefix else {})})
    model = build(janus.convert(str(folder), image_size=32))
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        codes = model.encode(image)['pixel']
        theirs = hugging.encode(image, return_dict=True)
        f, table = hugging.quant_conv(theirs.last_hidden_state), hugging.quantize.embedding.weight
        want = (F.normalize(f.flatten(2).transpose(1, 2), dim=-1) @ F.normalize(table, dim=1).t()).argmax(-1)
        assert torch.equal(codes[..., 0], want) and not torch.equal(codes.flatten(), theirs.image_tokens)
        assert is_near(model.decode(dict(pixel=codes)), hugging.decode(codes[..., 0]))


def test_every_published_name_at_full_size():
    """The entries of the release; without their prefix they are those of LlamaGen's vq_ds16_c2i.pt."""
    state = {name.removeprefix('gen_vision_model.'): value for name, value in read_keys('janus').items()
             if name.startswith('gen_vision_model.') and not name.endswith(vqgan.IGNORED)}
    state = vqgan.rename_to_taming(state)
    sizes = vqgan.find_sizes(state, 'the release')
    assert (sizes['size'], sizes['dim'], sizes['blocks'], sizes['attended']) == (16384, 8, 2, [4])
    model = check_whole(vqgan.build_tokenizer_config(sizes, True, 384), vqgan.map_state(state, 'the release'))
    assert model.encoders['cnn'].grid(6) == (24, 24) and model.vocabularies['pixel'].quantizer.codebook.cosine


def test_files_of_another_layout(golden, tmp_path):
    torch.save(OTHERS, tmp_path / 'x.bin')
    with pytest.raises(InputError, match='x.bin is no VQGAN .* its first keys: none'):
        janus.convert(str(tmp_path / 'x.bin'))
    state = vqgan.rename_to_taming({name.removeprefix('gen_vision_model.'): value
                                    for name, value in golden['state_dict'].items()})
    torch.save(state, tmp_path / 'y.bin')
    with pytest.raises(InputError, match='y.bin has the names of a VQGAN of taming-transformers'):
        janus.convert(str(tmp_path / 'y.bin'))
