"""Photographs, whatever they lie in; and a remark where they are drawings."""

import numpy as np
import pytest
from PIL import Image

from dtbox.datasets import Caltech101, ImageFolder, Photographs, Shards
from dtbox.datasets.photographs import looks_drawn
from dtbox.errors import InputError
from tests import shard_data
from tests.datasets.test_caltech101 import pack
from tests.format_data import caltech101 as write

REMARK = 'looked at have transparent parts or fewer than 64 colours, as drawings have'


def write_noise(path, channels=3):
    """A PNG of many colours, or of many levels of gray."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.name))
    pixels = rng.integers(0, 256, (64, 64, channels) if channels > 1 else (64, 64), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_drawing(path, transparent):
    """A red square on white, or on nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new('RGBA', (64, 64), (255, 255, 255, 0 if transparent else 255))
    image.paste((200, 0, 0, 255), (16, 16, 48, 48))
    image.save(path)


def test_what_data_root_holds(tmp_path):
    """Caltech-101 packed or not with all of its images, shards with the names beside them, or any folder."""
    write(tmp_path / 'a', each=20)
    pack(write(tmp_path / 'b', each=20))
    unpacked, packed = (Photographs(str(tmp_path / name), 'heldout') for name in 'ab')
    assert type(unpacked) is type(packed) is Caltech101 and len(unpacked) == len(packed)
    assert len(unpacked) + len(Photographs(str(tmp_path / 'a'), 'train')) == 60
    for name in ('train-000.tar', 'test-000.tar'):
        (tmp_path / 'c').mkdir(exist_ok=True)
        shard_data.write_set(tmp_path / name, [3])
        next((tmp_path / name).glob('*.tar')).rename(tmp_path / 'c' / name)
    (tmp_path / 'c' / 'classes.txt').write_text('cat\ndog\n')
    shards = Photographs(str(tmp_path / 'c'), 'heldout', limit=2)
    assert type(shards) is Shards and shards.classes == ('cat', 'dog') and len(shards) == 2
    assert len(Photographs(str(tmp_path / 'c'))) == 3
    for i in range(4):
        write_noise(tmp_path / 'd' / f'{i}.png')
    assert type(Photographs(str(tmp_path / 'd'))) is ImageFolder
    with pytest.raises(InputError, match=r'Photographs needs `data_root`; got None\. Give data_root=PATH'):
        Photographs()


@pytest.mark.parametrize('drawings, told', [(4, True), (3, True), (2, False), (0, False)])
def test_a_folder_of_drawings_is_remarked_on(tmp_path, monkeypatch, drawings, told):
    """Half of the images, not fewer; grayscale photographs are none."""
    for i in range(6):
        if i < drawings:
            write_drawing(tmp_path / 'train' / f'{i}.png', transparent=bool(i % 2))
        else:
            write_noise(tmp_path / 'train' / f'{i}.png', channels=1 + 2 * (i % 2))
    write_noise(tmp_path / 'val' / 'a.png')
    logged = []
    monkeypatch.setattr('dtbox.datasets.photographs.print_log', lambda text, *args, **kwargs: logged.append(text))
    for split in ('train', 'heldout'):  # both find the same; one remark is enough
        Photographs(str(tmp_path), split)
    assert [f'{drawings} of 6 images {REMARK}' in text for text in logged] == [True] * told


def test_images_of_one_and_four_channels(tmp_path):
    """They come as RGB."""
    write_noise(tmp_path / '1.png', channels=1)
    write_noise(tmp_path / '4.png', channels=4)
    data = ImageFolder(tmp_path, 'all')
    assert [s['image'].mode for s in data] == ['RGB', 'RGB']
    assert looks_drawn(tmp_path / '4.png') and not looks_drawn(tmp_path / '1.png')
    (tmp_path / 'a.png').write_text('none')
    assert not looks_drawn(tmp_path / 'a.png')
