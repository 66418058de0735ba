"""The composition: what runs, in which order, and what reads what."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.layout import Grid
from dtbox.registry import TOKENIZERS
from dtbox.tokenizers.visual import Pass
from tests.tokenizers.conftest import MODEL, PLAIN, PREFIXED, RQ, blocks_run, build, dualtoken, vocabulary


def count_calls(module):
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


# ---- work that was not asked for is not done -----------------------------------------------------------------

@pytest.mark.parametrize('ask, blocks', [
    (lambda m, x: m.encode(x, ['pixel']), [1, 2]), (lambda m, x: m.encode(x, 'pixel'), [1, 2]),
    (lambda m, x: m.encode(x, ['semantic']), [1, 2, 3]),
    (lambda m, x: m.encode(x), [1, 2, 3]), (lambda m, x: m.encode(x, ['semantic', 'pixel']), [1, 2, 3]),
    (lambda m, x: m.encode(x, []), []),
    (lambda m, x: m.embed_image(x), [1, 2, 3, 4]), (lambda m, x: m(x), [1, 2, 3, 4])])
def test_blocks_that_run(images, ask, blocks):
    model = build()
    calls = blocks_run(model)
    ask(model, images)
    assert calls == blocks


def test_parts_that_run(images):
    model = build()
    pixel, decoder = count_calls(model.vocabularies['pixel'].projections[0]), count_calls(model.decoder)
    model.encode(images, ['semantic'])
    model.embed_image(images)
    assert not pixel and not decoder  # neither asks for pixel codes
    model(images, reconstruct=False)
    assert len(pixel) == 1 and not decoder
    assert model(images, reconstruct=False).reconstructions is None


def test_without_a_head_the_last_block_rests(images):
    model = build(head=None)
    calls = blocks_run(model)
    assert model(images).pooled is None and calls == [1, 2, 3]


# ---- re-injection -------------------------------------------------------------------------------------------

@pytest.mark.parametrize('encoder', [PLAIN, PREFIXED])
def test_reinjection_by_hand(images, encoder):
    """A tap at layer 3 reads what was there before, layer 4 and the head what replaced it; prefix tokens stay as they
    were."""
    model = build(encoders=dict(trunk=encoder), vocabularies=dict(
        after=vocabulary(4), semantic=vocabulary(3, reinject=3), same=vocabulary(3)), decoder=None)
    trunk, voc = model.encoders['trunk'], model.vocabularies
    with torch.no_grad():
        h3, tapped = trunk.run(trunk.embed(images), 0, 3, {3})
        semantic = voc['semantic']([tapped[3]])
        replaced = torch.cat([h3[:, :trunk.num_prefix_tokens], semantic.features], 1)
        h4 = trunk.trunk.blocks[3](replaced)
        untouched = trunk.trunk.blocks[3](h3)
        out = model(images)
    assert trunk.num_prefix_tokens == (5 if encoder is PREFIXED else 0) and replaced.shape == h3.shape
    assert torch.equal(out.codes['semantic'], semantic.codes)
    assert torch.equal(out.features['semantic'], semantic.features)
    assert torch.allclose(out.features['same'], voc['same']([tapped[3]]).features, atol=1e-6)
    after = voc['after']([trunk.patches(h4)])
    assert torch.equal(out.codes['after'], after.codes)
    assert torch.allclose(out.features['after'], after.features, atol=1e-5)
    assert torch.allclose(out.pooled, trunk.pool(h4), atol=1e-5)
    assert not torch.allclose(trunk.pool(untouched), out.pooled, atol=1e-3)


def test_order_of_vocabularies_does_not_matter(images):
    parts = dict(pixel=vocabulary({2: 1.0, 1: 0.6}), semantic=vocabulary(3, reinject=3), late=vocabulary([4, 0]))
    torch.manual_seed(3)
    model = build(vocabularies=parts)
    want = model(images)
    mirrored = build(vocabularies=dict(reversed(parts.items())))
    mirrored.load_state_dict(model.state_dict())
    found = mirrored(images)
    assert all(torch.equal(found.codes[n], want.codes[n]) for n in parts) and torch.equal(found.pooled, want.pooled)
    for names in (['late', 'pixel'], ['late'], ['pixel', 'late', 'semantic']):
        codes = mirrored.encode(images, names)
        assert list(codes) == names and all(torch.equal(codes[n], want.codes[n]) for n in names)


def test_embedding_may_be_tapped_after_deeper_layers(images):
    model = build(vocabularies=dict(deep=vocabulary(3), shallow=vocabulary(0)), decoder=None)
    trunk = model.encoders['trunk']
    with torch.no_grad():
        want = model.vocabularies['shallow'].encode([trunk.patches(trunk.embed(images))])
    assert torch.equal(model.encode(images)['shallow'], want) and torch.equal(model(images).codes['shallow'], want)


def test_two_reinjections_in_a_row(images):
    model = build(vocabularies=dict(b=vocabulary(3, reinject=4), a=vocabulary(1, reinject=2)), decoder=None)
    trunk = model.encoders['trunk']
    with torch.no_grad():
        h2, tapped = trunk.run(trunk.embed(images), 0, 2, {1, 2})
        a = model.vocabularies['a']([tapped[1]])
        h4, tapped = trunk.run(a.features, 2, 4, {3})
        b = model.vocabularies['b']([tapped[3]])
        out = model(images)
    assert torch.equal(out.codes['a'], a.codes) and torch.equal(out.codes['b'], b.codes)
    assert torch.allclose(out.pooled, trunk.pool(b.features), atol=1e-5)  # behind the last block too
    assert torch.equal(model.encode(images, ['b'])['b'], b.codes)


def test_features_reinjected_are_those_of_the_codes(images):
    """What a language model hands back continues exactly as the image did."""
    model = build()
    out = model(images)
    features = model.features({'semantic': out.codes['semantic']})['semantic']
    assert torch.allclose(features, out.features['semantic'], atol=1e-5)
    trunk = model.encoders['trunk']
    assert torch.allclose(trunk.pool(trunk.run(features, 3, 4)[0]), out.pooled, atol=1e-4)


def test_two_vocabularies_cannot_replace_one_layer():
    with pytest.raises(InputError,
                       match=r'^model\.vocabularies\.semantic\.reinject: .*`pixel` and `semantic` both re-inject after '
                             r'layer 3'):
        TOKENIZERS.build(dualtoken(vocabularies=dict(pixel=vocabulary(2, reinject=3),
                                                     semantic=vocabulary(3, reinject=3))), where='model')


def test_vocabularies_that_wait_for_one_another():
    two = dict(a=PLAIN, b=PLAIN)
    with pytest.raises(InputError, match='the vocabularies x, y wait for each other'):
        TOKENIZERS.build(dualtoken(encoders=two, head=None, decoder=None, vocabularies=dict(
            x=vocabulary(['a:2', 'b:4'], reinject=2), y=vocabulary(['b:2', 'a:4'], reinject=2), z=vocabulary('a:1'))))
    build(encoders=two, head=None, decoder=None, vocabularies=dict(
        x=vocabulary(['a:2', 'b:4'], reinject=2), y=vocabulary(['b:2', 'a:2'], reinject=2)))


def test_reinjection_carries_gradients(images):
    model = build().train()
    model(images).pooled.sum().backward()
    for name in ('projections.0', 'post_projection'):
        assert all(p.grad is not None for p in model.vocabularies['semantic'].get_submodule(name).parameters())
    assert all(p.grad is None for p in model.vocabularies['pixel'].parameters())


# ---- several encoders ---------------------------------------------------------------------------------------

def test_two_encoders(images):
    """An SDTok-like pair: taps of both encoders in one vocabulary; only the encoders that are needed run."""
    model = build(encoders=dict(a=PLAIN, b=PREFIXED), head=dict(type='TrunkPool', encoder='b'), vocabularies=dict(
        pixel=vocabulary('a:2'), both=vocabulary({'b:3': 1.0, 'a:4': 0.5})))
    a, b = blocks_run(model, 'a'), blocks_run(model, 'b')
    codes = model.encode(images)
    assert a == [1, 2, 3, 4] and b == [1, 2, 3]
    with torch.no_grad():
        xa = model.encoders['a'].run(model.encoders['a'].embed(images), 0, 4, {4})[1][4]
        xb = model.encoders['b'].run(model.encoders['b'].embed(images), 0, 3, {3})[1][3]
        voc = model.vocabularies['both']
        z = voc.projections[0](xb) + 0.5 * voc.projections[1](xa)
    assert torch.equal(codes['both'], voc.quantizer.encode(z))
    a.clear(), b.clear()
    model.encode(images, ['pixel'])
    assert a == [1, 2] and b == []
    other = model.encoders['b']
    assert torch.allclose(model(images).pooled, other.pool(other.run(other.embed(images), 0, 4)[0]), atol=1e-5)


# ---- decoder, head, text ------------------------------------------------------------------------------------

@pytest.mark.parametrize('reads', [['pixel', 'semantic'], ['semantic', 'pixel']])
def test_decoder_reads_several_vocabularies(images, reads):
    model = build(decoder=dict(type='LightCNNDecoder', reads=reads, width=32, blocks=1))
    assert model.decoder.in_dim == 64
    out = model(images)
    want = model.decoder(torch.cat([out.features[n] for n in reads], -1))
    assert torch.equal(out.reconstructions, want) and out.reconstructions.shape == (2, 3, 16, 16)
    assert torch.allclose(model.decode(out.codes), out.reconstructions, atol=1e-5)


def test_decoder_reads_all_by_default_and_one_by_name(images):
    assert build(decoder=dict(type='LightCNNDecoder', width=32)).reads == ['pixel', 'semantic']
    model = build(decoder=dict(type='LightCNNDecoder', reads='semantic', width=32))
    out = model(images)
    assert model.reads == ['semantic']
    assert torch.allclose(model.decode({'semantic': out.codes['semantic']}), out.reconstructions, atol=1e-5)


@pytest.mark.parametrize('encoder', [PLAIN, PREFIXED])
@pytest.mark.parametrize('reads', [None, 'semantic'])
def test_mean_pool_on_a_vocabulary(images, reads, encoder):
    model = build(encoders=dict(trunk=encoder), head=dict(type='MeanPool', out_dim=6, reads=reads))
    calls = blocks_run(model)
    pooled = model.pool_image(images)
    assert calls == ([1, 2, 3] if reads else [1, 2, 3, 4]) and pooled.shape == (2, 6)
    out = model(images)
    tokens = out.features['semantic']
    if not reads:
        trunk, run = model.encoders['trunk'], Pass(model, images)
        tokens = trunk.patches(run.last('trunk'))
    assert torch.allclose(model.head.fc(model.head.norm(tokens.mean(1))), pooled, atol=1e-5)
    assert torch.allclose(out.pooled, pooled, atol=1e-5)
    assert torch.allclose(model.embed_image(images).norm(dim=1), torch.ones(2))


TEXT = dict(type='OpenCLIPText', embed_dim=32,
            text_cfg=dict(context_length=4, vocab_size=6, width=32, heads=2, layers=1))


def test_text_tower(images):
    model = build(text=TEXT)
    ids = torch.tensor([[1, 2, 3, 0], [5, 0, 0, 0], [1, 0, 0, 0]])
    out = model(images, ids)
    assert out.text_pooled.shape == (3, 32)
    assert out.logit_scale is model.text.logit_scale
    assert out.logit_bias is model.text.logit_bias
    assert torch.allclose(model.embed_text(ids), out.text_pooled / out.text_pooled.norm(dim=1, keepdim=True), atol=1e-6)
    alone = model(images)
    assert alone.text_pooled is None and alone.logit_scale is None


def test_an_encoder_alone(images):
    """A text-aligned encoder before it has vocabularies."""
    model = build(vocabularies=None, decoder=None)
    out = model(images)
    assert out.codes == out.features == out.losses == model.encode(images) == {} and out.pooled.shape == (2, 32)


def test_everything_that_a_pass_found(images):
    out = build()(images)
    assert out.images is images and list(out.codes) == list(out.features) == list(out.losses) == ['pixel', 'semantic']
    assert out.codes['pixel'].shape == (2, 16, 2) and out.features['pixel'].shape == (2, 16, 32)
    assert out.losses['pixel'].keys() == {'commitment'} and out.teacher is None


@pytest.mark.parametrize('call, says', [
    (lambda m, x: m.decode({}), 'has no decoder'), (lambda m, x: m.pool_image(x), 'has no head'),
    (lambda m, x: m.embed_text(['a']), 'has no text tower'),
    (lambda m, x: m.encode(x, ['pixle']),
     r'there is no vocabulary `pixle`\. Did you mean `pixel`\? This tokenizer has: pixel, semantic'),
    (lambda m, x: m.features({'colour': None}), 'there is no vocabulary `colour`'),
    (lambda m, x: m.features({'pixel': torch.zeros(2, 15, 2).long()}),
     r'\[2, 15, 2\]; expected \[B, 16, 2\] for the 4 x 4 token grid'),
    (lambda m, x: m.features({'pixel': torch.zeros(16, 2).long()}), r'\[16, 2\]; expected'),
    (lambda m, x: m.features({'pixel': torch.full((2, 16, 2), 8)}), 'codes at depth 0 reach from 8 to 8'),
    (lambda m, x: m(x[:0]), 'the batch is empty'), (lambda m, x: m.encode(x[..., :15]), r'\[2, 3, 16, 15\]; expected')])
def test_what_is_not_there(images, call, says):
    with pytest.raises(InputError, match=says):
        call(build(decoder=None, head=None), images)


def test_decoding_needs_the_codes_it_reads(images):
    model = build()
    with pytest.raises(InputError, match='needs the codes of pixel; missing: pixel. Got: semantic'):
        model.decode({'semantic': model.encode(images)['semantic']})


@pytest.mark.parametrize('changes, says', [
    (dict(encoders={}), r'^model\.encoders: a tokenizer needs at least one'),
    (dict(encoders=dict(trunk=dict(type='TimVit'))),
     r'^model\.encoders\.trunk: `TimVit` is not registered under encoders\. Did you mean `TimmViT`'),
    (dict(encoders=dict(trunk=dict(PLAIN, image_size=32))),
     r'^model\.encoders\.trunk\.image_size: this encoder takes images of \(32, 32\)'),
    (dict(image_size='16'), r"^model.image_size: `image_size` is '16'"),
    (dict(image_size=3), r'^model\.encoders\.trunk: images of 3 x 3 pixels'),
    (dict(image_size=24, decoder=dict(type='LightCNNDecoder', reads=['pixel'], image_size=16, width=32)),
     r'^model\.decoder: '),
    (dict(decoder=dict(type='LightCNNDecoder', reads=['pixl'])),
     r'^model\.decoder\.reads: the decoder reads `pixl`.*Did you mean `pixel`'),
    (dict(decoder=dict(type='LightCNNDecoder', reads=[])), r'^model\.decoder\.reads: the decoder needs vocabularies'),
    (dict(head=dict(type='TrunkPool', encoder='tronk')), r'^model\.head\.encoder: .*Did you mean `trunk`'),
    (dict(head=dict(type='MeanPool', out_dim=3, reads='semantics')), r'^model\.head\.reads: .*Did you mean `semantic`'),
    (dict(head=dict(type='MeanPool')), r'^model\.head: `MeanPool` needs the argument `out_dim`'),
    (dict(text=dict(TEXT, embed_dim=16)), r'^model\.head: the head gives embeddings of width 32, the text tower of 16'),
    (dict(vocabularies=dict(pixel=vocabulary(5))), r'^model\.vocabularies\.pixel\.taps: tap `5` is beyond'),
    (dict(vocabularies=dict(pixel=vocabulary(1, quantizer=dict(RQ, sise=3)))),
     r'^model\.vocabularies\.pixel\.quantizer: .*Did you mean `size`')])
def test_what_cannot_be_built(changes, says):
    with pytest.raises(InputError, match=says):
        TOKENIZERS.build(dualtoken(**changes), where='model')


def test_weights_errors_name_the_part(tmp_path):
    torch.save({'x': torch.ones(1)}, tmp_path / 'w.pt')
    model = build(encoders=dict(trunk=dict(PLAIN, weights=str(tmp_path / 'w.pt'))))
    with pytest.raises(InputError, match=r'^encoders\.trunk: .*w\.pt does not match VisionTransformer'):
        model.init_weights()
    assert build().init_weights() is None


def test_images_need_not_be_square():
    model = build(image_size=(16, 24), decoder=dict(type='LightCNNDecoder', reads=['pixel'], width=32))
    images = torch.zeros(1, 3, 16, 24)
    out = model(images)
    assert model.vocabularies['pixel'].layout == Grid(4, 6)
    assert out.codes['pixel'].shape == (1, 24, 2)
    assert out.reconstructions.shape == images.shape


def test_commit_and_discard_reach_every_codebook(images):
    model = build().train()
    books = [v.quantizer.codebooks[0] for v in model.vocabularies.values()]
    model(images)
    model.discard()
    model.commit()
    assert [int(b.updates) for b in books] == [0, 0]
    model(images), model(images)
    model.commit()
    assert [int(b.updates) for b in books] == [1, 1] and not any(b.pending for b in books)


def test_encode_in_training_collects_nothing(images):
    model = build(vocabularies=dict(pixel=vocabulary(2), semantic=vocabulary(3, reinject=3))).train()
    model.encode(images)
    assert not any(v.quantizer.codebooks[0].pending for v in model.vocabularies.values())


def test_autocast_keeps_the_residual_stream(images):
    """Re-injected features come in the type of the tokens that they replace."""
    for encoder in (PLAIN, PREFIXED):
        model = build(encoders=dict(trunk=encoder))
        want = model(images)
        with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
            run = Pass(model, images)
            run.vocabulary('semantic')
            before = run.tokens['trunk'].dtype
            run._reinject('trunk', 3)
            assert run.tokens['trunk'].dtype == before
            assert torch.nn.functional.cosine_similarity(model(images).pooled.float(), want.pooled).min() > 0.9
    assert MODEL['depth'] == 4


# ---- the tap after the final norm ------------------------------------------------------------------------------------

@pytest.mark.parametrize('encoder', [PLAIN, PREFIXED])
def test_the_tap_after_the_norm(images, encoder):
    """It is timm's `forward_features` without the prefix tokens; no head or other layer is needed for it."""
    model = build(encoders=dict(trunk=encoder), vocabularies=dict(
        late=vocabulary({'norm': 1.0, 4: 0.5}), pixel=vocabulary(1)), head=None)
    trunk, late = model.encoders['trunk'], model.vocabularies['late']
    calls = blocks_run(model)
    with torch.no_grad():
        out = model(images)
        assert calls == [1, 2, 3, 4]
        last = trunk.run(trunk.embed(images), 0, 4, {4})[1][4]
        normed = trunk.trunk.forward_features(images)[:, trunk.num_prefix_tokens:]
        want = late([normed, last])
    assert torch.equal(out.codes['late'], want.codes)
    assert torch.allclose(out.features['late'], want.features, atol=1e-5)
    assert torch.equal(model.encode(images, ['late'])['late'], want.codes)
    del calls[:]
    model.encode(images, ['pixel'])
    assert calls == [1]
    asked = model(images, layers=[('trunk', 'norm'), ('trunk', 2)]).layers
    assert torch.allclose(asked['trunk', 'norm'], normed, atol=1e-5) and asked['trunk', 2].shape == normed.shape


