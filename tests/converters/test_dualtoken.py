"""The published DualToken, through the converter, against golden data."""
import pytest
import torch

import dtbox
from dtbox.tokenizers.passes import Pass
from tests.conftest import write_published


@pytest.fixture(scope='module')
def tok(converted):
    return dtbox.load(converted)


EXACT = 1e-5
"""Tolerance of inner values of up to 11, whose float32 steps are 1e-6. An epsilon of LayerNorm of 1e-5 in place of 1e-6
is 1e-4 away."""


def close(a, b, tolerance):
    assert a.shape == b.shape
    assert (a - b).abs().max().item() <= tolerance


def test_codes_are_equal(tok, golden):
    codes = tok.encode(golden['inputs']['images'])
    for ours, theirs in (('pixel', 'code_pix'), ('semantic', 'code_sem')):
        assert torch.equal(codes[ours], golden['outputs'][theirs].flatten(1, 2))


def test_outputs(tok, golden):
    images = golden['inputs']['images']
    outputs = golden['outputs']
    inner = golden['intermediates']
    with torch.no_grad():
        found = tok.model(images)
    close(found.reconstructions, outputs['images_recon'], 5e-5)
    close(found.features['semantic'], outputs['z_q_sem'], 2e-5)
    close(found.features['pixel'], inner['postquant_pix'], 2e-5)
    close(found.pooled, inner['pooler_output'], 2e-5)
    close(tok.embed_image(images), outputs['image_embeds'], 2e-5)
    close(tok.embed_text(golden['inputs']['text']), outputs['text_embeds'], 2e-5)
    for name, key in (('pixel', 'quant_loss_pix'), ('semantic', 'quant_loss_sem')):
        close(found.losses[name]['commitment'], outputs[key].reshape(()), 2e-5)
    assert float(tok.model.text.logit_scale) == float(outputs['logit_scale'])


def test_inner_values(tok, golden):
    inner = golden['intermediates']
    run = Pass(tok.model, golden['inputs']['images'])
    with torch.no_grad():
        trunk = tok.model.encoders['trunk']
        for layer, hidden in enumerate(inner['hidden_states'][:6]):
            tokens = trunk.run(trunk.embed(run.images), 0, layer, {layer})[1][layer]
            close(tokens, hidden, EXACT)
        close(run.last('trunk'), inner['hidden_states'][6], EXACT)
        pixel, semantic = tok.model.vocabularies['pixel'], tok.model.vocabularies['semantic']
        close(pixel.projections[0](run.tap('trunk', 3)), inner['prequant_pix'], EXACT)
        close(pixel.projections[1](run.tap('trunk', 2)), inner['prequant_shortcut'], EXACT)
        close(pixel.combine([run.tap('trunk', 3), run.tap('trunk', 2)]), inner['quantizer_pix_input'].flatten(1, 2),
              EXACT)
        close(semantic.combine([run.tap('trunk', 5)]), inner['quantizer_sem_input'].flatten(1, 2), EXACT)
        codes = golden['outputs']['code_pix'].flatten(1, 2)
        close(pixel.quantizer.decode_depths(codes), inner['code_emb_with_depth_pix'].flatten(1, 2), 0)
        close(tok.model.text(golden['inputs']['text']), inner['text_pooled'], EXACT)


def official(golden, tmp_path, converted):
    """Open the converted model with the published training updates and without restart, as the training goldens were
    made."""
    from dtbox.config import load_config, resolve
    from dtbox.registry import TOKENIZERS
    cfg = resolve(load_config(converted)).model.tokenizer
    for name, variant in (('pixel', 'rq'), ('semantic', 'rq_ema')):
        cfg.vocabularies[name].quantizer.update(official=True, variant=variant)
        cfg.vocabularies[name].quantizer.codebook.restart = 0.0
    model = TOKENIZERS.build(cfg)
    model.load_state_dict(dtbox.load(converted).model.state_dict())
    return model.train()


def test_training_goldens(golden, golden_train, tmp_path, converted):
    """Two training forwards with the published updates: codes, losses, tables and gradients."""
    model = official(golden, tmp_path, converted)
    images = golden['inputs']['images']
    for step in ('step1', 'step2'):
        want, out = golden_train[step], model(images)
        for name, short in (('pixel', 'pix'), ('semantic', 'sem')):
            assert torch.equal(out.codes[name], want[f'code_{short}'].flatten(1, 2))
            close(out.losses[name]['commitment'].detach(), want[f'quant_loss_{short}'].reshape(()), 2e-5)
            book = model.vocabularies[name].quantizer.codebooks[0]
            after = want[f'quantizer_{short}']
            close(book.weight, after['weight'][:-1], 2e-5)
            close(book.cluster_size, after['cluster_size_ema'], 2e-5)
            close(book.embed_sum, after['embed_ema'], 2e-5)
        close(out.reconstructions.detach(), want['images_recon'], 5e-5)
        close(out.pooled.detach(), want['pooler_output'], 2e-5)
        if step == 'step1':
            check_gradients(model, out, images, golden_train)


PUBLISHED = {'prequant_pix': 'vocabularies.pixel.projections.0',
             'prequant_shortcut': 'vocabularies.pixel.projections.1',
             'prequant_sem': 'vocabularies.semantic.projections.0',
             'postquant_pix': 'vocabularies.pixel.post_projection',
             'postquant_sem': 'vocabularies.semantic.post_projection', 'decoder': 'decoder.decoder'}


