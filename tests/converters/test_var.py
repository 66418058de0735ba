"""VAR's published file through the converter, against what its own modules gave (golden_var.pt: the layout of the
release with 3 levels of width 32 and 64, 48 codes of width 24), and all names and shapes of the full size."""
import copy

import pytest
import torch
import torch.nn.functional as F

import dtbox
from dtbox.converters import var
from dtbox.errors import InputError
from dtbox.registry import QUANTIZERS, TOKENIZERS
from tests.converters.published import is_near, is_near_gradient, read_golden, read_keys
from tools.convert_checkpoint import main


@pytest.fixture(scope='module')
def golden():
    return read_golden('var')


@pytest.fixture(scope='module')
def tok(golden, tmp_path_factory):
    folder = tmp_path_factory.mktemp('var')
    torch.save(golden['state_dict'], folder / 'vae.pth')
    main(['var', str(folder / 'vae.pth'), str(folder / 'run')])
    return dtbox.load(folder / 'run')


@pytest.fixture
def quantizer(tok):
    return tok.model.vocabularies['pixel'].quantizer


def to_tokens(maps):
    return maps.flatten(2).transpose(1, 2)


def test_codes_of_ten_scales(tok, golden):
    """The latent map, 680 codes in the order of the scales, their layout and flat ids."""
    out, image = golden['outputs'], golden['inputs']['image']
    codes = tok.encode(image)['pixel']
    assert torch.equal(codes[..., 0], out['codes_flat'])
    assert torch.equal(torch.cat(out['codes'], 1), out['codes_flat'])
    layout = tok.layout.stream('pixel').token_layout
    assert layout.to_dict() == dict(type='Scales', sizes=[[n, n] for n in var.SCALES])
    assert torch.equal(layout.split(codes)[8][..., 0], out['codes'][8])
    ids = tok.flat_ids({'pixel': codes})
    assert torch.equal(ids, out['codes_flat']) and torch.equal(tok.from_flat_ids(ids)['pixel'], codes)
    with torch.no_grad():
        layers = tok.model(image, layers=[('cnn', 4)]).layers
    f = tok.model.vocabularies['pixel'].combine([layers['cnn', 4]])
    assert is_near(f, to_tokens(out['f']), 1e-5)


def test_images_of_all_and_of_the_first_scales(tok, golden, quantizer):
    """The first six scales give the same image whether the codes end there or go on."""
    out, codes = golden['outputs'], dict(pixel=golden['outputs']['codes_flat'][..., None])
    assert is_near(quantizer.decode(codes['pixel']), to_tokens(out['f_hat']), 1e-5)
    assert is_near(tok.decode(codes, clamp=False), out['recon_unclamped'], 1e-5)
    first = dict(pixel=codes['pixel'][:1, :91])
    assert is_near(quantizer.decode_prefix(first['pixel']), to_tokens(out['f_hat_5']), 1e-5)
    assert is_near(tok.decode(first, scales=6), out['recon_scale5'], 1e-5)
    assert torch.equal(tok.decode(dict(pixel=codes['pixel'][:1]), scales=6), tok.decode(first, scales=6))
    assert is_near(tok.reconstruct(golden['inputs']['image']), out['recon_unclamped'].clamp(-1, 1), 1e-5)


def test_input_of_a_model_that_predicts_scales(golden, quantizer):
    """All of it from all codes; that of the second scale from the code of the first."""
    out = golden['outputs']
    codes = out['codes_flat'][..., None]
    whole = quantizer.var_input(codes)
    assert is_near(whole[:1], out['var_input'], 1e-5)
    assert is_near(quantizer.var_input(codes[:, :1]), to_tokens(out['next_input_scale0']), 1e-5)
    assert torch.equal(quantizer.var_input(codes[:, :424]), whole)


def test_other_scales_with_the_same_weights(golden, quantizer):
    """Five scales, with the convolutions that belong to them."""
    out = golden['outputs']['alt_scales']
    scales, f = out['v_patch_nums'], to_tokens(golden['outputs']['f'])
    codes = quantizer.encode(f, scales)
    assert torch.equal(codes[..., 0], torch.cat(out['codes'], 1))
    assert is_near(quantizer.decode(codes, scales), to_tokens(out['f_hat']), 1e-5)
    for layout in (golden['outputs'], out):
        kinds = layout['phi_of_scale']
        assert [quantizer.convs.choose(i, len(kinds)) for i in range(len(kinds))] == kinds


@pytest.mark.parametrize('name', ['shared', 'nonshared', 'nophi', 'znorm'])
def test_other_kinds_of_quantizer(golden, name):
    """One convolution for all scales, one for each, none; codes found by direction."""
    case = golden['variants'][name]
    state = {f'quantize.{key}': value for key, value in case['state_dict'].items()}
    convs, names = var.find_convs(state)
    assert convs == dict(shared=1, nonshared='each', nophi=None, znorm=4)[name]
    inner = 'DirectionVQ' if name == 'znorm' else 'VQ'
    quantizer = QUANTIZERS.build(dict(
        type='MultiScaleRQ', scales=case['config']['v_patch_nums'], convs=convs,
        quantizer=dict(type=inner, size=48, dim=24, codebook=dict(type='GradientCodebook'))))
    with torch.no_grad():
        quantizer.inner.codebook.weight.copy_(state[var.TABLE])
        for i, key in enumerate(names):
            quantizer.convs.convs[i].weight.copy_(state[f'{key}.weight'])
            quantizer.convs.convs[i].bias.copy_(state[f'{key}.bias'])
    f = to_tokens(case['f'])
    codes = quantizer.encode(f)
    assert torch.equal(codes[..., 0], torch.cat(case['codes'], 1))
    assert is_near(quantizer.decode(codes), to_tokens(case['f_hat']), 1e-5)
    assert 0.25 * sum(quantizer(f).losses.values()).item() == pytest.approx(case['vq_loss'].item(), rel=1e-5)


