"""Token layouts: counts, slices, coordinates and maps by hand."""
import json
from dataclasses import FrozenInstanceError

import pytest
import torch

from dtbox.errors import InputError
from dtbox.layout import Grid, Scales, Sequence, TokenLayout, Video, need_grid

GRID = Grid(2, 3)
SEQUENCE = Sequence(5)
SCALES = Scales([1, 2, (2, 3)])
VIDEO = Video(2, 1, 3)
ALL = [GRID, SEQUENCE, SCALES, VIDEO]


@pytest.mark.parametrize('layout, tokens, slices, text', [
    (GRID, 6, [(0, 6)], '2 x 3 token grid'), (SEQUENCE, 5, [(0, 5)], 'sequence of 5 tokens'),
    (SCALES, 11, [(0, 1), (1, 5), (5, 11)], 'pyramid of 11 tokens (1 x 1, 2 x 2, 2 x 3)'),
    (VIDEO, 6, [(0, 3), (3, 6)], 'video of 6 tokens (2 frames of 1 x 3)')])
def test_counts_slices_and_text(layout, tokens, slices, text):
    assert layout.tokens == tokens
    assert [(part.start, part.stop) for part in layout.slices] == slices
    assert str(layout) == text


def test_var_has_680_tokens():
    """The published scales of VAR's 256-pixel model."""
    layout = Scales([1, 2, 3, 4, 5, 6, 8, 10, 13, 16])
    assert layout.tokens == 680
    assert layout.slices[-1] == slice(424, 680)
    assert layout.position(424) == (9, 0, 0)


@pytest.mark.parametrize('layout, places', [
    (GRID, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]), (SEQUENCE, [(0,), (1,), (2,), (3,), (4,)]),
    (SCALES, [(0, 0, 0), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1), (2, 0, 0), (2, 0, 1), (2, 0, 2), (2, 1, 0),
              (2, 1, 1), (2, 1, 2)]),
    (VIDEO, [(0, 0, 0), (0, 0, 1), (0, 0, 2), (1, 0, 0), (1, 0, 1), (1, 0, 2)])])
def test_positions(layout, places):
    assert [layout.position(i) for i in range(layout.tokens)] == places
    assert [layout.index(*place) for place in places] == list(range(layout.tokens))
    found = layout.positions()
    assert found.dtype == torch.int64
    assert found.tolist() == [list(place) for place in places]


@pytest.mark.parametrize('call, says', [
    (lambda: GRID.position(6), 'there is no token 6 in the 2 x 3 token grid; tokens are 0 to 5'),
    (lambda: SCALES.position(-1), 'no token -1'),
    (lambda: GRID.index(0, 3), r'no token at \(0, 3\) in the 2 x 3 token grid; expected \(row, column\) inside it'),
    (lambda: GRID.index(0, -1), 'no token at'), (lambda: GRID.index(0), 'expected'), (lambda: GRID.index(), 'expected'),
    (lambda: SCALES.index(), 'expected'),
    (lambda: SCALES.index(1, 2, 0), r'expected \(scale, row, column\)'),
    (lambda: SCALES.index(3, 0, 0), 'no token at'), (lambda: VIDEO.index(2, 0, 0), r'expected \(frame, row, column\)'),
    (lambda: GRID.split(torch.zeros(1, 5, 2)),
     r'values are a float32 tensor \[1, 5, 2\]; expected \[B, 6, \.\.\.\] for the 2 x 3 token grid')])
def test_tokens_that_are_not_there(call, says):
    with pytest.raises(InputError, match=says):
        call()


