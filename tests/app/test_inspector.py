"""Codes of a patch: nearest rows, use, examples."""
import numpy as np
import pytest
import torch

from dtbox.app.functions import codebook, inspector
from dtbox.app.opened import Opened
from dtbox.errors import InputError


def test_nearest_codes(opened):
    """Against the distances of the codebook's own rows."""
    rows = opened.tokenizer.model.vocabularies['pixel'].quantizer.book(0).lookup(torch.arange(64))
    distances = torch.cdist(rows, rows)[5]
    found = inspector.find_nearest_codes(opened, 'pixel', 1, 5, most=3)
    assert [code for code, _ in found] == distances.argsort()[1:4].tolist()
    assert [value for _, value in found] == pytest.approx(distances.sort().values[1:4].tolist(), abs=1e-4)


def test_use_is_told_once_it_is_counted(opened, shown):
    """Before that a click does not wait for it."""
    own = Opened('tiny', opened.source, opened.model)
    before = inspector.inspect_patch(own, shown[0], (0.0, 0.0))
    assert [(info.stream, info.depth) for info in before] == [('pixel', 0), ('pixel', 1), ('semantic', 0),
                                                             ('semantic', 1)]
    assert [info.code for info in before[:2]] == shown[0].codes['pixel'][0, 0].tolist()
    assert all(info.share is None for info in before)
    codes = own.seen.codes['pixel'][..., 0]
    info = inspector.inspect_patch(own, shown[0], (0.0, 0.0))[0]
    counts = np.bincount(codes.ravel(), minlength=64)
    assert info.share == counts[info.code] / codes.size > 0
    assert info.rank == 1 + int((counts > counts[info.code]).sum())
    unused = int(np.flatnonzero(counts == 0)[0])
    assert inspector.describe_code(own, 'pixel', 0, unused).row[3] == 'never'
    assert inspector.cut_examples(own, 'pixel', 0, unused) == []


def test_examples_show_the_code(opened):
    """The middle of each crop is a patch of 8 pixels whose token has the code."""
    codes = opened.seen.codes['semantic'][..., 0]
    code = int(codes[3, 6])
    crops = inspector.cut_examples(opened, 'semantic', 0, code)
    assert crops and all(crop.shape == (40, 40, 3) for crop in crops)
    patches = set()
    for i, token in zip(*np.nonzero(codes == code)):
        row, column = divmod(int(token), 4)
        pixels = opened.dataset[opened.seen.positions[i]]['image'].permute(1, 2, 0).numpy()
        patches.add(pixels[8 * row:8 * row + 8, 8 * column:8 * column + 8].tobytes())
    assert all(crop[16:24, 16:24].tobytes() in patches for crop in crops)


@pytest.mark.parametrize('where, says', [
    (('pixels', 0, 0), "no stream 'pixels' with codes; it has pixel, semantic"),
    (('pixel', 2, 0), 'pixel has no depth 2; its depths are 0 to 1'),
    (('pixel', 1, 64), 'pixel has no code 64 at depth 1; its codes there are 0 to 63'),
    (('pixel', 1, -1), 'pixel has no code -1')])
def test_codes_that_there_are_not(opened, where, says):
    with pytest.raises(InputError, match=says):
        inspector.describe_code(opened, *where)


def test_words_need_a_text_tower(opened, shown):
    with pytest.raises(InputError, match='no text tower'):
        inspector.find_patch_words(opened, shown[0], (0, 0))


def test_codebooks(opened, tmp_path):
    """8 images of 16 tokens: the most used codes of a depth, and its dead ones."""
    table = codebook.make_table(opened)
    counts = np.bincount(opened.seen.codes['pixel'][..., 0].ravel(), minlength=64)
    assert [row[:3] for row in table] == [['pixel', '0', '64'], ['pixel', '1', '64'], ['semantic', '0', '64'],
                                          ['semantic', '1', '64']]
    assert table[0][4] == str(int((counts == 0).sum())) and counts.sum() == 128
    assert table[0][6].startswith(f'{counts.argmax()} ({counts.max()})')
    codebook.draw_use(opened, str(tmp_path / 'use.png'))
    assert (tmp_path / 'use.png').stat().st_size > 1000


def test_nothing_to_count(talking):
    with pytest.raises(InputError, match='names no images of its own'):
        codebook.make_table(talking)
