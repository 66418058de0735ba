"""Images of every kind become upright RGB; what cannot be read says which file and what to do."""
import os

import numpy as np
import pytest
from PIL import Image

from dtbox.datasets import read_image, read_rgba
from dtbox.datasets.read import read_turn, verify_image
from dtbox.errors import InputError


def image(width=48, height=40, seed=0):
    ramp = np.linspace(0, 255, width * height * 3).reshape(height, width, 3)
    return Image.fromarray(np.random.default_rng(seed).permuted(ramp, axis=1).astype(np.uint8))


def test_rgb_and_gray(tmp_path):
    image().save(tmp_path / 'a.png')
    assert read_image(tmp_path / 'a.png').tobytes() == image().tobytes()
    Image.new('L', (5, 4), 77).save(tmp_path / 'l.png')
    assert read_image(str(tmp_path / 'l.png')).getpixel((0, 0)) == (77, 77, 77)
    Image.new('1', (5, 4), 1).save(tmp_path / 'one.png')
    assert read_image(tmp_path / 'one.png').getpixel((4, 3)) == (255, 255, 255)


def test_cmyk_jpeg(tmp_path):
    Image.new('RGB', (32, 32), (200, 30, 60)).convert('CMYK').save(tmp_path / 'c.jpg', quality=98)
    image = read_image(tmp_path / 'c.jpg')
    assert image.mode == 'RGB' and np.abs(np.subtract(image.getpixel((9, 9)), (200, 30, 60))).max() <= 3


@pytest.mark.parametrize('value, expected', [(0, 0), (0x8080, 128), (0xffff, 255), (257 * 77, 77)])
def test_16_bit_png_is_scaled(tmp_path, value, expected):
    Image.fromarray(np.full((6, 6), value, np.uint16)).save(tmp_path / 'deep.png')
    assert read_image(tmp_path / 'deep.png').getpixel((2, 2)) == (expected,) * 3


@pytest.mark.parametrize('value, expected', [(0.5, 128), (1.0, 255), (255.0, 255), (51.0, 51)])
def test_float_tiff(tmp_path, value, expected):
    Image.fromarray(np.full((6, 6), value, np.float32)).save(tmp_path / 'f.tif')
    assert read_image(tmp_path / 'f.tif').getpixel((2, 2)) == (expected,) * 3


def test_transparency_is_laid_on_the_background(tmp_path):
    half = Image.new('RGBA', (4, 4), (255, 0, 0, 0))
    half.putpixel((1, 1), (255, 0, 0, 255))
    half.putpixel((2, 2), (255, 0, 0, 128))
    half.save(tmp_path / 'a.png')
    image = read_image(tmp_path / 'a.png', background=(0, 0, 255))
    assert [image.getpixel((i, i)) for i in range(3)] == [(0, 0, 255), (255, 0, 0), (128, 0, 127)]
    assert read_image(tmp_path / 'a.png').getpixel((0, 0)) == (255, 255, 255)
    assert read_rgba(tmp_path / 'a.png').getpixel((2, 2)) == (255, 0, 0, 128)
    Image.new('LA', (4, 4), (10, 0)).save(tmp_path / 'la.png')
    assert read_image(tmp_path / 'la.png', background=(1, 2, 3)).getpixel((0, 0)) == (1, 2, 3)


def test_palette_with_transparency(tmp_path):
    image = Image.new('P', (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((3, 3), 1)
    image.save(tmp_path / 'p.png', transparency=0)
    read = read_image(tmp_path / 'p.png')
    assert read.getpixel((0, 0)) == (255, 255, 255) and read.getpixel((3, 3)) == (0, 255, 0)
    assert read_rgba(tmp_path / 'p.png').getpixel((0, 0))[3] == 0


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif'])
def test_exif_rotation(tmp_path, suffix):
    image = Image.new('RGB', (40, 24), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 40, 12))  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    image.save(tmp_path / f'r.{suffix}', exif=exif)
    read = read_image(tmp_path / f'r.{suffix}')
    assert read.size == (24, 40)
    assert read.getpixel((20, 20))[0] > 200 and read.getpixel((3, 20))[0] < 50
    assert read_image(read).size == (24, 40)


def test_a_pil_image_is_not_changed():
    source = image()
    read_image(source).paste((0, 0, 0), (0, 0, 9, 9))
    assert source.tobytes() == image().tobytes()


@pytest.mark.parametrize('name', ['cut.jpg', 'cut.png'])
@pytest.mark.parametrize('read', [read_image, read_rgba, verify_image])
def test_truncated(tmp_path, name, read):
    image(200, 150).save(tmp_path / 'whole', format='JPEG' if name.endswith('jpg') else 'PNG')
    content = (tmp_path / 'whole').read_bytes()
    (tmp_path / name).write_bytes(content[:len(content) // 2])
    with pytest.raises(InputError, match=f'{name} cannot be decoded .*truncated'):
        read(tmp_path / name)


def test_errors_name_the_file(tmp_path):
    (tmp_path / 'notes.png').write_text('not an image')
    with pytest.raises(InputError, match='notes.png is in no image format'):
        read_image(tmp_path / 'notes.png')
    with pytest.raises(InputError, match='gone.png does not exist'):
        read_image(tmp_path / 'gone.png')
    with pytest.raises(InputError, match='is a folder'):
        read_image(tmp_path)
    with pytest.raises(InputError, match=r'the source is 3; expected the path of an image or a PIL image'):
        read_image(3)
    with pytest.raises(InputError, match='0x4 pixels'):
        read_image(Image.new('RGB', (0, 4)))


def test_verify_gives_the_full_size(tmp_path):
    image(100, 60).save(tmp_path / 'a.jpg')
    assert verify_image(tmp_path / 'a.jpg') == (100, 60)


def test_a_pipe_is_not_waited_for(tmp_path):
    """It has the name of an image, and nobody ever writes into it."""
    os.mkfifo(tmp_path / 'a.png')
    for read in (read_image, verify_image, read_turn):
        with pytest.raises(InputError, match='a pipe or a device, not a file'):
            read(tmp_path / 'a.png')


def test_an_image_without_a_finite_value(tmp_path):
    """It would be black; where some values are finite, the others are."""
    values = np.full((4, 4), np.nan, np.float32)
    Image.fromarray(values).save(tmp_path / 'a.tiff')
    with pytest.raises(InputError, match='none of its values is finite'):
        read_image(tmp_path / 'a.tiff')
    values[0] = 1
    Image.fromarray(values).save(tmp_path / 'b.tiff')
    assert np.asarray(read_image(tmp_path / 'b.tiff'))[:, 0, 0].tolist() == [255, 0, 0, 0]
