"""Vocabularies that share a quantizer: one index, counted once, found from the features of all."""
import math

import pytest
import torch

from dtbox.apis.tokenizer import Tokenizer
from dtbox.errors import InputError
from dtbox.losses.commitment import QuantizerLoss
from dtbox.registry import TOKENIZERS
from dtbox.structures import Budget
from dtbox.tokenizers.visual import Pass
from tests.tokenizers.conftest import PLAIN, RQ, blocks_run, build, dualtoken, vocabulary

JOINT = dict(type='JointVQ', size=8, members=dict(semantic=8, pixel=4), weights=dict(pixel=2.0))
TWO = dict(a=PLAIN, b=PLAIN)


def parts(**changes):
    """Two encoders whose vocabularies share a quantizer, and a third vocabulary of its own."""
    vocabularies = dict(pixel=dict(taps='b:2', quantizer='joint'), other=vocabulary('a:1'),
                        semantic=dict(taps='a:3', quantizer='joint', reinject=3))
    return dict(dict(encoders=TWO, quantizers=dict(joint=JOINT), vocabularies=vocabularies), **changes)


@pytest.fixture
def model():
    return build(**parts())


def test_one_index_by_hand(model, images):
    a = model.encoders['a']
    b = model.encoders['b']
    voc = model.vocabularies
    joint = model.quantizers['joint']
    with torch.no_grad():
        semantic = voc['semantic'].combine([a.run(a.embed(images), 0, 3, {3})[1][3]])
        pixel = voc['pixel'].combine([b.run(b.embed(images), 0, 2, {2})[1][2]])
        want = joint(torch.cat([semantic, pixel], -1))  # in the order of the members
        out = model(images)
        h4 = a.trunk.blocks[3](voc['semantic'].post_projection(want.features[..., :8]))
    assert semantic.shape[-1] == 8 and pixel.shape[-1] == 4 and list(model.streams) == ['joint', 'other']
    assert list(out.codes) == ['joint', 'other']
    assert torch.equal(out.codes['joint'], want.codes)
    assert out.codes['joint'].shape == (2, 16, 1)
    assert torch.allclose(out.features['pixel'], voc['pixel'].post_projection(want.features[..., 8:]), atol=1e-6)
    assert torch.allclose(out.features['semantic'], voc['semantic'].post_projection(want.features[..., :8]), atol=1e-6)
    assert torch.allclose(out.pooled, a.pool(h4), atol=1e-5) and sorted(out.losses) == ['joint', 'other']
    assert QuantizerLoss()(out, None).keys() == {'commitment_joint', 'commitment_other'}


@pytest.mark.parametrize('names, streams, blocks', [
    (None, ['joint', 'other'], ([1, 2, 3], [1, 2])), (['pixel'], ['joint'], ([1, 2, 3], [1, 2])),
    ('other', ['other'], ([1], [])),
    (['semantic', 'other', 'pixel'], ['joint', 'other'], ([1, 2, 3], [1, 2])),
    (['other', 'joint'], ['other', 'joint'], ([1, 2, 3], [1, 2]))])
def test_encode(model, images, names, streams, blocks):
    a, b = blocks_run(model, 'a'), blocks_run(model, 'b')
    codes = model.encode(images, names)
    assert list(codes) == streams and (a, b) == blocks
    out = model(images)
    assert all(torch.equal(codes[s], out.codes[s]) for s in streams)


def test_codes_and_back(model, images):
    out, codes = model(images), model.encode(images, 'pixel')
    features = model.features(codes)
    assert list(features) == ['semantic', 'pixel']
    assert all(torch.allclose(f, out.features[n], atol=1e-5) for n, f in features.items())
    assert torch.allclose(model.decode(codes), out.reconstructions, atol=1e-5)
    for call in (model.features, model.decode, Tokenizer(model, []).flat_ids):
        with pytest.raises(InputError,
                           match='codes of `pixel` came; .* go by that name: `joint`|needs the codes of joint; '
                                 'missing: joint'):
            call({'pixel': codes['joint']})


