"""Tokenizers whose tokens are a sequence, several scales, or continuous, from parts that dtbox does not know."""
import json
import math
import re

import pytest
import torch

from dtbox.apis.export import list_parts
from dtbox.apis.tokenizer import Tokenizer
from dtbox.errors import InputError
from dtbox.layout import CodeLayout, CodeOrder, Grid, Scales, Sequence
from dtbox.registry import DECODERS, TOKENIZERS
from dtbox.structures import Budget
from tests.tokenizers.layout_parts import PARTS

LINEAR = dict(type='LinearProjection')
FSQ = dict(type='FSQ', levels=[5, 3])
VQ = dict(type='VQ', size=8, dim=4)


@pytest.fixture(autouse=True)
def parts():
    """The parts are registered during a test."""
    for registry, part in PARTS:
        registry.register_module(module=part)
    yield
    for registry, part in PARTS:
        del registry.module_dict[part.__name__]


def config(encoder, decoder, quantizer=FSQ, **vocabulary):
    return dict(type='VisualTokenizer', image_size=16, encoders=dict(trunk=dict(type=encoder)),
                decoder=dict(type=decoder),
                vocabularies=dict(code=dict(dict(taps=2, quantizer=quantizer, projection=LINEAR), **vocabulary)))


def build(*args, **vocabulary):
    cfg = config(*args, **vocabulary)
    return Tokenizer(TOKENIZERS.build(cfg).eval(), [], dict(tokenizer=cfg, pipeline=[]))


CASES = {
    'sequence': (('Latents', 'QueryDecoder'), Sequence(5), Sequence(5), [15]),
    'scales': (('Pyramid', 'SumDecoder', VQ), Scales([1, 2, 4]), Scales([1, 2, 4]), [8]),
    'scales of codes': (('Patches', 'LightCNNDecoder', dict(type='MultiScale', dim=3)), Scales([1, 2, 4]), Grid(4, 4),
                        [8])}


@pytest.fixture(params=CASES)
def case(request):
    """(tokenizer, layout of its codes, layout of its features, codebook sizes)."""
    args, layout, features, sizes = CASES[request.param]
    return build(*args), layout, features, sizes


@pytest.fixture
def images():
    return torch.rand(3, 3, 16, 16) * 2 - 1


def test_codes_have_a_token_for_each_of_the_layout(case, images):
    tok, layout, features, sizes = case
    out = tok.model(images)
    assert tok.layout.stream('code').token_layout == layout
    assert tok.model.vocabularies['code'].layout == layout
    assert tok.model.vocabularies['code'].feature_layout == features
    assert out.codes['code'].shape == (3, layout.tokens, len(sizes))
    assert out.features['code'].shape == (3, features.tokens, 8)
    assert out.reconstructions.shape == images.shape
    assert torch.equal(tok.encode(images)['code'], out.codes['code'])


def test_flat_ids_and_back(case, images):
    tok, layout, _, sizes = case
    codes = tok.encode(images)
    ids = tok.flat_ids(codes)
    assert ids.shape == (3, layout.tokens)
    assert tok.flat_size == sum(sizes)
    assert torch.equal(tok.from_flat_ids(ids)['code'], codes['code'])
    assert torch.allclose(tok.decode(codes, clamp=False), tok.model(images).reconstructions, atol=1e-5)
    assert torch.equal(tok.decode(tok.from_flat_ids(ids)), tok.reconstruct(images))
    with pytest.raises(InputError, match=re.escape(f'expected [B, {layout.tokens}, 1] for the {layout}')):
        tok.flat_ids({'code': codes['code'][:, 1:]})


def test_saved_and_loaded(case, images, tmp_path):
    tok, layout, *_ = case
    tok.save_pretrained(tmp_path / 'out')
    again = Tokenizer.from_pretrained(tmp_path / 'out')
    assert again.layout == tok.layout
    assert CodeLayout.from_dict(json.loads(json.dumps(tok.layout.to_dict()))) == tok.layout
    assert torch.equal(again.encode(images)['code'], tok.encode(images)['code'])
    assert torch.equal(again.reconstruct(images), tok.reconstruct(images))