def test_a_step_of_training(tok, golden):
    """The loss of the release and its gradients: 0.25 times the terms are its VQ loss."""
    train, image = golden['train'], golden['inputs']['image'].clone().requires_grad_(True)
    model = copy.deepcopy(tok.model).train().requires_grad_(True)
    out = model(image)
    assert is_near(out.reconstructions[:1], train['recon_first'], 1e-5)
    vq = 0.25 * sum(out.losses['pixel'].values())
    loss = F.mse_loss(out.reconstructions, image.detach()) + vq
    assert vq.item() == pytest.approx(train['vq_loss'].item(), rel=1e-5)
    assert loss.item() == pytest.approx(train['loss'].item(), rel=1e-5)
    loss.backward()
    found = {name: p.grad for name, p in model.named_parameters()}
    assert all(grad is not None for grad in found.values())
    quantizer = 'vocabularies.pixel.quantizer'
    names = {'encoder.conv_in.weight': 'encoders.cnn.conv_in.weight',
             'quant_conv.weight': 'vocabularies.pixel.projections.0.conv.weight',
             'quantize.embedding.weight': f'{quantizer}.inner.codebook.weight',
             'quantize.quant_resi.qresi_ls.0.weight': f'{quantizer}.convs.convs.0.weight',
             'quantize.quant_resi.qresi_ls.2.bias': f'{quantizer}.convs.convs.2.bias',
             'quantize.quant_resi.qresi_ls.3.weight': f'{quantizer}.convs.convs.3.weight',
             'post_quant_conv.bias': 'vocabularies.pixel.post_projection.conv.bias',
             'decoder.conv_out.weight': 'decoder.decoder.conv_out.weight',
             'decoder.up.1.block.0.norm1.weight': 'decoder.decoder.up.1.block.0.norm1.weight'}
    for theirs, ours in names.items():
        assert is_near_gradient(found[ours], train['grads'][theirs]), ours
    fused = torch.cat([found[f'encoders.cnn.down.2.attn.0.{x}.bias'] for x in 'qkv'])
    assert is_near_gradient(fused, train['grads']['encoder.down.2.attn.0.qkv.bias'])
    assert is_near_gradient(image.grad[:1], train['grad_x_first'])


def test_every_published_name_at_full_size():
    """The 324 names and shapes of the release make exactly the tokenizer of 256 pixels, on no memory."""
    keys = read_keys('var')
    assert len(keys) == 324
    keys['quantize.embedding.weight'] = torch.zeros(keys['quantize.embedding.weight'].shape)
    state = var.split_attention(keys)
    with torch.device('meta'):
        model = TOKENIZERS.build(var.build_tokenizer_config(state, None, 'the release'))
    found = var.map_state(state, 'the release')
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert model.image_size == (256, 256) and model.budget().tokens == 680


@pytest.mark.parametrize('change, says', [
    (lambda s: s.pop('quantize.embedding.weight'), "is not VAR's multi-scale tokenizer"),
    (lambda s: s.pop('quant_conv.bias'), r'1 missing: quant_conv\.bias'),
    (lambda s: s.pop('post_quant_conv.weight'), "lacks 'post_quant_conv.weight'"),
    (lambda s: s.pop('quantize.quant_resi.qresi_ls.2.bias'), r'1 missing: quantize\.quant_resi\.qresi_ls\.2\.bias'),
    (lambda s: s.update(extra=torch.ones(1)), '1 left over: extra'),
    (lambda s: s.update({'quantize.ema_vocab_hit_SV': torch.ones(5, 48)}),
     '^--scales: .* counts the codes of 5 scales')])
def test_files_of_another_layout(golden, tmp_path, change, says):
    state = dict(golden['state_dict'])
    change(state)
    torch.save(state, tmp_path / 'x.pth')
    with pytest.raises(InputError, match=says):
        found = var.read_source(str(tmp_path / 'x.pth'))
        var.build_tokenizer_config(found, None, 'x.pth')
        var.map_state(found, 'x.pth')


@pytest.mark.parametrize('codes, scales, says', [
    (torch.zeros(1, 55, 1, dtype=torch.int64), None, r'expected \[B, 680, 1\] for the pyramid of 680 tokens'),
    (torch.zeros(1, 56, 1, dtype=torch.int64), 5, r'expected \[B, 55, 1\], those of the first 5 scales, or all 680'),
    (torch.zeros(1, 680, 1, dtype=torch.int64), 11, 'expected how many of the 10 scales are read')])
def test_codes_of_another_length(tok, codes, scales, says):
    with pytest.raises(InputError, match=says):
        tok.decode(dict(pixel=codes), scales=scales)


@pytest.mark.parametrize('scales', ['1,a', '1,,2', '0,2', '1,99999'])
def test_sizes_of_scales_at_the_command_line(capsys, scales):
    with pytest.raises(SystemExit):
        main(['var', 'x.pth', 'run', '--scales', scales])
    says = f'{scales!r} came; expected the rows of each scale, from 1 to 1024, such as 1,2,4,8'
    assert says in capsys.readouterr().err
