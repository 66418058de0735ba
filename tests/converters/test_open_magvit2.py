"""Open-MAGVIT2's published file through the converter, against what its own modules gave (golden_open_magvit2.pt: 8
bits, 16 x 16 tokens), and all names and shapes of the full size."""
import copy

import pytest
import torch
import torch.nn.functional as F

import dtbox
from dtbox.converters import open_magvit2
from dtbox.errors import InputError
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
    return read_golden('open_magvit2')


@pytest.fixture(scope='module')
def source(golden, tmp_path_factory):
    path = tmp_path_factory.mktemp('magvit2') / 'imagenet_256_L.ckpt'
    torch.save(golden['state_dict'], path)
    return str(path)


@pytest.fixture(scope='module')
def plain(source):
    return build(open_magvit2.convert(source, 'plain', 32))


def check_outputs(model, image, want):
    """Codes, the encoder's output, the quantized map and the image."""
    codes = model.encode(image)['pixel']
    grid = model.encoders['cnn'].grid(3)
    assert torch.equal(codes.flatten(), want['codes'])
    with torch.no_grad():
        if 'h' in want:
            assert is_near(to_map(model(image, layers=[('cnn', 3)]).layers['cnn', 3], grid), want['h'])
            assert torch.equal(to_map(model.vocabularies['pixel'].quantizer.decode(codes), grid), want['quantized'])
        assert is_near(model.decode(dict(pixel=codes)), want['recon'])


def test_averages_are_taken_and_said(source, golden, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('dtbox.weights.entries.print_log', lambda text, *_, **__: said.append(text))
    main(['open_magvit2', source, str(tmp_path / 'run')])
    assert 'the averages under `model_ema.` are taken in place of' in said[0]
    check_outputs(dtbox.load(tmp_path / 'run').model, golden['inputs']['image'], golden['outputs'])


def test_plain_weights_and_wide_images(plain, source, golden):
    check_outputs(plain, golden['inputs']['image'], golden['outputs_raw'])
    wide = golden['outputs_raw_wide']
    check_outputs(build(open_magvit2.convert(source, 'plain', (24, 40))), wide['image'], wide)


def test_several_codes_of_a_token(source, plain, golden):
    """As the published language models split them; features and images are the same."""
    want, image = golden['factorised'], golden['inputs']['image']
    model = build(open_magvit2.convert(source, 'plain', 32, want['bits']))
    codes = model.encode(image)['pixel']
    assert model.vocabularies['pixel'].quantizer.codebook_sizes == [8, 32]
    assert torch.equal(codes[..., 0].flatten(), want['pre']) and torch.equal(codes[..., 1].flatten(), want['post'])
    whole = plain.encode(image)
    assert torch.equal(model.features(dict(pixel=codes))['pixel'], plain.features(whole)['pixel'])
    with pytest.raises(InputError, match=r'`parts` is \[3, 4\]; expected positive numbers .* sum to `dim` 8'):
        build(open_magvit2.convert(source, 'plain', 32, [3, 4]))


def test_a_step_of_training(plain, golden):
    train, image = golden['train'], golden['inputs']['image']
    model = copy.deepcopy(plain).train().requires_grad_(True)
    out = model(image)
    terms = out.losses['pixel']
    assert terms['entropy'].item() == pytest.approx(0.1 * train['entropy_aux'].item(), rel=1e-5)
    assert terms['commitment'].item() == pytest.approx(0.25 * train['commit'].item(), rel=1e-5)
    loss = F.mse_loss(out.reconstructions, image) + terms['entropy'] + terms['commitment']
    assert loss.item() == pytest.approx(train['loss'].item(), rel=1e-5)
    loss.backward()
    check_gradients(model, train['grads'], {name: our_name(name) for name in train['grads']}, 1e-3)


@pytest.mark.parametrize('levels, size', [(5, 256), (4, 128)])
def test_every_published_name_at_full_size(levels, size):
    """The 256-pixel model, and the 128-pixel one: the same without the last doubled level."""
    state = {name: value for name, value in read_keys('open_magvit2').items() if not name.startswith('model_ema.')}
    if levels == 4:
        state = drop_level(state)
    sizes = open_magvit2.find_sizes(state, 'the release')
    assert (sizes['bits'], sizes['encoder']['blocks'], sizes['decoder']['blocks']) == (18, 4, 4)
    config = open_magvit2.build_tokenizer_config(sizes)
    assert config['image_size'] == size and len(sizes['decoder']['multipliers']) == levels
    model = check_whole(config, open_magvit2.map_state(state, 'the release'))
    assert model.encoders['cnn'].grid(levels + 1) == (16, 16)


def drop_level(state):
    """Weights of multipliers (1, 2, 2, 4) from those of (1, 1, 2, 2, 4): without level 0, whose width is that of 1."""
    found = {}
    for name, value in state.items():
        parts = name.split('.')
        if parts[1] in ('down', 'up', 'adaptive'):
            if parts[2] == '0':
                continue
            parts[2] = str(int(parts[2]) - 1)
        if name.startswith(('decoder.up.1.upsample', )):
            continue
        found['.'.join(parts)] = value
    return found


@pytest.mark.parametrize('change, says', [
    (lambda s: s.pop('decoder.adaptive.0.gamma.weight'), r'is no Open-MAGVIT2: expected encoder.mid_block'),
    (lambda s: s.update(extra=torch.ones(1)), '1 left over: extra'),
    (lambda s: s.pop('encoder.down.1.block.0.conv1.weight'), "lacks 'encoder.down.1.block.0.conv1.weight'"),
    (lambda s: s.pop('decoder.adaptive.1.beta.bias'), r'1 missing: decoder.decoder.adaptive.1.beta.bias')])
def test_files_of_another_layout(golden, tmp_path, change, says):
    state = {name: value for name, value in golden['state_dict']['state_dict'].items()
             if not name.startswith('model_ema.')}
    change(state)
    torch.save(dict(state_dict=state), tmp_path / 'x.ckpt')
    with pytest.raises(InputError, match=says):
        build(open_magvit2.convert(str(tmp_path / 'x.ckpt'), image_size=32))
