"""UniTok's published file through the converter, against what its own modules gave (golden_unitok.pt: the layout of the
release with 2 blocks of width 64, 4 codebooks of 32), and all names and shapes of the full size."""
import copy
import zipfile

import pytest
import torch
import torch.nn.functional as F

import dtbox
from dtbox.converters import unitok
from dtbox.errors import InputError
from dtbox.losses.contrastive import SoftmaxContrastiveLoss
from dtbox.registry import TOKENIZERS
from dtbox.structures import Batch
from tests.conftest import DATA
from tests.training.test_damage import damage
from tools.convert_checkpoint import main

KEYS = {name: torch.empty(eval(shape), device='meta') for name, shape in (
    line.strip().split(': ', 1) for line in (DATA / 'keys_unitok.txt').read_text().splitlines()[1:])}


def widen(node):
    """The same with floating tensors in float32, as they were when the values were computed."""
    if isinstance(node, dict):
        return {key: widen(value) for key, value in node.items()}
    return node.float() if torch.is_tensor(node) and node.is_floating_point() else node


@pytest.fixture(scope='module')
def golden():
    return widen(torch.load(DATA / 'golden_unitok.pt', weights_only=True))


@pytest.fixture(scope='module')
def tok(golden, tmp_path_factory):
    folder = tmp_path_factory.mktemp('unitok')
    torch.save(golden['state_dict'], folder / 'unitok_tokenizer.pth')
    main(['unitok', str(folder / 'unitok_tokenizer.pth'), str(folder / 'run'), '--heads', '4'])
    return dtbox.load(folder / 'run')


def is_near(got, want, limit):
    return (got - want).abs().max() <= limit * max(1, want.abs().max())


def test_codes_and_features(tok, golden):
    """Also the tokens before and after `encoder.norm`, which the quantizer reads."""
    out, image = golden['outputs'], golden['inputs']['image']
    codes = tok.encode(image)['unified']
    assert torch.equal(codes, out['codes'].transpose(1, 2))
    with torch.no_grad():
        layers = tok.model(image, layers=[('trunk', 2), ('trunk', 'norm')]).layers
    assert is_near(layers['trunk', 2], out['encoder_before_norm'], 3e-6)
    assert is_near(layers['trunk', 'norm'], out['encoder'], 3e-6)
    vocabulary = tok.model.vocabularies['unified']
    with torch.no_grad():
        assert is_near(vocabulary.combine([out['encoder']]), out['quant_proj'], 3e-6)
        assert is_near(vocabulary.quantizer.decode(codes), out['quantized'], 3e-6)
        assert is_near(vocabulary.features(codes), out['post_quant_proj'], 3e-6)


def test_reconstructions_and_embeddings(tok, golden):
    out, inputs = golden['outputs'], golden['inputs']
    with torch.no_grad():
        images = tok.model.decode(dict(unified=out['codes'].transpose(1, 2)))
        assert is_near(images, out['recon_unclamped'], 1e-5)
        assert is_near(tok.model.pool_image(inputs['image']), out['image_features'], 3e-6)
        assert is_near(tok.model.embed_image(inputs['image']), out['image_embeds'], 3e-6)
        assert is_near(tok.model.pool_text(inputs['text']), out['text_features'], 3e-6)
        assert is_near(tok.model.embed_text(inputs['text']), out['text_embeds'], 3e-6)


def test_a_step_of_training(tok, golden):
    """The loss of the release with the weights of `paper/unitok_256`: 0.25 x the terms of MCQ are its VQ loss."""
    train, inputs = golden['train'], golden['inputs']
    model = copy.deepcopy(tok.model).train().requires_grad_(True)
    quantizer = model.vocabularies['unified'].quantizer
    quantizer.entropy_weight = 0.1 / 0.25
    out = model(inputs['image'], inputs['text'][:train['text_rows']])
    l1, l2 = (out.reconstructions - inputs['image']).abs().mean(), F.mse_loss(out.reconstructions, inputs['image'])
    terms = out.losses['unified']
    vq = 0.25 * (terms['commitment'] + terms['codebook'])
    batch = Batch(images=inputs['image'], texts=inputs['text'][:train['text_rows']])
    clip = SoftmaxContrastiveLoss(duplicates=False)(out, batch)['contrastive']
    for got, name in ((l1, 'l1'), (l2, 'l2'), (vq, 'vq_loss'), (clip, 'contrastive')):
        assert got.item() == pytest.approx(train[name].item(), rel=1e-5), name
    assert 0.25 * terms['entropy'].item() == pytest.approx(0.1 * train['entropy_loss'].item(), rel=1e-3)
    (0.2 * l1 + l2 + vq + 0.25 * terms['entropy'] + clip).backward()
    found = dict(model.named_parameters())
    names = {'encoder.norm.weight': 'encoders.trunk.trunk.norm.weight',
             'quant_proj.attn.q_bias': 'vocabularies.unified.projections.0.attn.q_bias',
             'post_quant_proj.mlp.w0.bias': 'vocabularies.unified.post_projection.mlp.w0.bias',
             'decoder.up_conv4.conv2.weight': 'decoder.up_conv4.conv2.weight',
             'decoder.up_conv2.1.conv2_kxk.weight': 'decoder.up_conv2.1.conv2_kxk.weight',
             'fc_norm.weight': 'head.norm.weight', 'logit_scale': 'text.logit_scale'}
    for theirs, ours in names.items():
        want = train['grads'][theirs]
        assert (found[ours].grad - want).abs().max() <= 3e-4 * want.abs().max(), ours
    want = train['grads']['quantizer.codebooks.3.codebook.weight']
    assert (quantizer.weight.grad[3] - want).abs().max() <= 3e-4 * want.abs().max()