def test_split():
    """Token n has the value n."""
    one, two, three = SCALES.split(torch.arange(11).view(1, 11, 1))
    assert one.flatten().tolist() == [0]
    assert two.flatten().tolist() == [1, 2, 3, 4]
    assert three.flatten().tolist() == [5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize('layout, shape', [(GRID, (2, 3)), (VIDEO, (2, 1, 3))])
def test_maps(layout, shape):
    """Channel c of token n is 10 c + n, and lies where `position` says."""
    features = torch.arange(6).view(1, 6, 1) + 10 * torch.arange(2)
    maps = layout.unflatten(features)
    assert maps.shape == (1, 2, *shape)
    for token in range(6):
        assert maps[(0, slice(None), *layout.position(token))].tolist() == [token, 10 + token]
    assert torch.equal(layout.flatten(maps), features)


def test_the_map_of_a_grid_is_a_view():
    """Decoders read it; a copy would cost time, and other strides other last digits."""
    features = torch.rand(2, 6, 4)
    want = features.transpose(1, 2).reshape(2, 4, 2, 3)
    found = GRID.unflatten(features)
    assert torch.equal(found, want)
    assert found.stride() == want.stride()
    assert found.data_ptr() == features.data_ptr()


@pytest.mark.parametrize('call, says', [
    (lambda: SEQUENCE.unflatten(torch.zeros(1, 5, 2)),
     'the sequence of 5 tokens cannot be laid out as one map; only a grid and a video can'),
    (lambda: SCALES.unflatten(torch.zeros(1, 11, 2)), '`split` gives the tokens of each scale'),
    (lambda: GRID.unflatten(torch.zeros(1, 5, 2)), r'values are a float32 tensor \[1, 5, 2\]'),
    (lambda: GRID.flatten(torch.zeros(1, 5, 3, 2)),
     r'maps are a float32 tensor \[1, 5, 3, 2\]; expected \[B, C, 2, 3\]'),
    (lambda: SEQUENCE.flatten(torch.zeros(1, 2, 5)), 'cannot be laid out as one map'),
    (lambda: need_grid(SEQUENCE, 'the code atlas'),
     'the code atlas needs tokens on a grid .* these are a sequence of 5 tokens')])
def test_layouts_without_a_map(call, says):
    with pytest.raises(InputError, match=says):
        call()
    assert need_grid(GRID, 'anything') is GRID


def test_equality():
    assert Grid(2, 3) == Grid(2, 3) != Grid(3, 2)
    assert Scales([1, 2]) == Scales(((1, 1), (2, 2))) != Scales([2, 1])
    assert Video(1, 2, 3) != Grid(2, 3)
    assert len({Grid(2, 3), Grid(2, 3), Sequence(6), Scales([(2, 3)])}) == 3
    with pytest.raises(FrozenInstanceError):
        GRID.rows = 4


@pytest.mark.parametrize('layout', ALL, ids=str)
def test_to_json_and_back(layout):
    assert TokenLayout.from_dict(json.loads(json.dumps(layout.to_dict()))) == layout
    assert eval(repr(layout)) == layout


def test_plain_dicts():
    assert GRID.to_dict() == dict(type='Grid', rows=2, columns=3)
    assert SCALES.to_dict() == dict(type='Scales', sizes=[[1, 1], [2, 2], [2, 3]])


@pytest.mark.parametrize('values, says', [
    (dict(type='Grit', rows=1, columns=1), r"there is no token layout 'Grit'\. Did you mean `Grid`\?"),
    (None, 'a token layout is None'),
    (dict(rows=1), 'expected a dict with `type`, one of Grid, Sequence, Scales, Video'),
    (dict(type='Grid', rows=1), 'a Grid has the sizes rows, columns; got rows'),
    (dict(type='Sequence', length=0), '^length: `length` is 0; expected a positive whole number of tokens')])
def test_dicts_that_are_not_a_layout(values, says):
    with pytest.raises(InputError, match=says):
        TokenLayout.from_dict(values)


@pytest.mark.parametrize('build, says', [
    (lambda: Grid(0, 1), '^rows: `rows` is 0'), (lambda: Grid(1, 2.0), r'^columns: `columns` is 2\.0'),
    (lambda: Grid(True, 1), 'is True'),
    (lambda: Sequence('5'), "`length` is '5'"), (lambda: Video(1, 1, -1), '^columns: '),
    (lambda: Scales([]), r'^sizes: `sizes` is \[\]'),
    (lambda: Scales(4), '`sizes` is 4; expected the size of each scale'),
    (lambda: Scales([1, (2, 3, 4)]), r'`sizes` holds \(2, 3, 4\)'),
    (lambda: Scales([1, 0]), '`sizes` is 0'), (lambda: Scales(['2']), "`sizes` holds '2'")])
def test_sizes_that_cannot_be(build, says):
    with pytest.raises(InputError, match=says):
        build()


def test_a_layout_of_somebody_else():
    """A subclass needs `axes` and `shapes` only; files know it by its name."""
    from dataclasses import dataclass
    from typing import ClassVar

    @dataclass(frozen=True)
    class Ring(TokenLayout):
        length: int
        axes: ClassVar[tuple] = ('angle',)

        @property
        def shapes(self):
            return ((self.length,),)

    try:
        assert TokenLayout.from_dict(Ring(3).to_dict()) == Ring(3)
        assert Ring(3).positions().tolist() == [[0], [1], [2]]
    finally:
        del TokenLayout.kinds['Ring']
