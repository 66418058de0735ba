"""TokenFlow's published files through the converter, against what its own modules gave (golden_tokenflow_*.pt: the
layout of the release with 2 or 3 blocks, 64 codes of 12 + 6 channels, for each of the three semantic encoders), and all
names and shapes of the full size."""
import copy

import pytest
import torch
import torch.nn.functional as F

import dtbox
from dtbox.converters import tokenflow
from dtbox.errors import InputError
from dtbox.losses.semantic import SemanticLoss
from dtbox.quantizers.scale_wise import ScaleWiseRQ
from dtbox.registry import TOKENIZERS
from dtbox.structures import Batch, TeacherOutput
from tests.converters.published import is_near, is_near_gradient, read_golden, read_keys
from tools.convert_checkpoint import main

KINDS = {'clipb': ('semantic', 'norm'), 'vitamin': ('semantic', 2), 'siglip': ('semantic', 2)}
"""Semantic encoder -> tap of the semantic vocabulary."""
OPTIONS = dict(clipb=[], vitamin=['--heads', '4'], siglip=['--heads', '4', '--image-size', '60'])


class Case:
    """A golden file and the tokenizer that it was converted to."""

    def __init__(self, kind, folder):
        self.kind, self.folder = kind, folder
        self.golden = read_golden(f'tokenflow_{kind}')
        torch.save(self.golden['state_dict'], folder / 'x.pt')
        self.tok = self.convert('run', '--scales', '1,2,3,4')

    def convert(self, name, *options):
        main(['tokenflow', str(self.folder / 'x.pt'), str(self.folder / name), *OPTIONS[self.kind], *options])
        return dtbox.load(self.folder / name)


@pytest.fixture(scope='module', params=KINDS)
def case(request, tmp_path_factory):
    return Case(request.param, tmp_path_factory.mktemp(request.param))


def to_tokens(maps):
    return maps.flatten(2).transpose(1, 2)


def test_features_and_codes(case):
    """The semantic encoder's tokens, both vocabularies before the quantizer, and one index for both."""
    out, image = case.golden['outputs'], case.golden['inputs']['image']
    tap = KINDS[case.kind]
    codes = case.tok.encode(image)
    assert list(codes) == ['joint'] and torch.equal(codes['joint'][..., 0], out['codes'])
    with torch.no_grad():
        layers = case.tok.model(image, layers=[tap, ('cnn', 6)]).layers
        vocabularies = case.tok.model.vocabularies
        assert is_near(layers[tap], out['sem_encoder'], 3e-6)
        assert is_near(vocabularies['semantic'].combine([layers[tap]]), out['sem_feature'], 3e-6)
        assert is_near(vocabularies['pixel'].combine([layers['cnn', 6]]), to_tokens(out['pix_feature']), 1e-5)


def test_semantic_features_and_images(case):
    """From all codes, and from those of the first three scales."""
    out, model = case.golden['outputs'], case.tok.model
    codes = dict(joint=out['codes'][..., None])
    quantizer = model.quantizers['joint']
    assert is_near(quantizer.decode(codes['joint']), to_tokens(out['quantized']), 1e-5)
    assert is_near(case.tok.features(codes)['semantic'], out['sem_recon'], 3e-6)
    first = dict(joint=codes['joint'][:1, :out['prefix_codes']])
    assert is_near(case.tok.features(first, scales=3)['semantic'], out['prefix_sem_recon'], 3e-6)
    if case.kind == 'siglip':
        assert model.decoder.working_size == (64, 64) and case.tok.image_size == (60, 60)
        model.decoder.image_size = (64, 64)  # what is decoded, before it is resized
        assert is_near(case.tok.decode(codes, clamp=False), out['recon_before_resize'], 1e-5)
        model.decoder.image_size = (384, 384)  # the published code resizes to this, whatever the input
        assert is_near(case.tok.decode(codes, clamp=False)[..., ::8, ::8], out['recon_384_every8'], 1e-5)
        model.decoder.image_size = (60, 60)
    else:
        assert is_near(case.tok.decode(codes, clamp=False), out['recon'], 1e-5)
        assert is_near(case.tok.decode(first, clamp=False, scales=3), out['prefix_recon'], 1e-5)
    assert case.tok.reconstruct(case.golden['inputs']['image']).shape == case.golden['inputs']['image'].shape


def test_residuals_and_rows_of_each_scale(case):
    """Rows of length 1 in both parts, subtracted from a residual that is not normalised."""
    out, quantizer = case.golden['outputs'], case.tok.model.quantizers['joint']
    h = torch.cat([out['sem_feature'], to_tokens(out['pix_feature'])], -1)
    parts = quantizer.scales.split(out['codes'][..., None])
    rest = quantizer.grid.unflatten(h)
    for i, (grid, codes) in enumerate(zip(quantizer.scales.grids, parts)):
        rows = quantizer.inner.decode(codes)
        assert is_near(grid.unflatten(rows), out['q_scale'][i], 1e-5)
        assert is_near(grid.unflatten(quantizer.shrink(rest, grid)), out['residual_scale'][i], 1e-5)
        rest = rest - quantizer.enlarge(rows, i, quantizer.scales)


