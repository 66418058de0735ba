"""Sheets of samples: no text is cut, no band is empty, pixels are enlarged by whole numbers."""
import numpy as np
import pytest
from PIL import Image, ImageDraw

from dtbox.drawing import sample_sheet as sheet
from dtbox.drawing.sheets import GAP, MARGIN, load_font
from dtbox.drawing.text_lines import measure_line, wrap_text

LONG = 'woman rowing boat facing right medium-light skin tone with ' + 'w' * 60


def noise(*shape):
    return np.random.default_rng(0).integers(0, 128, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize('text, lines', [
    ('aa bb cc', ['aa bb', 'cc']), ('  aa\n bb ', ['aa bb']), ('', []), (' ', []), ('a bbbbbbb', ['a', 'bbbbb', 'bb']),
    ('aaaaa', ['aaaaa'])])
def test_lines_by_hand(text, lines):
    """With a typeface of ten pixels a letter, 50 pixels hold five."""
    class Font:
        size = 10

        def getlength(self, text):
            return 10 * len(text)
    assert wrap_text(text, 50, Font()) == lines
    assert wrap_text('ab', 5, Font()) == ['a', 'b']


def test_lines_hold_the_whole_text():
    font = load_font(13)
    lines = wrap_text(LONG, 128, font)
    assert max(map(font.getlength, lines)) <= 128 and ''.join(lines).replace(' ', '') == LONG.replace(' ', '')


def draw(monkeypatch, path, samples, title='title', tile=192):
    """Draw; returns the pixels of the sheet and (text, left, top, right, bottom) of all that is written on it."""
    written, write = [], ImageDraw.ImageDraw.text

    def note(pen, at, text, fill, font):
        written.append((text, *pen.textbbox(at, text, font)))
        write(pen, at, text, fill, font)

    monkeypatch.setattr(ImageDraw.ImageDraw, 'text', note)
    sheet.draw_samples(samples, path, title, tile)
    return np.asarray(Image.open(path)), written


def test_texts_alone(tmp_path, monkeypatch):
    """A sample without images has its texts at the top of its place, beside those that have some."""
    samples = [sheet.Sample([noise(64, 64)], ['beside']), sheet.Sample([], ['one and one? two'])]
    _, written = draw(monkeypatch, tmp_path / 's.png', samples)
    places = {text: (left, top) for text, left, top, *_ in written}
    line = places['one and one? two']
    assert line[0] == MARGIN + 192 + sheet.BETWEEN
    assert places['beside'][1] - line[1] == pytest.approx(192 + GAP, abs=4)  # glyphs of different heights


def test_every_word_is_on_the_sheet(tmp_path, monkeypatch):
    """Long prompts and titles are broken into lines that stay on the sheet and below their own image."""
    samples = [sheet.Sample([noise(64, 64)], [LONG, 'is called: ' + LONG]) for _ in range(7)]
    pixels, written = draw(monkeypatch, tmp_path / 's.png', samples, 'run: ' + LONG * 4)
    words = ''.join(text for text, *_ in written).replace(' ', '')
    assert words == (('run: ' + LONG * 4) + (LONG + 'is called: ' + LONG) * 7).replace(' ', '')
    assert max(right for *_, right, _ in written) <= pixels.shape[1] - MARGIN
    assert max(bottom for *_, bottom in written) <= pixels.shape[0]
    lefts = {left for text, left, *_ in written if text.startswith('woman rowing')}
    assert lefts == {MARGIN + (192 + sheet.BETWEEN) * c for c in range(4)}


@pytest.mark.parametrize('count, size', [(1, (64, 64)), (2, (64, 64)), (3, (24, 100)), (12, (32, 32))])
def test_no_empty_bands(tmp_path, count, size):
    """No more blank lines one after the other than the space between two samples, or the margin at the bottom."""
    samples = [sheet.Sample([noise(*size)] * count, ['a prompt', 'another line']) for _ in range(5)]
    sheet.draw_samples(samples, tmp_path / 's.png', 'title')
    pixels = np.asarray(Image.open(tmp_path / 's.png'))
    most = MARGIN + measure_line(load_font(sheet.TITLE))
    for axis in (0, 1):
        inked = (pixels < 255).any(axis=2).any(axis=1 - axis).nonzero()[0]
        assert np.diff(np.concatenate([[-1], inked, [pixels.shape[axis]]])).max() <= most, axis


def test_images_are_enlarged_by_whole_numbers(tmp_path):
    """Three times 64 pixels are 192; a pair stands side by side; what is larger than a tile stays as it is."""
    pair, large = [noise(64, 64), 255 - noise(64, 64)], noise(200, 210)
    sheet.draw_samples([sheet.Sample(pair, ['a']), sheet.Sample([large], ['b'])], tmp_path / 's.png', 'title')
    pixels = np.asarray(Image.open(tmp_path / 's.png'))
    top = MARGIN + measure_line(load_font(sheet.TITLE)) + GAP
    left = MARGIN
    for image in pair:
        tile = pixels[top:top + 192, left:left + 192]
        assert (tile == image.repeat(3, 0).repeat(3, 1)).all()
        left += 192 + GAP
    left += sheet.BETWEEN - GAP
    assert (pixels[top:top + 200, left:left + 210] == large).all()


def test_many_images_of_a_sample_are_wrapped(tmp_path):
    """Twelve drawings of a prompt make two rows of six below each other, one prompt under them."""
    sheet.draw_samples([sheet.Sample([noise(64, 64)] * 12, ['a prompt'])], tmp_path / 's.png', 'title')
    width, height = Image.open(tmp_path / 's.png').size
    assert width == 2 * MARGIN + 6 * 192 + 5 * GAP <= sheet.WIDTH and 400 < height < 500


def test_wrong_texts_have_a_colour(tmp_path):
    for wrong in ((), (1,)):
        sheet.draw_samples([sheet.Sample([noise(64, 64)], ['a', 'b'], wrong)], tmp_path / 's.png', 'title')
        pixels = np.asarray(Image.open(tmp_path / 's.png')).reshape(-1, 3).tolist()
        assert (list(sheet.WRONG) in pixels) == bool(wrong)