def test_counted_once(model, images):
    assert model.budget() == Budget(32, 48, 16 * (3 + 2 * 3))
    assert model.budget('semantic') == model.budget(['pixel', 'joint']) == Budget(16, 16, 48.)
    assert build().budget() == Budget(32, 64, 4 * 16 * math.log2(8))
    tok = Tokenizer(model, [])
    assert tok.offsets == dict(joint=[0], other=[8, 16]) and tok.flat_size == 24 and tok.streams == ['joint', 'other']
    assert tok.vocabularies == ['pixel', 'other', 'semantic'] and 'joint: 8 codes, other: 8 x 8 codes' in repr(tok)
    codes = tok.encode(images)
    ids = tok.flat_ids(codes)
    assert ids.shape == (2, 48) and torch.equal(ids[:, :16], codes['joint'][..., 0])
    back = tok.from_flat_ids(ids)
    assert list(back) == list(codes) and all(torch.equal(back[n], codes[n]) for n in codes)
    assert torch.equal(tok.from_flat_ids(ids[:, :16], ['pixel', 'semantic'])['joint'], codes['joint'])


def test_one_update_a_step(model, images):
    model.train()
    book = model.quantizers['joint'].codebook
    model.encode(images)
    assert not book.pending
    model(images)
    assert len(book.pending) == 1
    model.commit()
    assert int(book.updates) == 1 and model.vocabularies['pixel'].quantizer is model.vocabularies['semantic'].quantizer
    model(images)
    model.discard()
    model.commit()
    assert int(book.updates) == 1
    names = [n for n in model.state_dict() if 'embed_sum' in n]
    assert names == ['quantizers.joint.codebook.embed_sum', 'vocabularies.other.quantizer.codebooks.0.embed_sum']
    assert Pass(model, images).vocabulary('pixel').codes is not None and not book.pending


def test_gradients_reach_both_sides(model, images):
    model.train()
    out = model(images)
    (out.reconstructions.sum() + out.pooled.sum()).backward()
    for name in ('pixel', 'semantic'):
        assert all(p.grad is not None and p.grad.abs().sum() > 0
                   for p in model.vocabularies[name].projections.parameters() if p.ndim > 1)


def test_a_stream_that_waits_for_itself():
    with pytest.raises(InputError, match='the vocabularies semantic, pixel wait for each other'):
        build(quantizers=dict(joint=JOINT), vocabularies=dict(
            semantic=dict(taps=2, quantizer='joint', reinject=2), pixel=dict(taps=4, quantizer='joint')))
    build(quantizers=dict(joint=JOINT), vocabularies=dict(
        semantic=dict(taps=2, quantizer='joint', reinject=4), pixel=dict(taps=4, quantizer='joint')))


@pytest.mark.parametrize('changes, says', [
    (dict(quantizers=None), r'^model\.vocabularies\.pixel\.quantizer: `joint` is not a quantizer of the tokenizer\. '
                            r'`quantizers` has: none'),
    (dict(quantizers=dict(jiont=JOINT)), r'Did you mean `jiont`'),
    (dict(quantizers=dict(joint=RQ)), r'^model\.quantizers\.joint: RQ has no `members`'),
    (dict(quantizers=dict(joint=dict(JOINT, members=dict(pixel=4), weights=None))),
     r'^model\.quantizers\.joint\.members: its members are pixel, '
     r'but the vocabularies with quantizer=\'joint\' are pixel, semantic'),
    (dict(quantizers=dict(joint=JOINT, spare=JOINT)),
     r"^model\.quantizers\.spare\.members: .* quantizer='spare' are none"),
    (dict(quantizers=dict(joint=JOINT, other=JOINT)),
     r'^model\.quantizers\.other: a vocabulary is also called `other`'),
    (dict(encoders=dict(a=PLAIN, b=dict(PLAIN, model_args=dict(PLAIN['model_args'], patch_size=8)))),
     r'^model\.quantizers\.joint: the vocabularies that share `joint` have different token layouts: semantic a 4 x 4 '
     r'token grid, pixel a 2 x 2 token grid'),
    (dict(quantizers=dict(joint=dict(JOINT, sise=3))), r'^model\.quantizers\.joint: .*Did you mean `size`')])
def test_what_cannot_be_built(changes, says):
    with pytest.raises(InputError, match=says):
        TOKENIZERS.build(dualtoken(**{**parts(), **changes}), where='model')
