"""JPEG files by torchvision: on a CPU, as its decoder takes the same arguments there as on a GPU."""
import io

import numpy as np
import pytest
import torch
from PIL import Image

from dtbox.datasets.read import read_image
from dtbox.errors import InputError
from dtbox.tokens.encoder import Encoder, Settings
from dtbox.tokens.encoding import prepare_item
from dtbox.tokens.jpeg import GpuJpeg
from dtbox.tokens.sources import find_source
from tests.shard_data import write_shard


def make_file(kind='JPEG', mode='RGB', **options):
    """Bytes of an image of 24 x 16 pixels, whose left half is dark."""
    pixels = np.full((16, 24, 3), 30, np.uint8)
    pixels[:, 12:] = [200, 180, 160]
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind, **options)
    return out.getvalue()


@pytest.fixture
def decoder():
    pytest.importorskip('torchvision')
    decoder = GpuJpeg(torch.device('cpu'))
    decoder.calls, decode = [], decoder._decode
    decoder._decode = lambda *args, **more: decoder.calls.append(more) or decode(*args, **more)
    return decoder


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    return make_file(exif=exif)


@pytest.mark.parametrize('content, calls', [
    (make_file(quality=95), 1), (make_file(mode='L', quality=95), 1), (turned(), 1), (make_file('PNG'), 0),
    (make_file(mode='CMYK'), 0)], ids=['colour', 'gray', 'turned', 'png', 'cmyk'])
def test_images_are_those_of_pillow(decoder, content, calls):
    """Size, orientation and mode are the same; values differ by the rounding of decoders."""
    image, wanted = decoder(content), read_image(io.BytesIO(content))
    assert image.mode == 'RGB' and image.size == wanted.size and len(decoder.calls) == calls
    assert np.abs(np.asarray(image, int) - np.asarray(wanted, int)).max() <= 3
    assert all(call == dict(mode='RGB', device=torch.device('cpu')) for call in decoder.calls)


def test_broken_files(decoder, monkeypatch):
    """What Pillow refuses is refused in its words; what the decoder alone refuses names the option."""
    with pytest.raises(InputError, match='broken or truncated'):
        decoder(make_file()[:-40])
    assert not decoder.calls

    def fail(*args, **more):
        raise RuntimeError('nvjpegDecode failed: 4')
    decoder._decode = fail
    with pytest.raises(InputError, match=r'nvJPEG cannot decode .*but Pillow can. Encode without --jpeg gpu'):
        decoder(make_file())


@pytest.mark.parametrize('error', [torch.OutOfMemoryError('full'), RuntimeError('CUDA error: lost')])
def test_failures_of_the_gpu_are_not_those_of_files(decoder, error):
    def fail(*args, **more):
        raise error
    decoder._decode = fail
    with pytest.raises(type(error)) as caught:
        decoder(make_file())
    assert caught.value is error


@pytest.mark.parametrize('jpeg, says', [('gpu', 'it needs a GPU: --device cuda'), ('tpu', "expected 'cpu' or 'gpu'")])
def test_places_that_are_refused(jpeg, says):
    with pytest.raises(InputError, match=f'--jpeg: .*{says}'):
        Encoder(Settings('dtbox://dualtoken-twemoji', jpeg=jpeg), compute=False)


def test_the_decoder_is_part_of_the_pipeline(decoder, monkeypatch, tmp_path):
    """Files are decoded by it, and shards of the two decoders do not mix."""
    plain = Encoder(Settings('dtbox://dualtoken-twemoji'), compute=False)
    monkeypatch.setattr(Encoder, '_choose_decoder', lambda self, jpeg: decoder)
    encoder = Encoder(Settings('dtbox://dualtoken-twemoji'), compute=False)
    assert encoder.fingerprint.differences(plain.fingerprint) == ['pipeline']
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'a.jpg').write_bytes(make_file())
    for source in (str(tmp_path / 'photos'), write_shard(tmp_path / 's.tar', [1])):
        decoder.calls.clear()
        item, = (item for shard in find_source(source).cut() for item in shard.items())
        (row, image), = prepare_item(encoder, item)
        assert row.status == 'ok' and image is not None and len(decoder.calls) == 1
