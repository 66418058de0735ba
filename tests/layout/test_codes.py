"""Streams of codes, flat ids and orders, by hand."""
import json
import math

import pytest
import torch

from dtbox.errors import InputError
from dtbox.layout import CodeLayout, CodeOrder, Grid, Scales, Sequence, StreamLayout, delay_codes, undo_delay

PIXEL = StreamLayout('pixel', Grid(1, 2), (4, 3))
SEMANTIC = StreamLayout('semantic', Grid(1, 2), (5,))
BOTH = CodeLayout((PIXEL, SEMANTIC))
CODES = dict(pixel=torch.tensor([[[3, 0], [1, 2]]]), semantic=torch.tensor([[[4], [0]]]))
"""Ids of pixel: 0 to 3 at depth 0, 4 to 6 at depth 1; of semantic: 7 to 11."""


def random_codes(layout, batch=2):
    return {s.name: torch.stack([torch.randint(size, (batch, s.tokens)) for size in s.sizes], 2)
            for s in layout.streams}


# ---- flat ids -------------------------------------------------------------------------------------------------------

def test_offsets():
    assert BOTH.offsets == dict(pixel=[0, 4], semantic=[7])
    assert BOTH.flat_size == 12
    assert BOTH.names == ['pixel', 'semantic']
    assert BOTH.count_ids() == 6
    assert BOTH.count_ids(['pixel']) == 4
    assert PIXEL.bits == pytest.approx(2 * (2 + math.log2(3)))


@pytest.mark.parametrize('order, ids', [
    (CodeOrder(), [3, 4, 1, 6, 11, 7]),
    (CodeOrder(streams=('semantic', 'pixel')), [11, 7, 3, 4, 1, 6]),
    (CodeOrder('token'), [3, 4, 11, 1, 6, 7]),
    (CodeOrder('token', ('semantic', 'pixel')), [11, 3, 4, 7, 1, 6]),
    (CodeOrder('slice'), [3, 4, 1, 6, 11, 7])], ids=str)
def test_flat_ids_by_hand(order, ids):
    """An id is the same number in every order; only its place changes."""
    found = BOTH.flat_ids(CODES, order)
    assert found.dtype == torch.int64
    assert found.tolist() == [ids]
    back = BOTH.from_flat_ids(found, order=order)
    assert list(back) == ['pixel', 'semantic']
    assert all(torch.equal(back[name], CODES[name]) for name in CODES)


def test_scale_by_scale():
    """Two streams on the scales 1 and 2: both codes of scale 1, then four codes of each stream."""
    scales = Scales([1, 2])
    layout = CodeLayout((StreamLayout('a', scales, (10,)), StreamLayout('b', scales, (10,))))
    codes = dict(a=torch.arange(5).view(1, 5, 1), b=torch.arange(5).view(1, 5, 1))
    ids = layout.flat_ids(codes, CodeOrder('slice'))
    assert ids.tolist() == [[0, 10, 1, 2, 3, 4, 11, 12, 13, 14]]
    back = layout.from_flat_ids(ids, order=CodeOrder('slice'))
    assert all(torch.equal(back[name], codes[name]) for name in codes)


def test_some_streams():
    """The ids of a stream do not depend on which other streams came."""
    ids = BOTH.flat_ids({'semantic': CODES['semantic']})
    assert ids.tolist() == [[11, 7]]
    assert torch.equal(BOTH.from_flat_ids(ids, ['semantic'])['semantic'], CODES['semantic'])
    assert BOTH.select(['semantic']).flat_ids({'semantic': CODES['semantic']}).tolist() == [[4, 0]]
    reversed_codes = dict(reversed(CODES.items()))
    assert torch.equal(BOTH.flat_ids(reversed_codes), BOTH.flat_ids(CODES))


@pytest.mark.parametrize('order', [CodeOrder(), CodeOrder('token'), CodeOrder('slice', ('c', 'a', 'b'))], ids=str)
def test_every_id_once(order):
    """All codes of all streams and depths, each at another token: the ids are 0 to flat_size - 1."""
    layout = CodeLayout(tuple(StreamLayout(name, Sequence(6), (6,) * depth)
                              for name, depth in (('a', 2), ('b', 1), ('c', 3))))
    codes = {s.name: torch.arange(6).view(1, 6, 1).expand(1, 6, len(s.sizes)) for s in layout.streams}
    ids = layout.flat_ids(codes, order)
    assert sorted(ids[0].tolist()) == list(range(36)) == list(range(layout.flat_size))
    codes = random_codes(layout)
    back = layout.from_flat_ids(layout.flat_ids(codes, order), order=order)
    assert all(torch.equal(back[name], codes[name]) for name in codes)


def test_no_images():
    empty = {name: value[:0] for name, value in CODES.items()}
    ids = BOTH.flat_ids(empty)
    assert ids.shape == (0, 6)
    assert BOTH.from_flat_ids(ids)['pixel'].shape == (0, 2, 2)
    assert BOTH.from_flat_ids(BOTH.flat_ids(empty, CodeOrder('token')),
                              order=CodeOrder('token'))['pixel'].shape == (0, 2, 2)


