"""IBQ's and Emu3.5's published files through the converter, against what their own modules gave (golden_ibq.pt: the
layout of the release, 16 x 16 tokens, 64 codes), and all names and shapes of the full size."""
import copy

import pytest
import torch
import torch.nn.functional as F
import yaml

import dtbox
from dtbox.converters import ibq, vqgan
from dtbox.errors import InputError
from dtbox.registry import QUANTIZERS
from tests.converters.cnn_kit import (
    build,
    check_gradients,
    check_whole,
    is_near,
    our_name,
    read_golden,
    read_keys,
    to_map,
)
from tools.convert_checkpoint import main


@pytest.fixture(scope='module')
def golden():
    return read_golden('ibq')


@pytest.fixture(scope='module')
def source(golden, tmp_path_factory):
    path = tmp_path_factory.mktemp('ibq') / 'imagenet256_64.ckpt'
    torch.save(golden['state_dict'], path)
    return path


@pytest.fixture(scope='module')
def plain(source):
    return build(ibq.convert(str(source), 'plain', 32))


def check_outputs(model, image, want):
    """Codes, features before and after the quantizer, and the image."""
    codes = model.encode(image)['pixel']
    grid = model.encoders['cnn'].grid(3)
    assert torch.equal(codes.flatten(), want['codes'])
    with torch.no_grad():
        vocabulary = model.vocabularies['pixel']
        if 'f' in want:
            layer = model(image, layers=[('cnn', 3)]).layers['cnn', 3]
            assert is_near(to_map(vocabulary.combine([layer]), grid), want['f'])
        assert is_near(to_map(vocabulary.quantizer.decode(codes), grid), want['quantized'], 3e-6)
        assert is_near(model.decode(dict(pixel=codes)), want['recon'])


def test_averages_are_taken_and_said(source, golden, tmp_path, monkeypatch):
    """The evaluation of the release uses them; their names have lost their dots."""
    said = []
    monkeypatch.setattr('dtbox.weights.entries.print_log', lambda text, *_, **__: said.append(text))
    main(['ibq', str(source), str(tmp_path / 'run'), '--image-size', '32'])
    assert 'the averages under `model_ema.` are taken in place of' in said[0]
    check_outputs(dtbox.load(tmp_path / 'run').model, golden['inputs']['image'], golden['outputs'])


@pytest.mark.parametrize('entry', [None, 'model_ema', 'state_dict.model_ema'])
def test_averages_by_their_name(source, golden, entry):
    """Also where the losses were taken out of the plain weights alone."""
    state = {name: value for name, value in golden['state_dict']['state_dict'].items() if not name.startswith('loss.')}
    path = source.parent / 'no_losses.ckpt'
    torch.save(dict(state_dict=state), path)
    found, _ = vqgan.read_source(str(path), entry)
    assert torch.equal(found['encoder.conv_in.weight'], state['model_ema.encoderconv_inweight'])
    assert not torch.equal(found['encoder.conv_in.weight'], state['encoder.conv_in.weight'])


def test_plain_weights(plain, golden):
    check_outputs(plain, golden['inputs']['image'], golden['outputs_raw'])


def write_emu(folder, golden, **config):
    """Emu3.5's folder with the plain weights: flat, without averages and losses."""
    state = {name: value for name, value in golden['state_dict']['state_dict'].items()
             if not name.startswith(('model_ema.', 'loss.'))}
    torch.save(state, folder / 'model.ckpt')
    text = yaml.safe_dump({**golden['config'], **config})
    (folder / 'config.yaml').write_text(text)
    return folder


def test_emu_of_wide_images(golden, tmp_path):
    """Attention stays at the last level, whatever its size."""
    folder = write_emu(tmp_path, golden)
    model = build(ibq.convert(str(folder), image_size=(32, 48)))
    check_outputs(model, golden['outputs_emu35']['image'], golden['outputs_emu35'])
    assert ibq.convert(str(folder)).config['image_size'] == golden['config']['ddconfig']['resolution']


def test_a_step_of_training(plain, golden):
    """Terms of the published loss and their gradients; `floor` is a part of the published entropy."""
    train, image = golden['train'], golden['inputs']['image']
    model = copy.deepcopy(plain).train().requires_grad_(True)
    out = model(image)
    terms = out.losses['pixel']
    total = terms['index'] + terms['commitment'] + terms['codebook']
    assert total.item() == pytest.approx(train['quant_loss'].item(), rel=1e-5)
    assert terms['entropy'].item() == pytest.approx(0.05 * train['entropy_loss'].item(), rel=1e-5)
    loss = F.mse_loss(out.reconstructions, image) + total + terms['entropy']
    assert loss.item() == pytest.approx(train['loss'].item(), rel=1e-5)
    loss.backward()
    names = {name: our_name(name) for name in train['grads']}
    names['quantize.embedding.weight'] = 'vocabularies.pixel.quantizer.weight'
    check_gradients(model, train['grads'], names, 1e-3)


def test_codes_whose_probabilities_round_to_one_number():
    """The argmax of the softmax, as published: the first of two rows whose probabilities are one float32."""
    quantizer = QUANTIZERS.build(dict(type='IBQ', size=3, dim=1))
    quantizer.weight.data.copy_(torch.tensor([[-1.0], [1e-9], [2e-9]]))
    z = torch.ones(1, 1, 1)
    assert quantizer.encode(z).item() == 1 == quantizer(z).codes.item()


def test_every_published_name_at_full_size():
    """The names of the release, plain and averaged, and the 131,072 codes of Emu3.5."""
    state = {name: value for name, value in read_keys('ibq').items() if not name.startswith('model_ema.')}
    sizes = vqgan.find_sizes(state, 'the release')
    assert (sizes['size'], sizes['dim'], sizes['blocks'], sizes['attended']) == (262144, 256, 4, [4])
    model = check_whole(vqgan.build_tokenizer_config(sizes, False, 256, ibq.QUANTIZER),
                        vqgan.map_state(state, 'the release', 'weight'))
    assert model.encoders['cnn'].grid(6) == (16, 16)
    averaged = {name for name in read_keys('ibq') if name.startswith('model_ema.')}
    assert averaged - {'model_ema.decay', 'model_ema.num_updates'} == {
        f'model_ema.{name.replace(".", "")}' for name in state}


@pytest.mark.parametrize('change, says', [
    (dict(n_embed=65), r'do not belong together: n_embed 65 in the config, 64 in the weights'),
    (dict(ddconfig=dict(ch_mult=[1, 1])), r'ch_mult \[1, 1\] in the config, \[2, 1\] in the weights'),
    (dict(ddconfig=3), r'config.yaml has no entry `ddconfig`')])
def test_configs_of_other_sizes(golden, tmp_path, change, says):
    with pytest.raises(InputError, match=says):
        ibq.convert(str(write_emu(tmp_path, golden, **change)))


def test_folders_and_files_of_another_layout(golden, tmp_path):
    with pytest.raises(InputError, match=r'holds no weights; expected Emu3.5'):
        ibq.convert(str(tmp_path))
    state = golden['state_dict']['state_dict']
    torch.save({**state, 'encoder.extra': torch.ones(1), 'extra': torch.ones(1)}, tmp_path / 'x.ckpt')
    with pytest.raises(InputError, match='1 left over: extra'):
        ibq.convert(str(tmp_path / 'x.ckpt'))
