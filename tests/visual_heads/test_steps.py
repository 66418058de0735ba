"""Heads whose steps are not places: the delay pattern, flat ids."""
import pytest
import torch

from dtbox.code_tables import EMPTY, CodeTables
from dtbox.errors import InputError
from dtbox.layout import CodeLayout, CodeOrder, Grid, StreamLayout
from dtbox.registry import VISUAL_HEADS
from dtbox.sampling import SamplingRule
from dtbox.testing.visual_subject import SIZES, WIDTH, make_codes, make_tables


def build(kind, tables, **args):
    return VISUAL_HEADS.build(dict(type=kind, **args), tables=tables, width=WIDTH).eval()


def test_delay_by_hand():
    """Two places, 2 and 3 depths: code d of place p at step p + d, 4 steps."""
    tables = CodeTables.from_tables(dict(z=[torch.randn(9, 2)] * 2, y=[torch.randn(9, 2)] * 3), 2)
    head = build('DelayHead', tables)
    steps = head.expand(dict(z=torch.tensor([[[1, 2], [3, 4]]]), y=torch.tensor([[[5, 6, 7], [8, 0, 1]]])))
    assert head.count_steps() == 4
    assert steps['z'][0].tolist() == [[1, EMPTY], [3, 2], [EMPTY, 4], [EMPTY, EMPTY]]
    assert steps['y'][0].tolist() == [[5, EMPTY, EMPTY], [8, 6, EMPTY], [EMPTY, 0, 7], [EMPTY, EMPTY, 1]]


@pytest.mark.parametrize('places', [1, 2, 64])
@pytest.mark.parametrize('cfg', [dict(kind='DelayHead'), dict(kind='FlattenHead'),
                                 dict(kind='FlattenHead', by='stream')])
def test_patterns_and_their_inverse(places, cfg):
    tables = make_tables(places)
    head = build(tables=tables, **cfg)
    codes = make_codes(tables, 3, places)
    back = head.collapse(head.expand(codes))
    assert all(torch.equal(back[name], codes[name]) for name in SIZES)
    assert head.count_steps() == places + 2 if cfg['kind'] == 'DelayHead' else 5 * places


@pytest.mark.parametrize('by', ['token', 'stream'])
@pytest.mark.parametrize('streams', [None, ('semantic', 'pixel')])
def test_flat_ids_are_those_of_the_tokenizer(by, streams):
    """Also of one whose places are a grid."""
    tables = make_tables(6)
    head = build('FlattenHead', tables, by=by, stream_order=streams)
    layout = CodeLayout(tuple(StreamLayout(name, Grid(2, 3), tuple(sizes)) for name, sizes in SIZES.items()))
    codes = make_codes(tables, 2, 6)
    ids = layout.flat_ids(codes, CodeOrder(by, streams))
    assert torch.equal(head.flat_ids(codes), ids)
    steps = head.expand(codes)
    for place, flat in enumerate(ids[1].tolist()):
        cells = [(name, depth, int(code)) for name in SIZES for depth, code in enumerate(steps[name][1, place])
                 if code != EMPTY]
        assert [layout.offsets[name][depth] + code for name, depth, code in cells] == [flat]


def test_counts_are_those_of_the_codes():
    """Of 2 images of 6 places every depth has 12 codes, in 2 x 8 steps."""
    tables = make_tables(6)
    head = build('DelayHead', tables)
    steps = {name: value.flatten(0, 1) for name, value in head.expand(make_codes(tables, 2, 6)).items()}
    counts = head.losses(torch.randn(16, WIDTH), steps).counts
    assert {name: value.tolist() for name, value in counts.items()} == dict(pixel=[12] * 3, semantic=[12] * 2)


def test_a_step_draws_its_cells():
    """Six places by delay: at steps 0 and 7 one depth of pixel is drawn, at step 1 two of each."""
    head = build('DelayHead', make_tables(6))
    generators = [torch.Generator().manual_seed(seed) for seed in range(4)]
    held = {step: {name: (value != EMPTY).all(0).tolist() for name, value in
                   head.sample(torch.randn(4, WIDTH), SamplingRule(), None, generators, step).items()}
            for step in (0, 1, 7)}
    assert held == {0: dict(pixel=[True, False, False], semantic=[True, False]),
                    1: dict(pixel=[True, True, False], semantic=[True, True]),
                    7: dict(pixel=[False, False, True], semantic=[False, False])}


def test_a_step_that_there_is_not():
    head = build('DelayHead', make_tables(6))
    with pytest.raises(InputError, match='^step: got the step 8; an image has the steps 0 to 7'):
        head.sample(torch.randn(1, WIDTH), SamplingRule(), None, [torch.Generator()], 8)


def test_an_order_that_lacks_a_stream():
    with pytest.raises(InputError, match='the order of the streams pixel does not name semantic'):
        build('FlattenHead', make_tables(6), stream_order=['pixel'])