@pytest.mark.parametrize('call, says', [
    (lambda: BOTH.flat_ids({}), 'there are no codes'),
    (lambda: BOTH.flat_ids({'pixle': CODES['pixel']}), 'Did you mean `pixel`'),
    (lambda: BOTH.flat_ids({'pixel': CODES['pixel'][:, :1]}),
     r'\[1, 1, 2\]; expected \[B, 2, 2\] for the 1 x 2 token grid'),
    (lambda: BOTH.flat_ids({'pixel': CODES['pixel'] + 1}),
     'codes at depth 0 reach from 2 to 4; its codebook has codes 0 to 3'),
    (lambda: BOTH.flat_ids({'pixel': CODES['pixel'].float()}), r'codes\.pixel: got a float32 tensor'),
    (lambda: BOTH.flat_ids({'pixel': CODES['pixel'][..., :1]}), r'expected int64 \[B, N, 2\]'),
    (lambda: BOTH.from_flat_ids(torch.zeros(1, 5).long()), r'\[1, 5\]; expected \[B, 6\] for pixel, semantic'),
    (lambda: BOTH.from_flat_ids(torch.tensor([[3, 4, 1, 6, 11, 12]])),
     'ids reach from 1 to 12, but this tokenizer has the ids 0 to 11: some were never its tokens'),
    (lambda: BOTH.from_flat_ids(torch.tensor([[11, 7, 3, 4, 1, 6]])),
     r'the id 11 at place 0 of sequence 0 belongs elsewhere: .* \(pixel, depth 0\) there are 0 to 3'),
    (lambda: CodeOrder('tokens'), 'Did you mean `token`'),
    (lambda: BOTH.flat_ids(CODES, CodeOrder(streams=('pixel',))), 'does not name semantic'),
    (lambda: CodeLayout((PIXEL, PIXEL)), 'streams need different names; got pixel, pixel')])
def test_codes_and_ids_that_do_not_fit(call, says):
    with pytest.raises(InputError, match=says):
        call()


def test_streams_of_different_layouts():
    layout = CodeLayout((PIXEL, StreamLayout('z', Sequence(3), (2,)), StreamLayout('s', Scales([1, 2]), (2,))))
    codes = random_codes(layout)
    assert layout.flat_ids(codes).shape == (2, 12)
    with pytest.raises(InputError,
                       match='alternate by token, but they have different numbers of tokens: pixel 2, z 3, s 5'):
        layout.flat_ids(codes, CodeOrder('token'))
    with pytest.raises(InputError, match='different numbers of slices: pixel 1, z 1, s 2'):
        layout.from_flat_ids(layout.flat_ids(codes), order=CodeOrder('slice'))


# ---- parts of streams -----------------------------------------------------------------------------------------------

def test_a_range_of_depths():
    """A language model that reads depth 1 of pixel alone."""
    layout = BOTH.restrict(depths=dict(pixel=(1, 2)))
    assert (layout.stream('pixel').sizes, layout.flat_size) == ((3,), 8)
    codes = layout.extract(CODES)
    assert codes['pixel'].tolist() == [[[0], [2]]]
    assert layout.flat_ids(codes).tolist() == [[0, 2, 7, 3]]
    assert torch.equal(layout.restore(codes)['pixel'], CODES['pixel'][..., 1:])


def test_groups_of_bits():
    """18 bits as two codes of 9: the first holds the high bits, that is, the first channels of LFQ."""
    layout = CodeLayout((StreamLayout('pixel', Grid(1, 1), (2 ** 18,)),)).restrict(groups=dict(pixel=(9, 9)))
    assert (layout.stream('pixel').sizes, layout.flat_size, layout.count_ids()) == ((512, 512), 1024, 2)
    code = torch.tensor([[[3 * 512 + 5]]])
    parts = layout.extract({'pixel': code})
    assert parts['pixel'].tolist() == [[[3, 5]]]
    assert layout.flat_ids(parts).tolist() == [[3, 517]]
    assert torch.equal(layout.restore(parts)['pixel'], code)


def test_unequal_groups_of_several_depths():
    """6 = 0b110 in groups of 1 and 2 bits: 1 and 2."""
    stream = StreamLayout('a', Sequence(1), (8, 8, 4), depths=(0, 2), groups=(1, 2))
    assert stream.sizes == (2, 4, 2, 4)
    found = stream.extract(torch.tensor([[[6, 3, 1]]]))
    assert found.tolist() == [[[1, 2, 0, 3]]]
    assert stream.restore(found).tolist() == [[[6, 3]]]
    assert stream.bits == 6