def test_it_trains(case, images):
    tok, *_ = case
    model = tok.model.train()
    model(images).reconstructions.square().mean().backward()
    model.commit()
    assert model.encoders['trunk'].embedding.weight.grad.abs().sum() > 0


def test_budget_and_export(case):
    tok, layout, _, sizes = case
    assert tok.model.budget() == Budget(layout.tokens, layout.tokens, layout.tokens * math.log2(*sizes))
    codes, = list_parts(tok)['decode'].example(batch=2)
    assert codes.shape == (2, layout.tokens, 1)


def test_scale_by_scale(images):
    """The codes of VAR in small, coarse to fine; the first scale is one code."""
    tok = build(*CASES['scales of codes'][0])
    codes = tok.encode(images)['code']
    first, second, third = tok.layout.stream('code').token_layout.split(codes)
    assert (first.shape, second.shape, third.shape) == ((3, 1, 1), (3, 4, 1), (3, 16, 1))
    assert torch.equal(tok.flat_ids({'code': codes}, CodeOrder('slice')), tok.flat_ids({'code': codes}))


def test_two_vocabularies_of_different_layouts(images):
    """Pixels on scales, semantics in a sequence: codes of both, and a decoder that reads one of them."""
    cfg = config('Pyramid', 'SumDecoder')
    cfg['encoders']['other'] = dict(type='Latents')
    cfg['vocabularies']['code']['taps'] = 'trunk:2'
    cfg['vocabularies']['words'] = dict(taps='other:2', quantizer=FSQ, projection=LINEAR)
    with pytest.raises(InputError, match='^decoder.reads: the decoder needs vocabularies of one token layout; it reads '
                                         'code a pyramid of 21 tokens .1 x 1, 2 x 2, 4 x 4., words a sequence of 5 '
                                         'tokens'):
        TOKENIZERS.build(cfg)
    cfg['decoder']['reads'] = 'code'
    tok = Tokenizer(TOKENIZERS.build(cfg).eval(), [])
    codes = tok.encode(images)
    assert {name: value.shape for name, value in codes.items()} == dict(code=(3, 21, 1), words=(3, 5, 1))
    assert tok.offsets == dict(code=[0], words=[15])
    assert tok.flat_ids(codes).shape == (3, 26)


# ---- what does not fit is refused when the config is built
# --------------------------------------------------------------

@pytest.mark.parametrize('encoder, decoder, says', [
    ('Pyramid', 'LightCNNDecoder', r'^decoder: the vocabularies code give features on a pyramid of 21 tokens \(1 x 1, '
     r'2 x 2, 4 x 4\) \(Scales\), but LightCNNDecoder takes Grid\. Choose a decoder that takes it \(SumDecoder\)'),
    ('Latents', 'CNNDecoder', r'a sequence of 5 tokens \(Sequence\), but CNNDecoder takes Grid\. .*QueryDecoder\)'),
    ('Patches', 'QueryDecoder',
     r'4 x 4 token grid \(Grid\), but QueryDecoder takes Sequence\. .*CNNDecoder, LightCNNDecoder')])
def test_a_decoder_of_another_layout(encoder, decoder, says):
    with pytest.raises(InputError, match=says):
        TOKENIZERS.build(config(encoder, decoder))


def test_no_decoder_takes_the_layout():
    del DECODERS.module_dict['SumDecoder']
    try:
        with pytest.raises(InputError, match=r'No registered decoder takes it: write one with `accepts = \(Scales,\)`'):
            TOKENIZERS.build(config('Pyramid', 'ViTDecoder'))
    finally:
        DECODERS.register_module(module=dict((p.__name__, p) for _, p in PARTS)['SumDecoder'])


