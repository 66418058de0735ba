"""Views: the first is the whole image; the others are drawn from the image and their number alone."""
import numpy as np
import pytest
from PIL import Image

from dtbox.errors import InputError
from dtbox.tokens.views import ViewRule, make_view

IMAGE = Image.fromarray(np.arange(60 * 100 * 3, dtype=np.int64).reshape(60, 100, 3).astype(np.uint8))
RULE = ViewRule(8, (0.25, 0.5))


def test_first_view_is_the_whole_image():
    view = make_view(IMAGE, 0, b'digest', RULE, (32, 32))
    assert view.image is IMAGE and view.crop is None and not view.flip


def test_crops_have_area_and_proportions():
    views = [make_view(IMAGE, number, bytes([image] * 16), RULE, (32, 64)) for image in range(20)
             for number in range(1, 8)]
    for view in views:
        left, top, width, height = view.crop
        assert 0 <= left and 0 <= top and left + width <= 100 and top + height <= 60
        assert abs(width / 2 - height) <= 1  # twice as wide as high, in whole pixels
        assert 0.25 * 100 * 50 - 100 <= width * height <= 0.5 * 100 * 50 + 100
    assert 40 < sum(view.flip for view in views) < 100 and len({view.crop for view in views}) > 130


def test_crop_and_flip_say_which_pixels():
    for number in range(1, 8):
        view = make_view(IMAGE, number, b'0' * 16, RULE, (32, 32))
        left, top, width, height = view.crop
        pixels = np.asarray(IMAGE)[top:top + height, left:left + width]
        assert np.array_equal(np.asarray(view.image), pixels[:, ::-1] if view.flip else pixels)


def test_views_depend_on_image_number_and_seed():
    def crop(number=1, digest=b'0' * 16, seed=0):
        return make_view(IMAGE, number, digest, ViewRule(8, seed=seed), (32, 32)).crop
    assert crop() == crop() and len({crop(), crop(2), crop(digest=b'1' * 16), crop(seed=1)}) == 4


def test_one_pixel_has_views_too():
    assert make_view(Image.new('RGB', (1, 1)), 1, b'0', RULE, (32, 32)).crop == (0, 0, 1, 1)


@pytest.mark.parametrize('args, says', [
    ((0,), '--views: .* is 0; expected'), ((1001,), 'from 1 to 1,000'), ((2, (0.5, 0.2)), '--crop-scale'),
    ((2, (0.0, 1.0)), '--crop-scale'), ((2, (0.5, 1.1)), r'expected two fractions in \(0, 1\]')])
def test_what_cannot_be(args, says):
    with pytest.raises(InputError, match=says):
        ViewRule(*args)


def test_scale_counts_only_where_there_are_crops():
    assert ViewRule(1, (0.1, 0.2)).to_dict() == ViewRule(1).to_dict()
    assert ViewRule(2, (0.1, 0.2)).to_dict() != ViewRule(2).to_dict()