def prepare_training(case, dropped=None):
    """The model in training with the entropy of the golden run, and without chance."""
    model = copy.deepcopy(case.tok.model).train().requires_grad_(True)
    quantizer = model.quantizers['joint']
    quantizer.inner.entropy_weight = case.golden['config']['entropy_loss_ratio']
    object.__setattr__(quantizer, '_draw_dropped', lambda: dropped)
    if case.kind == 'siglip':
        model.decoder.image_size = (64, 64)
    return model


def read_terms(losses):
    """vq, commit and entropy: 0.25 times the terms of the quantizer, but for its entropy."""
    return 0.25 * losses['codebook'], 0.25 * losses['commitment'], losses['entropy']


def test_a_step_of_training(case):
    """The terms of the release, its loss and gradients; no gradient where it has none."""
    train, image = case.golden['train'], case.golden['inputs']['image']
    model = prepare_training(case)
    out = model(image)
    terms = read_terms(out.losses['joint'])
    for name, got in zip(('vq', 'commit', 'entropy'), terms):
        assert got.item() == pytest.approx(train[name].item(), rel=1e-5), name
    target = torch.zeros_like(out.reconstructions) if case.kind == 'siglip' else image
    rec = F.mse_loss(out.reconstructions, target)
    loss = SemanticLoss('semantic', mse=0, cosine=1)
    semantic = loss(out.replace(teacher=TeacherOutput(tokens=train['target'])), Batch(images=image))['semantic_tokens']
    total = rec + sum(terms) + 1 + semantic
    assert rec.item() == pytest.approx(train['rec'].item(), rel=1e-5)
    assert total.item() == pytest.approx(train['loss'].item(), rel=1e-5)
    total.backward()
    found = dict(model.named_parameters())
    idle = sum(p.grad is None for p in found.values())
    assert (idle > 0) == (case.kind == 'siglip') == bool(train['params_without_grad'])
    semantic, pixel = 'vocabularies.semantic', 'vocabularies.pixel'
    names = {'encode_task_layer.2.weight': f'{semantic}.projections.0.fc2.weight',
             'encode_task_layer.0.bias': f'{semantic}.projections.0.fc1.bias',
             'encoder.conv_in.weight': 'encoders.cnn.conv_in.weight',
             'decoder.conv_out.weight': 'decoder.decoder.conv_out.weight',
             'decoder_vqkd.cls_token': f'{semantic}.post_projection.cls_token',
             'decoder_vqkd.blocks.0.attn.q_bias': f'{semantic}.post_projection.blocks.0.attn.q_bias',
             'decoder_vqkd.fc_norm.weight': f'{semantic}.post_projection.fc_norm.weight',
             'decode_task_layer.2.bias': f'{semantic}.post_projection.head.fc2.bias'}
    for theirs, ours in names.items():
        assert is_near_gradient(found[ours].grad, train['grads'][theirs]), ours
    for theirs, ours in (('quant_conv', f'{pixel}.projections.0.fc'),
                         ('post_quant_conv', f'{pixel}.post_projection.fc')):
        assert is_near_gradient(found[f'{ours}.weight'].grad, train['grads'][f'{theirs}.weight'].flatten(1)), ours
    table = found['quantizers.joint.inner.codebook.weight'].grad
    for part, name in zip(table.split([12, 6], 1), ('vqkd', 'vqgan')):
        assert is_near_gradient(part, train['grads'][f'quantize.embedding_{name}.weight']), name


def test_a_dropped_scale(case):
    """A step without the last of four scales: its terms are means over three."""
    drop, out = case.golden['train']['drop'], case.golden['outputs']
    quantizer = prepare_training(case, dropped=3).quantizers['joint']
    result = quantizer(torch.cat([out['sem_feature'], to_tokens(out['pix_feature'])], -1))
    assert torch.equal(result.codes[:, :14, 0], drop['codes']) and result.codes.shape == (2, 30, 1)
    assert is_near(result.features, to_tokens(drop['quantized']), 1e-5)
    for name, got in zip(('vq', 'commit', 'entropy'), read_terms(result.losses)):
        assert got.item() == pytest.approx(drop[name].item(), rel=1e-5), name


