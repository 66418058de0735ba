"""Runs are ranked where they saw the same pixels, and only there."""
import pytest
from PIL import Image

from dtbox.apis.tokenizer import Tokenizer
from dtbox.app.functions.compare import compare
from dtbox.app.opened import Opened
from dtbox.errors import InputError


@pytest.fixture
def image():
    return Image.radial_gradient('L').convert('RGB').resize((60, 40))


def test_the_same_pixels_are_ranked(opened, image):
    found = compare([opened, Opened('twin', opened.source, opened.model)], image)
    assert found.ranks == [1, 1] and found.note == 'Ranked by PSNR: all runs saw the same pixels.'
    assert [row[0] for row in found.table] == ['tiny', 'twin'] and [row[-1] for row in found.table] == ['1', '1']
    assert found.differences[0].shape == (32, 32, 3)


def test_other_pixels_are_not_ranked(opened, image):
    """One run crops, the other one squeezes the image: their scores are of different images."""
    config = opened.tokenizer.config
    squeezed = Tokenizer(opened.tokenizer.model, [dict(type='ResizeCrop', size=32, mode='squash'),
                                                  dict(type='PackImage')], config)
    found = compare([opened, Opened('squeezed', opened.source, squeezed)], image)
    assert found.ranks is None
    assert found.note.startswith('Not ranked: the runs did not see the same pixels (tiny 32 x 32')
    assert [row[-1] for row in found.table] == ['not ranked', 'not ranked']


def test_one_run_is_not_compared(opened, image):
    with pytest.raises(InputError, match='1 run was chosen; this tab compares 2 to 6'):
        compare([opened], image)