def test_every_published_name_at_full_size(golden):
    """The 1,335 names and shapes of the release make exactly the tokenizer that its arguments say, on no memory."""
    args = dict(golden['state_dict']['args'], img_size=256, vocab_size=32768, vocab_width=64, num_codebooks=8,
                embed_dim=768, text_width=768, text_heads=12, text_layers=12, text_vocab_size=49408,
                text_context_length=77)
    state = {name: torch.zeros(1, 1, 1024) if name == 'encoder.pos_embed' else
             torch.zeros(value.shape) if name.endswith('zero_k_bias') else value for name, value in KEYS.items()}
    assert len(state) == 1335
    with torch.device('meta'):
        model = TOKENIZERS.build(unitok.build_tokenizer_config(args, state))
    found = unitok.map_state(state, args, 'the release')
    ours = {name: value.shape for name, value in model.state_dict().items()}
    assert {name: value.shape for name, value in found.items()} == ours
    trunk = model.encoders['trunk']
    assert (trunk.depth, trunk.trunk.blocks[0].attn.num_heads, trunk.grid(0)) == (31, 16, (16, 16))


@pytest.mark.parametrize('change, says', [
    (lambda f: f.pop('trainer'), r"is not UniTok's published file; expected \{args, trainer"),
    (lambda f: f['args'].pop('img_size'), '`args` of .* lack img_size'),
    (lambda f: f['args'].update(quant_proj='linear'), "quant_proj='linear'"),
    (lambda f: f['trainer']['unitok'].pop('fc_norm.bias'), r'1 missing: fc_norm\.bias'),
    (lambda f: f['trainer']['unitok'].update(extra=torch.ones(1)), '1 left over: extra'),
    (lambda f: f['trainer']['unitok'].pop('decoder.norm.weight'), "lack 'decoder.norm.weight'"),
    (lambda f: f['trainer']['unitok'].update({'encoder.pos_embed': torch.ones(1, 1, 64)}), 'pos_embed of .* not zero')])
def test_files_of_another_layout(golden, tmp_path, change, says):
    file = dict(golden['state_dict'], args=dict(golden['state_dict']['args']),
                trainer=dict(unitok=dict(golden['state_dict']['trainer']['unitok'])))
    change(file)
    torch.save(file, tmp_path / 'x.pth')
    with pytest.raises(InputError, match=says):
        args, state = unitok.read_source(str(tmp_path / 'x.pth'))
        unitok.build_tokenizer_config(args, state, heads=4)
        unitok.map_state(state, args, 'x.pth')


def test_a_file_that_is_damaged_or_compressed(golden, tmp_path):
    """torch reads a flipped bit without a word, and compressed records may unpack to any size."""
    path = tmp_path / 'x.pth'
    torch.save(golden['state_dict'], path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / 'y.pth', 'w', zipfile.ZIP_DEFLATED) as packed:
        for record in archive.infolist():
            packed.writestr(record.filename, archive.read(record))
    damage(path, bytes(512))
    for name, says in (('x.pth', 'x.pth is damaged: its record'), ('y.pth', 'holds the compressed record')):
        with pytest.raises(InputError, match=says):
            unitok.read_source(str(tmp_path / name))


def test_a_width_that_no_published_vitamin_has(golden):
    state = golden['state_dict']['trainer']['unitok']
    with pytest.raises(InputError, match=r'^--heads: the encoder has the width 64; published ViTamins have 384, 768'):
        unitok.build_tokenizer_config(golden['state_dict']['args'], state)
