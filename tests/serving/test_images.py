"""Images of requests: data URIs and files of one folder; all else is refused in a sentence."""
import base64
import os
import struct
import zlib

import pytest
from PIL import Image

from dtbox.errors import InputError
from tests.serving.kit import make_png, make_reader, make_url, read_url


def test_a_data_uri():
    assert make_reader().read(make_url()).flatten().tolist() == [200, 0, 0]
    assert make_reader().read(make_url().replace('data:', 'DATA:')).shape == (3, 1, 1)


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'WEBP', 'GIF'])
def test_formats(kind):
    assert make_reader().read(make_url(make_png(kind=kind)))[0].item() == pytest.approx(200, abs=3)


@pytest.mark.parametrize('url, says', [
    (None, 'the URL of an image is None'), ('', "is ''; expected data:image/png"),
    ('data:image/png,abc', 'is not written in base64; expected'), ('data:image/png;base64,a!b', r'in base64 \('),
    ('http://127.0.0.1/a.png', 'lies on the network'), ('https://a/b.png', 'lies on the network'),
    ('a.png', 'is a file, and this server reads none'), ('file:///etc/passwd', 'and this server reads none'),
    (make_url(b'hello'), 'cannot be opened: it is broken, or not one of PNG, JPEG'),
    (make_url(make_png(kind='BMP')), 'or not one of PNG'), (make_url(make_png(kind='TIFF')), 'or not one of PNG'),
    (make_url(make_png()[:60]), 'cannot be decoded')])
def test_refused_urls(url, says):
    with pytest.raises(InputError, match=says):
        make_reader().read(url)


def test_limits():
    with pytest.raises(InputError, match='an image has 40 x 30 pixels; this server takes 1,199 pixels'):
        make_reader(pixels=1199).read(make_url())
    with pytest.raises(InputError, match=r'an image has 1\d\d bytes; this server takes 99. Make it smaller.'):
        make_reader(image_bytes=99).read(make_url())
    with pytest.raises(InputError, match='more than the 33,000,000 pixels'):
        make_reader().read(make_url(_bomb()))


def _bomb():
    """A PNG of a few bytes whose head promises 400 million pixels."""
    whole = make_png()
    chunk = b'IHDR' + struct.pack('>II', 20_000, 20_000) + whole[24:29]
    return whole[:12] + chunk + struct.pack('>I', zlib.crc32(chunk)) + whole[33:]


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'in' / 'deep').mkdir(parents=True)
    (tmp_path / 'in' / 'deep' / 'a b.png').write_bytes(make_png())
    (tmp_path / 'out.png').write_bytes(make_png())
    (tmp_path / 'in-2').mkdir()
    (tmp_path / 'in-2' / 'c.png').write_bytes(make_png())
    os.symlink(tmp_path / 'out.png', tmp_path / 'in' / 'link.png')
    os.mkfifo(tmp_path / 'in' / 'pipe.png')
    return tmp_path / 'in'


def test_files_of_a_folder(root):
    reader = make_reader(str(root))
    for url in ('deep/a b.png', root / 'deep' / 'a b.png', f'file://{root}/deep/a%20b.png'):
        assert reader.read(str(url)).flatten().tolist() == [200, 0, 0]
    with pytest.raises(InputError, match='bytes; this server takes 99'):
        make_reader(str(root), image_bytes=99).read('deep/a b.png')


@pytest.mark.parametrize('url', ['../out.png', 'link.png', 'pipe.png', 'deep', 'gone.png', '/etc/passwd', 'a\0.png',
                                 'file:///etc/passwd', '../in-2/c.png', 'file://../out.png', '..%2Fout.png'])
def test_files_outside(root, url):
    """What lies outside, and what is not there, is told in the same words."""
    with pytest.raises(InputError, match='is not a file in the folder that this server reads'):
        make_reader(str(root)).read(url)


def test_a_root_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match='is not a folder'):
        make_reader(str(tmp_path / 'gone'))


def test_markdown():
    from dtbox.serving.images import write_markdown, write_png
    png = write_png(Image.new('RGB', (2, 3), (1, 2, 3)))
    text = write_markdown(png)
    assert text.startswith('![drawing](data:image/png;base64,') and text.endswith(')')
    assert base64.b64decode(text[:-1].partition('base64,')[2]) == png
    assert read_url(text[:-1]).tolist() == [[[1, 2, 3]] * 2] * 3