def test_the_norm_sees_what_is_reinjected(images):
    """Features put back after the last block are what the norm norms."""
    model = build(vocabularies=dict(semantic=vocabulary(4, reinject=4), late=vocabulary('norm')), decoder=None)
    trunk, voc = model.encoders['trunk'], model.vocabularies
    with torch.no_grad():
        last = trunk.run(trunk.embed(images), 0, 4)[0]
        normed = trunk.trunk.norm(voc['semantic']([last]).features)
        out = model(images)
    assert torch.allclose(out.features['late'], voc['late']([normed]).features, atol=1e-5)
    assert torch.allclose(out.pooled, trunk.trunk.forward_head(normed), atol=1e-5)


def test_the_norm_that_is_tapped_learns(images):
    model = build(vocabularies=dict(late=vocabulary('norm')), head=None, decoder=None).train()
    model(images).features['late'].sum().backward()
    assert model.encoders['trunk'].trunk.norm.weight.grad.abs().sum() > 0


@pytest.mark.parametrize('name, says', [
    ('CNNEncoder', 'encoder `trunk` has none'), ('TimmViT', r'encoder `trunk` has none .*fc_norm=False')])
def test_encoders_without_a_norm(name, says):
    """VQGAN's last layer holds its norm already; timm's `fc_norm` norms what is pooled."""
    encoder = dict(type='CNNEncoder', channels=32, multipliers=(1, 1, 1), blocks=1, latent_channels=32) \
        if name == 'CNNEncoder' else dict(PLAIN, model_args=dict(MODEL, fc_norm=True, global_pool='avg'))
    with pytest.raises(InputError, match=r'^model\.vocabularies\.late\.taps: .*' + says):
        TOKENIZERS.build(dualtoken(encoders=dict(trunk=encoder), vocabularies=dict(late=vocabulary('norm')), head=None,
                                   decoder=None), where='model')


def test_encode_in_training_mode_collects_nothing():
    """Also when it passes a re-injection on its way to a deeper tap."""
    from dtbox.registry import TOKENIZERS
    q = dict(type='VQ', size=8, dim=4)
    model = TOKENIZERS.build(dict(
        type='VisualTokenizer', image_size=16,
        encoders=dict(trunk=dict(type='TimmViT', name='vit_base_patch16_siglip_224',
                                 model_args=dict(embed_dim=32, depth=4, num_heads=2, patch_size=4))),
        vocabularies=dict(early=dict(taps=1, reinject=2, quantizer=q), late=dict(taps=3, quantizer=q)))).train()
    x = torch.rand(2, 3, 16, 16)
    model.encode(x)
    model.encode(x, ['late'])
    assert all(not v.quantizer.codebook.pending and v.quantizer.training for v in model.vocabularies.values())
    model(x)
    assert all(len(v.quantizer.codebook.pending) == 1 for v in model.vocabularies.values())