def check_gradients(model, out, images, golden_train):
    total = 5 * (out.losses['pixel']['commitment'] + out.losses['semantic']['commitment'])
    total = total + 5 * (out.reconstructions - images).pow(2).mean()
    total = total + (out.pooled * torch.linspace(-1, 1, out.pooled.shape[1])).sum()
    assert total.item() == pytest.approx(float(golden_train['loss_step1']), rel=1e-5)
    total.backward()
    named = dict(model.named_parameters())
    for name, want in golden_train['grads_step1'].items():
        head, _, rest = name.partition('.')
        if name.endswith('self_attn.q_proj.weight'):
            mine = named['encoders.trunk.trunk.blocks.0.attn.qkv.weight'].grad[:64]
        elif name.endswith('head.probe'):
            mine = named['encoders.trunk.trunk.attn_pool.latent'].grad
        else:
            mine = named[f'{PUBLISHED[head]}.{rest}'].grad
        assert ((mine - want).norm() / want.norm()).item() < 1e-5, name
    model.zero_grad()


def test_corrected_update(golden_train, tmp_path, golden, converted):
    """By default the semantic table follows each depth's own residual, as the published code meant to."""
    from dtbox.registry import QUANTIZERS
    before = golden_train['before']['sem']
    rq = QUANTIZERS.build(dict(type='RQ', size=64, dim=16, depth=4,
                               codebook=dict(type='EMACodebook', restart=0.0))).train()
    book = rq.codebooks[0]
    book.weight.copy_(before['weight'][:-1])
    book.cluster_size.copy_(before['cluster_size_ema'])
    book.embed_sum.copy_(before['embed_ema'])
    rq(golden_train['step1']['quantizer_sem_input'].flatten(1, 2))
    close(book.weight, before['weight'][:-1], 0)
    rq.commit()
    want = golden_train['sem_intended_step1']
    close(book.embed_sum, want['embed_ema'], 2e-5)
    close(book.cluster_size, want['cluster_size_ema'], 2e-5)
    close(book.weight, want['weight'][:-1], 2e-5)


def test_restart_of_the_published_update(golden_train):
    from dtbox.registry import QUANTIZERS
    before, want = golden_train['before']['sem'], golden_train['sem_restart_step1']
    rq = QUANTIZERS.build(dict(type='RQ', size=64, dim=16, depth=4, official=True, variant='rq_ema')).train()
    book = rq.codebooks[0]
    book.weight.copy_(before['weight'][:-1])
    book.cluster_size.copy_(before['cluster_size_ema'])
    book.embed_sum.copy_(before['embed_ema'])
    torch.manual_seed(7)
    rq(golden_train['step1']['quantizer_sem_input'].flatten(1, 2))
    assert torch.equal(book.cluster_size == 1, ~want['alive_mask'])
    close(book.cluster_size, want['cluster_size_ema'], 2e-5)
    close(book.embed_sum, want['embed_ema_example_seed7'], 2e-5)


@pytest.mark.parametrize('what', ['no_shortcut', 'no_resize', 'copies_gone', 'old_names'])
def test_other_layouts(golden, tmp_path, what):
    """Configurations that the golden data does not have convert too, and use every key."""
    from dtbox.converters.run_folder import convert

    def change(config, state, towers):
        if what == 'no_shortcut':
            config['layer_shortcut'] = None
            for key in [k for k in state if k.startswith('prequant_shortcut')]:
                del state[key]
        elif what == 'no_resize':
            config['decoder_latent_shape'] = None
        elif what == 'copies_gone':
            for key in [k for k in state if '.codebooks.' in k and '.codebooks.0.' not in k]:
                del state[key]
        else:
            for key in list(state):
                new = key.replace('quantizer_pix', 'quantizer_pixel').replace('quant_sem', 'quant_semantic')
                state[new] = state.pop(key)

    src, siglip = write_published(tmp_path, golden, change)
    convert('dualtoken', src, tmp_path / 'run', siglip=siglip)
    tok = dtbox.load(tmp_path / 'run')
    codes = tok.encode(golden['inputs']['images'])
    assert torch.equal(codes['semantic'], golden['outputs']['code_sem'].flatten(1, 2))
    assert tok.decode(codes).shape == (2, 3, 40, 40) if what == 'no_resize' else (2, 3, 32, 32)


@pytest.mark.parametrize('change, says', [
     (lambda c, s, t: s.pop('siglip_model.vision_model.head.probe'),
      r'1 missing: siglip_model\.vision_model\.head\.probe'),
     (lambda c, s, t: s.update({'prequant_new.weight': torch.ones(1)}), r'1 left over: prequant_new\.weight'),
     (lambda c, s, t: s.update({'prequant_pix.attn.zero_k_bias': torch.eye(64)[0]}),
      r'prequant_pix\.attn\.zero_k_bias is not zero'),
     (lambda c, s, t: s.update({'decoder.conv_out.bias': torch.ones(4)}),
      r'decoder\.decoder\.conv_out\.bias: \(4,\) ' r'in the file, \(3,\)'),
     (lambda c, s, t: t['vision_config'].update(num_hidden_layers=5), r'16 left over: .*layers\.5'),
     (lambda c, s, t: c.pop('vq_pix'), r"no entry 'vq_pix'"),
     (lambda c, s, t: t.pop('text_config'), r'no vision_config and text_config')])
def test_mismatches_are_listed(golden, tmp_path, change, says):
    from dtbox.converters.run_folder import convert
    src, siglip = write_published(tmp_path, golden, change)
    with pytest.raises(dtbox.InputError, match=says):
        convert('dualtoken', src, tmp_path / 'run', siglip=siglip)
    assert not (tmp_path / 'run').exists()
