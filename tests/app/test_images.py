"""Uploads before they are decoded, and patches."""
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dtbox.app.functions.images import enlarge, find_token, list_examples, mark_patch, read_upload, show_image
from dtbox.errors import InputError
from dtbox.layout import Grid, Scales, Sequence
from dtbox.serving.limits import Limits


def write_header(path, width, height):
    """A PNG file that says how large it is, and holds nothing."""
    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    size = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', size) + chunk(b'IDAT', b'') + chunk(b'IEND', b''))
    return str(path)


@pytest.mark.parametrize('make, says', [
    (lambda folder: None, 'there is no image yet'),
    (lambda folder: str(folder / 'notes.txt'), 'notes.txt is not an image'),
    (lambda folder: write_header(folder / 'wide.png', 20_000, 10_000), 'more than the 33 million pixels'),
    (lambda folder: write_header(folder / 'huge.png', 60_000, 60_000), 'more than the 33 million pixels'),
    (lambda folder: write_header(folder / 'cut.png', 64, 64), 'cannot be decoded')])
def test_refused_uploads(tmp_path, make, says):
    """Nothing, a text, 200 million pixels, a bomb, a file cut short."""
    (tmp_path / 'notes.txt').write_text('hello')
    with pytest.raises(InputError, match=says):
        read_upload(make(tmp_path))


def test_a_file_that_is_too_long(tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / 'a.png')
    assert read_upload(str(tmp_path / 'a.png')).size == (8, 8)
    with pytest.raises(InputError, match='this page takes images of 0 MB'):
        read_upload(str(tmp_path / 'a.png'), Limits(image_bytes=10))


@pytest.mark.parametrize('layout, place, token', [
    (Grid(4, 4), (0.5, 0.5), 10), (Grid(4, 4), (0.0, 0.99), 3), (Grid(2, 3), (1.0, 1.0), 5),
    (Grid(2, 3), (0.6, 0.0), 3), (Scales((1, 2)), (0.9, 0.1), 3), (Sequence(10), (0.0, 0.35), 3)])
def test_the_token_at_a_place(layout, place, token):
    assert find_token(layout, place) == token


def test_enlarged_pixel_by_pixel():
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    large = enlarge(pixels, 6)
    assert large.shape == (6, 6, 3)
    assert np.array_equal(large[::3, ::3], pixels) and np.array_equal(large[2, 2], pixels[0, 0])


def test_a_frame_around_a_patch():
    """Token 5 of 4 x 4 is row 1, column 1: its frame touches no other patch by more than its width."""
    marked = mark_patch(np.zeros((32, 32, 3), np.uint8), Grid(4, 4), 5)
    rows, columns = np.nonzero(marked.any(-1))
    assert (rows.min(), columns.min()) == (126, 126) and (rows.max(), columns.max()) == (257, 257)
    assert not marked[140:240, 140:240].any()
    assert not mark_patch(np.zeros((32, 32, 3), np.uint8), None, 5).any()


def test_an_image_as_a_run_sees_it(opened):
    examples = list_examples(opened, 3)
    assert [image.shape for image in examples] == [(32, 32, 3)] * 3
    seen = show_image(opened, examples[1])
    assert np.array_equal(seen.pixels, examples[1]) and seen.run == 'tiny'
    assert {name: tuple(value.shape) for name, value in seen.codes.items()} == dict(pixel=(1, 16, 2),
                                                                                   semantic=(1, 16, 2))