def test_62_bits():
    stream = StreamLayout('a', Sequence(1), (2 ** 62,), groups=(31, 31))
    code = torch.tensor([[[2 ** 62 - 2]]])
    found = stream.extract(code)
    assert found.tolist() == [[[2 ** 31 - 1, 2 ** 31 - 2]]]
    assert torch.equal(stream.restore(found), code)


@pytest.mark.parametrize('change, says', [
    (dict(depths=(0, 3)), r'^depths: `depths` of `a` is \(0, 3\); expected \(first, stop\), first below stop, and stop '
                          r'at most 2'),
    (dict(depths=(1, 1)), r'^depths: '), (dict(depths=(0,)), r'^depths: '),
    (dict(depths=(-1, 1)), 'expected a list of whole numbers'),
    (dict(groups=(2,)), r'^groups: the groups \(2,\) have 2 bits, but the codebooks of `a` have 8, 8 codes'),
    (dict(codebooks=8), '^codebooks: `codebooks` of `a` is 8'),
    (dict(codebooks=(8.0,)), 'expected a list of whole numbers')])
def test_parts_that_cannot_be(change, says):
    with pytest.raises(InputError, match=says):
        StreamLayout(**{**dict(name='a', token_layout=Sequence(1), codebooks=(8, 8)), **change})


def test_parts_of_a_stream_that_is_not_there():
    with pytest.raises(InputError, match='there is no stream `pixle`. Did you mean `pixel`'):
        BOTH.restrict(depths=dict(pixle=(0, 1)))


def test_a_continuous_stream():
    """It has a layout and no codes; what needs codes says so."""
    stream = StreamLayout('latent', Grid(2, 2), ())
    layout = CodeLayout((PIXEL, stream))
    assert not stream.has_codes
    assert stream.tokens == 4
    assert layout.offsets == dict(pixel=[0, 4], latent=[])
    assert layout.flat_size == 7
    says = 'the stream `latent` is continuous: it has no codes'
    for call in (lambda: stream.bits, lambda: stream.check(torch.zeros(1, 4, 0).long()),
                 lambda: layout.from_flat_ids(torch.zeros(1, 4).long()),
                 lambda: layout.flat_ids({'latent': torch.zeros(1, 4, 0).long()}),
                 lambda: stream.extract(torch.zeros(1, 4, 0).long())):
        with pytest.raises(InputError, match=says):
            call()
    assert layout.flat_ids({'pixel': CODES['pixel']}).tolist() == [[3, 4, 1, 6]]


# ---- files ----------------------------------------------------------------------------------------------------------

def test_to_json_and_back():
    layout = CodeLayout((StreamLayout('a', Scales([1, 2]), (8, 8), (0, 1), (1, 2)), PIXEL,
                         StreamLayout('c', Sequence(2), ())))
    assert CodeLayout.from_dict(json.loads(json.dumps(layout.to_dict()))) == layout
    assert PIXEL.to_dict() == dict(name='pixel', token_layout=dict(type='Grid', rows=1, columns=2), codebooks=[4, 3])
    for order in (CodeOrder(), CodeOrder('token', ('a', 'b'))):
        assert CodeOrder.from_dict(json.loads(json.dumps(order.to_dict()))) == order


@pytest.mark.parametrize('read, values, says', [
    (CodeLayout.from_dict, [], 'a layout of codes is'),
    (CodeLayout.from_dict, dict(streams=[], more=1), 'expected a dict with the list `streams`'),
    (CodeLayout.from_dict, dict(streams=[dict(name='a')]),
     r'^streams\.0: a stream of codes is .*name, token_layout, codebooks, and perhaps depths, groups'),
    (CodeLayout.from_dict, dict(streams=[dict(name='a', token_layout=dict(type='Grit'), codebooks=[])]),
     r'^streams\.0.*Did you mean `Grid`'),
    (CodeOrder.from_dict, dict(By='token'), 'an order of codes is')])
def test_dicts_that_are_not_a_layout_of_codes(read, values, says):
    with pytest.raises(InputError, match=says):
        read(values)


# ---- delay ----------------------------------------------------------------------------------------------------------

def test_delay_by_hand():
    steps = delay_codes(torch.tensor([[[1, 2, 3], [4, 5, 6]]]), fill=9)
    assert steps.tolist() == [[[1, 9, 9], [4, 2, 9], [9, 5, 3], [9, 9, 6]]]


@pytest.mark.parametrize('tokens', [1, 2, 64])
@pytest.mark.parametrize('depth', [1, 4, 8])
def test_delay_and_back(tokens, depth):
    codes = torch.randint(100, (3, tokens, depth))
    steps = delay_codes(codes, fill=100)
    assert steps.shape == (3, tokens + depth - 1, depth)
    assert torch.equal(undo_delay(steps), codes)
    assert (steps == 100).sum() == 3 * depth * (depth - 1)


def test_fewer_steps_than_depths():
    with pytest.raises(InputError, match='3 delayed depths need at least 3 steps'):
        undo_delay(torch.zeros(1, 2, 3).long())
