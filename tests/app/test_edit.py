"""Edits of codes: what changes, what stays, what the head reads, and how an edit is undone."""
import pytest
import torch

from dtbox.app.functions import edit
from dtbox.errors import InputError
from dtbox.layout import Grid


def test_paint(opened, shown):
    codes = shown[0].codes
    painted = edit.paint(opened, codes, 'pixel', 1, 63, [0, 5])
    assert painted['pixel'][0, [0, 5], 1].tolist() == [63, 63] and painted['semantic'] is codes['semantic']
    kept = torch.ones(16, 2, dtype=torch.bool)
    kept[[0, 5], 1] = False
    assert torch.equal(painted['pixel'][0][kept], codes['pixel'][0][kept])
    assert edit.count_changes(painted, codes) == dict(pixel=2, semantic=0)
    assert not (edit.draw(opened, painted) == edit.draw(opened, codes)).all()


@pytest.mark.parametrize('code, tokens, says', [
    (64, [0], 'pixel has no code 64 at depth 0; its codes there are 0 to 63'),
    (-1, [0], 'pixel has no code -1'), (3, [16], 'pixel has no token 16; its tokens are 0 to 15')])
def test_painting_out_of_range(opened, shown, code, tokens, says):
    with pytest.raises(InputError, match=says):
        edit.paint(opened, shown[0].codes, 'pixel', 0, code, tokens)


def test_a_table_of_codes(opened, shown):
    rows = shown[0].codes['pixel'][0].tolist()
    rows[7][1] = '12'
    changed = edit.set_table(opened, shown[0].codes, 'pixel', rows)
    assert changed['pixel'][0].tolist() == [[int(cell) for cell in row] for row in rows]


@pytest.mark.parametrize('token, cell, says', [
    (3, '64', 'pixel has no code 64 at depth 1'), (3, '', "token 3 of pixel has ''"),
    (3, 'x', "token 3 of pixel has 'x' at depth 1; expected a whole number"), (3, '-1', "has '-1'"),
    (3, '1.5', "has '1.5'"), (None, 0, 'has 15 rows; expected 16')])
def test_tables_that_are_no_codes(opened, shown, token, cell, says):
    rows = shown[0].codes['pixel'][0].tolist()
    if token is None:
        rows.pop()
    else:
        rows[token][1] = cell
    with pytest.raises(InputError, match=says):
        edit.set_table(opened, shown[0].codes, 'pixel', rows)


def test_a_region_of_another_image(shown):
    tokens = edit.list_region(Grid(4, 4), 1, 2, 2, 3)
    assert tokens == [6, 7, 10, 11]
    a, b = (one.codes for one in shown)
    mixed = edit.copy_region(a, b, ['pixel'], tokens)
    rest = [token for token in range(16) if token not in tokens]
    assert torch.equal(mixed['pixel'][:, tokens], b['pixel'][:, tokens])
    assert torch.equal(mixed['pixel'][:, rest], a['pixel'][:, rest]) and mixed['semantic'] is a['semantic']


@pytest.mark.parametrize('corners', [(0, 0, 4, 0), (2, 0, 1, 3), (-1, 0, 0, 0)])
def test_regions_outside(corners):
    with pytest.raises(InputError, match='does not lie in the 4 x 4 token grid'):
        edit.list_region(Grid(4, 4), *corners)


def test_the_semantic_stream_of_another_image(opened, shown):
    """The head reads B, the decoder draws A: DualToken's question."""
    mixed = edit.swap_streams(shown[0].codes, shown[1].codes, ['semantic'])
    assert (edit.draw(opened, mixed) == edit.draw(opened, shown[0].codes)).all()
    read = edit.read_codes(opened, mixed, dict(A=shown[0], B=shown[1]))
    own = edit.read_codes(opened, shown[0].codes, dict(A=shown[0], B=shown[1]))
    assert read.cosines['B'] == pytest.approx(1, abs=1e-5) and own.cosines['A'] == pytest.approx(1, abs=1e-5)
    assert read.cosines['A'] == pytest.approx(own.cosines['B'], abs=1e-5) and own.cosines['B'] < 0.9999
    assert read.words == ()


def test_shuffled_tokens(shown):
    codes = shown[0].codes
    mixed = edit.shuffle(codes, ['pixel'], seed=3)
    assert mixed['semantic'] is codes['semantic'] and not torch.equal(mixed['pixel'], codes['pixel'])
    assert sorted(mixed['pixel'][0].tolist()) == sorted(codes['pixel'][0].tolist())
    assert torch.equal(mixed['pixel'], edit.shuffle(codes, ['pixel'], seed=3)['pixel'])


def test_no_stream_is_chosen(shown):
    with pytest.raises(InputError, match='no stream is chosen'):
        edit.shuffle(shown[0].codes, [])


def test_undo(shown):
    first, second = (one.codes for one in shown)
    now = edit.Edit(first).change(second)
    assert now.codes is second and now.undo().codes is first
    with pytest.raises(InputError, match='nothing to undo'):
        now.undo().undo()
    for _ in range(60):
        now = now.change(first)
    assert len(now.before) == edit.KEPT