def test_positions_of_another_image_size(tmp_path):
    """80 pixels instead of 64: both tables of positions are enlarged by 5.1 / 4."""
    case = Case('clipb', tmp_path)
    tok, out = case.convert('wide', '--scales', '1,2,3,4,5', '--image-size', '80'), case.golden['interpolated']
    state = tok.model.state_dict()
    assert is_near(state['encoders.semantic.trunk.pos_embed'], out['clip_pos'], 1e-6)
    assert is_near(state['vocabularies.semantic.post_projection.pos_embed'], out['dec_pos'], 1e-6)
    codes = tok.encode(out['image'])
    assert torch.equal(codes['joint'][..., 0], out['codes'])
    with torch.no_grad():
        layers = tok.model(out['image'], layers=[('semantic', 'norm')]).layers
    assert is_near(layers['semantic', 'norm'], out['sem_encoder'], 3e-6)
    assert is_near(tok.features(codes)['semantic'], out['sem_recon'], 3e-6)
    assert is_near(tok.decode(codes, clamp=False), out['recon'], 1e-5)


@pytest.mark.parametrize('kind, size, tokens, blocks', [
    ('clipb', 224, 14, 4), ('vitamin', 256, 16, 2), ('siglip', 384, 27, 2)])
def test_every_published_name_at_full_size(kind, size, tokens, blocks):
    """The names and shapes of the release make exactly the tokenizer of its size, on no memory."""
    keys = read_keys(f'tokenflow_{kind}')
    for name in ('scaling_layer.shift', 'scaling_layer.scale'):
        if name in keys:
            keys[name] = torch.ones(keys[name].shape)
    state = tokenflow.rename_to_taming(keys)
    plan = tokenflow.read_plan(state, 'the release')
    with torch.device('meta'):
        model = TOKENIZERS.build(tokenflow.build_tokenizer_config(plan))
    found = tokenflow.map_state(state, plan, 'the release')
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in model.state_dict().items()}
    quantizer = model.quantizers['joint']
    assert type(quantizer) is ScaleWiseRQ and quantizer.grid.map_shape == (tokens, tokens)
    assert model.image_size == (size, size) and len(model.decoder.decoder.up[0].block) == blocks + 1
    assert model.encoders['cnn'].working_size == (16 * tokens, 16 * tokens)


@pytest.mark.parametrize('change, options, says', [
    (lambda s: s.pop('quantize.embedding_vqgan.weight'), {}, 'not a tokenizer of TokenFlow: it lacks quantize'),
    (lambda s: s.pop('decoder_vqkd.cls_token'), {}, r'1 missing: decoder_vqkd\.cls_token'),
    (lambda s: s.pop('encoder_vqkd.ln_post.bias'), {}, r'1 missing: encoder_vqkd\.ln_post\.bias'),
    (lambda s: s.pop('decode_task_layer.2.weight'), {}, r"lacks 'decode_task_layer\.2\.weight'"),
    (lambda s: s.update(extra=torch.ones(1)), {}, '1 left over: extra'),
    (lambda s: s.pop('encoder_vqkd.conv1.weight'), {}, 'semantic encoder of another kind'),
    (lambda s: s.update({'decoder_vqkd.pos_embed': torch.ones(1, 16, 48)}), {}, 'a class token and a square grid'),
    (lambda s: None, dict(scales=None), r'^--scales: there are no published scales for a token grid of 4 x 4, '),
    (lambda s: None, dict(image_size=70), r'^--image-size: images of 70 pixels do not divide into patches of 16')])
def test_files_of_another_layout(tmp_path, change, options, says):
    file = read_golden('tokenflow_clipb')['state_dict']
    change(file['model'])
    torch.save(file, tmp_path / 'x.pt')
    with pytest.raises(InputError, match=says):
        state = tokenflow.read_source(str(tmp_path / 'x.pt'))
        plan = tokenflow.read_plan(state, 'x.pt', **{'scales': [1, 2, 3, 4], **options})
        tokenflow.build_tokenizer_config(plan)
        tokenflow.map_state(state, plan, 'x.pt')


def test_scales_that_do_not_end_at_the_grid(tmp_path):
    state = tokenflow.rename_to_taming(read_golden('tokenflow_clipb')['state_dict']['model'])
    config = tokenflow.build_tokenizer_config(tokenflow.read_plan(state, 'x.pt', scales=[1, 2, 3]))
    with pytest.raises(InputError, match='the scales end at a 3 x 3 token grid, and the features lie on a 4 x 4'):
        TOKENIZERS.build(config)


def test_siglip_keeps_its_grid():
    state = tokenflow.rename_to_taming(read_golden('tokenflow_siglip')['state_dict']['model'])
    with pytest.raises(InputError, match='^--image-size: images of 80 pixels have 5 x 5 patches of 14'):
        tokenflow.read_plan(state, 'x.pt', image_size=80, scales=[1, 5], heads=4)