def test_a_decoder_with_the_old_argument():
    """A plugin that still takes `grid` is told what to take instead."""
    class Old(DECODERS.get('LightCNNDecoder')):
        def __init__(self, in_dim, grid, image_size):
            super().__init__(in_dim, Grid(*grid), image_size)

    cfg = config('Patches', 'LightCNNDecoder')
    cfg['decoder']['type'] = Old
    with pytest.raises(InputError, match='^decoder: Old takes the argument `grid`, which is now `layout`'):
        TOKENIZERS.build(cfg)


@pytest.mark.parametrize('encoder, quantizer, change, says', [
    ('Patches', dict(type='MultiScale', dim=3, scales=[1, 2]), {},
     r'^vocabularies\.code\.quantizer\.scales: the last scale is a 2 x 2 token grid, the features lie on a 4 x 4 token '
     r'grid'),
    ('Latents', dict(type='MultiScale', dim=3), {},
     r'quantizer: MultiScale needs tokens on a grid .* a sequence of 5 tokens'),
    ('Latents', FSQ, dict(taps=[0, 2]),
     r'^vocabularies\.code\.taps: the taps have different token layouts: trunk:0 a 4 x 4 token grid, trunk:2 a '
     r'sequence')])
def test_a_vocabulary_of_another_layout(encoder, quantizer, change, says):
    with pytest.raises(InputError, match=says):
        TOKENIZERS.build(config(encoder, 'LightCNNDecoder', quantizer, **change))


def test_features_that_cannot_go_back():
    """Latent tokens do not replace patches."""
    with pytest.raises(InputError,
                       match=r'^vocabularies\.code\.reinject: .*on the 4 x 4 token grid do not fit layer 1 of '
                                         r'`trunk` \(width 8, sequence of 5 tokens\)'):
        TOKENIZERS.build(config('Latents', 'LightCNNDecoder', taps=0, reinject=1))


# ---- without codes
# ------------------------------------------------------------------------------------------------------

@pytest.fixture
def continuous():
    return build('Patches', 'LightCNNDecoder', dict(type='NoQuantizer', dim=4))


def test_a_continuous_vocabulary_has_no_codes(continuous, images):
    out = continuous.model(images)
    assert out.codes == {}
    assert out.reconstructions.shape == images.shape
    assert not continuous.layout.stream('code').has_codes
    assert continuous.flat_size == 0
    assert 'code: no codes' in repr(continuous)


def test_what_needs_codes_says_so(continuous, images):
    codes = {'code': torch.zeros(3, 16, 0).long()}
    for call in (lambda: continuous.flat_ids(codes),
                 lambda: continuous.decode(codes), lambda: continuous.model.budget(),
                 lambda: continuous.features(codes),
                 lambda: continuous.from_flat_ids(torch.zeros(3, 0).long())):
        with pytest.raises(InputError, match='the stream `code` is continuous: it has no codes'):
            call()


def test_latents_in_the_place_of_codes(continuous, images):
    """`encode` gives latents, `decode` the images of the whole pass, and both say what they expect."""
    latents = continuous.encode(images)
    assert latents['code'].shape == (3, 16, 4)
    with torch.no_grad():
        want = continuous.model(images).reconstructions
    torch.testing.assert_close(continuous.decode(latents, clamp=False), want)
    torch.testing.assert_close(continuous.reconstruct(images, clamp=False), want)
    assert continuous.features(latents)['code'].shape == (3, 16, 8)
    with pytest.raises(InputError, match=r'missing: code'):
        continuous.decode({})
    with pytest.raises(InputError, match=r'expected latents as `encode` gives them, floats \[B, N, 4\]'):
        continuous.decode({'code': torch.zeros(3, 16, 5)})
    with pytest.raises(InputError, match=r'expected \[B, 16, 4\]'):
        continuous.decode({'code': torch.zeros(3, 9, 4)})


def test_beside_a_stream_with_codes(images):
    """`encode` gives the codes that there are."""
    cfg = config('Patches', 'LightCNNDecoder', dict(type='NoQuantizer', dim=4))
    cfg['vocabularies']['words'] = dict(taps=1, quantizer=FSQ, projection=LINEAR)
    tok = Tokenizer(TOKENIZERS.build(cfg).eval(), [])
    assert list(tok.encode(images)) == ['words']
    assert list(tok.model(images).codes) == ['words']
    assert tok.flat_ids(tok.encode(images)).shape == (3, 16)
    assert list_parts(tok)['encode'].outputs == ['codes_words']
    assert [t.shape[-1] for t in tok.encode(images, ['code', 'words']).values()] == [4, 1]
    with pytest.raises(InputError, match=r'^codes\.words: .*expected a tensor of whole numbers'):
        tok.decode({'words': torch.zeros(3, 16, 1), 'code': torch.zeros(3, 16, 4)})


# ---- the built-in multi-scale quantizer
# ---------------------------------------------------------------------------------

MULTI = dict(type='MultiScaleRQ', scales=[1, 2, 4], quantizer=dict(type='VQ', size=8, dim=4))


def test_multi_scale_codes_in_a_tokenizer(images, tmp_path):
    """Codes on scales, features on the grid; the first scales alone; the input of a model that predicts scales."""
    tok = build('Patches', 'LightCNNDecoder', MULTI, projection=dict(type='ConvProjection'))
    codes = tok.encode(images)
    assert tok.layout.stream('code').token_layout == Scales([1, 2, 4]) and codes['code'].shape == (3, 21, 1)
    assert torch.equal(tok.from_flat_ids(tok.flat_ids(codes))['code'], codes['code'])
    first = tok.decode(dict(code=codes['code'][:, :5]), scales=2)
    assert torch.equal(first, tok.decode(codes, scales=2)) and not torch.equal(first, tok.decode(codes))
    assert torch.equal(tok.decode(codes, scales=3), tok.decode(codes))
    assert tok.features(codes, scales=1)['code'].shape == (3, 16, 8)
    assert tok.model.vocabularies['code'].quantizer.var_input(codes['code']).shape == (3, 20, 4)
    tok.save_pretrained(tmp_path / 'out')
    again = Tokenizer.from_pretrained(tmp_path / 'out')
    assert again.layout == tok.layout and torch.equal(again.encode(images)['code'], codes['code'])


def test_a_scale_of_codes_without_scales(images):
    tok = build('Patches', 'LightCNNDecoder')
    with pytest.raises(InputError, match=r'^codes\.scales: `scales` is 1, and the codes of FSQ are a 4 x 4 token grid'):
        tok.decode(tok.encode(images), scales=1)


def test_one_index_for_two_vocabularies_on_scales(images):
    """The features of each have their own width."""
    cfg = config('Patches', 'LightCNNDecoder')
    joint = dict(type='JointVQ', size=8, members=dict(words=3, code=2))
    cfg['quantizers'] = dict(joint=dict(type='ScaleWiseRQ', scales=[1, 2, 4], quantizer=joint))
    cfg['vocabularies']['code']['quantizer'] = 'joint'
    cfg['vocabularies']['words'] = dict(taps=1, quantizer='joint', projection=dict(type='TanhProjection'), out_dim=6,
                                        post_projection=dict(type='BEiTProjection', width=8, depth=1, heads=2))
    cfg['decoder']['reads'] = 'code'
    model = TOKENIZERS.build(cfg).train()
    out = model(images)
    assert out.codes['joint'].shape == (3, 21, 1) and list(out.codes) == ['joint']
    assert {k: v.shape for k, v in out.features.items()} == dict(code=(3, 16, 8), words=(3, 16, 6))
    assert model.budget() == Budget(21, 21, 63.0)
    (out.reconstructions.square().mean() + out.features['words'].square().mean()).backward()
    assert all(v.projections[0].fc1.weight.grad.any() if name == 'words' else v.projections[0].fc.weight.grad.any()
               for name, v in model.vocabularies.items())


def test_scales_of_another_grid():
    with pytest.raises(InputError, match=r'^vocabularies\.code\.quantizer\.scales: the scales end at a 2 x 2 token '
                                         r'grid, and the features lie on a 4 x 4 token grid'):
        build('Patches', 'LightCNNDecoder', dict(MULTI, scales=[1, 2]))
