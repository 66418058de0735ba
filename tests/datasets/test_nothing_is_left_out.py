"""What is found but not used is named; what is used is used as its author meant it."""
import logging
import os

import numpy as np
import pytest
from mmengine.logging import MMLogger
from PIL import Image

from dtbox.datasets.base import hash_fraction
from dtbox.datasets.captions import read_captions
from dtbox.datasets.collate import collate
from dtbox.datasets.flickr import Captions
from dtbox.datasets.image_folder import ImageFolder
from dtbox.datasets.read import read_image, verify_image
from dtbox.errors import InputError

PACK = [dict(type='ResizeCrop', size=32), dict(type='PackImage')]


def photo(path, colour=(200, 30, 30), size=(40, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, colour).save(path)


@pytest.fixture
def warned(monkeypatch):
    """Collect the warnings of the log."""
    lines = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    monkeypatch.setattr(MMLogger.get_current_instance(), 'handlers', [handler])
    return lines


# ---- folders ---------------------------------------------------------------------------------------------------------


def test_other_kinds_of_files_are_counted(tmp_path, warned):
    for i in range(4):
        photo(tmp_path / f'{i}.png')
    for i in range(9):
        (tmp_path / f'{i}.HEIC').write_bytes(b'x')
    (tmp_path / 'readme.md').write_text('x')
    found = ImageFolder(tmp_path, 'train', PACK)
    says = ('9 files that end in .heic are left out: not among the kinds of images that are read, which Pillow reads '
            'with the package pillow-heif; convert them')
    assert found.notes == [says] and any(says in line for line in warned)


def test_folders_that_may_not_be_entered(tmp_path, monkeypatch):
    photo(tmp_path / 'a.png'), photo(tmp_path / 'b.png'), photo(tmp_path / 'locked' / 'c.png')
    scan = os.scandir

    def refuse(path='.'):
        if os.fspath(path).endswith('locked'):
            raise PermissionError(13, 'Permission denied', os.fspath(path))
        return scan(path)
    monkeypatch.setattr(os, 'scandir', refuse)
    found = ImageFolder(tmp_path, 'train', PACK)
    assert found.notes == [f'the folder {tmp_path / "locked"} is left out: Permission denied']


def test_parts_below_a_single_folder(tmp_path):
    """images/train and images/val are parts, no classes."""
    for i in range(3):
        photo(tmp_path / 'images' / 'train' / f'{i}.png'), photo(tmp_path / 'images' / 'val' / f'v{i}.png')
    train, held = (ImageFolder(tmp_path, split, PACK) for split in ('train', 'heldout'))
    assert train.keys == [f'train/{i}.png' for i in range(3)] and held.keys == [f'val/v{i}.png' for i in range(3)]
    assert not train.classes and not train.has_texts


def test_a_third_part_is_told(tmp_path):
    for part in ('train', 'val', 'test'):
        photo(tmp_path / part / 'a.png'), photo(tmp_path / part / 'b.png')
    assert ImageFolder(tmp_path, 'train', PACK).notes == ['2 images are left out, in test/: the parts are train, val']


def test_one_loose_image_leaves_the_classes(tmp_path, warned):
    for name in ('cat', 'dog'):
        for i in range(10):
            photo(tmp_path / name / f'{i}.png')
    photo(tmp_path / 'x.png')
    found = [ImageFolder(tmp_path, split, PACK) for split in ('train', 'heldout')]
    assert found[0].classes == ('cat', 'dog') and sum(map(len, found)) == 20
    assert found[0].notes == ['1 image is left out, in no class folder: x.png']


def test_folders_of_systems_are_no_data(tmp_path):
    photo(tmp_path / 'a.png'), photo(tmp_path / 'b.png')
    for name in ('@eaDir', '$RECYCLE.BIN', 'lost+found', '__MACOSX'):
        photo(tmp_path / name / 'a.png')
    assert sum(len(ImageFolder(tmp_path, split, PACK)) for split in ('train', 'heldout')) == 2


def test_names_that_are_not_utf8(tmp_path):
    for name in (b'a.png', b'b.png', b'caf\xe9.png'):
        Image.new('RGB', (40, 40)).save(os.path.join(os.fsencode(tmp_path), name), 'PNG')
    parts = [ImageFolder(tmp_path, split, PACK) for split in ('train', 'heldout')]
    keys = [key for part in parts for key in part.keys]
    assert sorted(keys) == ['a.png', 'b.png', 'caf\\xe9.png'] and all(key.isprintable() for key in keys)
    assert all(part.fingerprint() and part[0]['image'].shape == (3, 32, 32) for part in parts)
    assert 0 <= hash_fraction('heldout', '\ud83d') < 1


# ---- images ----------------------------------------------------------------------------------------------------------


def test_a_large_image_is_not_called_broken(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 600)  # an error from twice as many on
    photo(tmp_path / 'a.png'), photo(tmp_path / 'b.png', size=(32, 32)), photo(tmp_path / 'c.png', size=(32, 32))
    with pytest.raises(InputError, match='a.png has 0 million pixels, more than Pillow opens .*Make it smaller'):
        verify_image(tmp_path / 'a.png')
    with pytest.warns(Image.DecompressionBombWarning):
        found = [flaw for split in ('train', 'heldout') for flaw in ImageFolder(tmp_path, split, PACK).flaws]
    assert found and all('more than Pillow opens' in flaw and 'broken' not in flaw for flaw in found)


def test_an_image_that_may_not_be_read(tmp_path, monkeypatch):
    photo(tmp_path / 'a.png')

    def refuse(*_, **__):
        raise PermissionError(13, 'Permission denied')
    monkeypatch.setattr(Image, 'open', refuse)
    for read in (read_image, verify_image):
        with pytest.raises(InputError, match='a.png may not be read: permission denied'):
            read(tmp_path / 'a.png')


@pytest.mark.parametrize('top, odd', [(1.0, 1.0001), (1.0, np.inf), (1.0, np.nan), (255.0, 256.0), (65535.0, 65535.0)])
def test_floats_of_every_range(tmp_path, top, odd):
    """A ramp from 0 to the top keeps its range, whatever one value in a thousand is."""
    ramp = np.tile(np.linspace(0, top, 64, dtype=np.float32), (64, 1))
    ramp[0, 0] = odd
    Image.fromarray(ramp).save(tmp_path / 'ramp.tiff')
    gray = np.asarray(read_image(tmp_path / 'ramp.tiff'))[1, :, 0].astype(int)
    assert gray[0] == 0 and gray[-1] == 255 and abs(gray - np.linspace(0, 255, 64)).max() <= 1


@pytest.mark.parametrize('top, spare', [(1.0, 0.02), (1.0, 0.1), (255.0, 5.0)])
def test_floats_that_overshoot(tmp_path, top, spare):
    """Resizing overshoots on both sides, and not in one value alone."""
    ramp = np.tile(np.linspace(-spare, top + spare, 64, dtype=np.float32), (64, 1))
    Image.fromarray(ramp).save(tmp_path / 'ramp.tiff')
    gray = np.asarray(read_image(tmp_path / 'ramp.tiff'))[1, :, 0]
    assert gray.min() == 0 and gray.max() == 255 and abs(gray.mean() - 127.5) < 2


@pytest.mark.parametrize('low, high, kind', [(-1, 1, np.float32), (-100, 155, np.int32), (0, 1e6, np.float32),
                                             (0, 2 ** 31 - 1, np.int32)])
def test_deep_images_of_no_known_range(tmp_path, warned, low, high, kind):
    """They would turn half black, or white: the folder names them before the training."""
    Image.fromarray(np.tile(np.linspace(low, high, 64), (64, 1)).astype(kind)).save(tmp_path / 'deep.tiff')
    for i in range(4):
        photo(tmp_path / f'{i}.png')
    for read in (read_image, verify_image):
        with pytest.raises(InputError, match=r'its values go from .* to .*; expected \[0, 1\], \[0, 255\] or'):
            read(tmp_path / 'deep.tiff')
    ImageFolder(tmp_path, 'train', min_size=1), ImageFolder(tmp_path, 'heldout', min_size=1)
    assert any('deep.tiff (its values go from' in line for line in warned)


def test_each_flaw_has_its_own_reason(tmp_path, warned):
    """An empty file, a pipe and a page of a web server are not cut short."""
    for i in range(40):
        photo(tmp_path / f'{i}.png')
    (tmp_path / 'empty.png').touch()
    (tmp_path / 'page.jpg').write_text('<html>404</html>')
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'circle.png').symlink_to('circle.png')
    for file, says in dict(empty='is empty: it has no bytes', pipe='is a pipe or a device, not a file',
                           circle='is a link that leads back to itself').items():
        with pytest.raises(InputError, match=says):
            read_image(tmp_path / f'{file}.png')
    for split in ('train', 'heldout'):
        ImageFolder(tmp_path, split, min_size=1)
    text = ' '.join(warned)
    for reason in ('empty.png (empty)', 'page.jpg (in no image format that Pillow knows)',
                   'pipe.png (a pipe or a device)', 'circle.png (Too many levels of symbolic links)'):
        assert reason in text


@pytest.mark.parametrize('heldout', ['dev', 'eval', 'Evaluation'])
def test_other_names_of_held_out_parts(tmp_path, heldout):
    for name in ('train/a', 'train/b', f'{heldout}/c'):
        photo(tmp_path / 'images' / f'{name}.png')
    train, held = (ImageFolder(tmp_path, split, min_size=1) for split in ('train', 'heldout'))
    assert train.keys == ['train/a.png', 'train/b.png'] and held.keys == [f'{heldout}/c.png']
    assert train.classes == held.classes == ()


def test_what_a_network_drive_leaves(tmp_path, warned):
    for name in ('cat/a', 'cat/b', 'dog/a', 'dog/b', 'dog/#recycle/z', '@tmp/y', 'cat/._a'):
        photo(tmp_path / f'{name}.png')
    train = ImageFolder(tmp_path, 'train', min_size=1)
    assert train.classes == ('cat', 'dog') and 'dog/#recycle/z.png' not in train.keys
    assert [line for line in warned if 'left out' in line] == [
        'ImageFolder: 2 folders are left out (made by a system, not by people): @tmp, dog/#recycle']


# ---- captions --------------------------------------------------------------------------------------------------------


def captions_of(tmp_path, name, content, images, lists=None):
    for image in images:
        photo(tmp_path / 'images' / image)
    (tmp_path / name).write_bytes(content.encode('utf-8-sig' if name.endswith('sig') else 'utf-8'))
    for file, text in (lists or {}).items():
        (tmp_path / file).write_text(text, encoding='utf-8-sig')
    found = Captions(tmp_path, 'test' if lists else 'all', annotations=name, pipeline=PACK)
    return {found[i]['key'].rpartition('/')[2]: found[i]['captions'] for i in range(len(found))}


def test_a_row_that_lost_its_bar(tmp_path):
    """The published results.csv of Flickr30k has one."""
    text = 'image_name| comment_number| comment\n1.jpg| 0| A dog runs .\n1.jpg| 4   A dog runs across the grass .\n'
    assert captions_of(tmp_path, 'results.csv', text, ['1.jpg']) == {'1.jpg': ['A dog runs .', 'A dog runs across the '
                                                                              'grass .']}


def test_commas_of_a_caption(tmp_path):
    text = 'image,caption\n1.jpg,A man , a dog , and a cat .\n2.jpg,"A cat, quoted ""so""."\n'
    assert captions_of(tmp_path, 'captions.txt', text, ['1.jpg', '2.jpg']) == {
        '1.jpg': ['A man , a dog , and a cat .'], '2.jpg': ['A cat, quoted "so".']}


def test_a_line_separator_inside_a_caption(tmp_path):
    text = '1.jpg#0\tA dog\u2028runs .\n2.jpg#0\tA cat .\r\n'
    assert captions_of(tmp_path, 'Flickr8k.token.txt', text, ['1.jpg', '2.jpg']) == {'1.jpg': ['A dog runs .'],
                                                                                  '2.jpg': ['A cat .']}


def test_a_list_with_a_byte_order_mark(tmp_path):
    text = '1.jpg#0\tA dog .\n2.jpg#0\tA cat .\n'
    assert list(captions_of(tmp_path, 'Flickr8k.token.txt', text, ['1.jpg', '2.jpg'],
                            {'Flickr_8k.testImages.txt': '1.jpg\n'})) == ['1.jpg']


def test_half_of_a_character(tmp_path):
    (tmp_path / 'captions.json').write_text('{"a.png": "a \\ud83d dog"}')
    assert read_captions(tmp_path / 'captions.json') == {'a.png': ['a ? dog']}


def test_samples_without_a_text_are_left_out(tmp_path):
    """Where a loss needs texts they are named like broken ones, and the run goes on."""
    import torch
    items = [dict(image=torch.zeros(3, 2, 2, dtype=torch.uint8), text=text, key=key)
             for key, text in (('a', 'a dog'), ('b', ' '), ('c', ''))]
    batch = collate(items, with_texts=True, need_texts=True)
    assert batch.texts == ['a dog'] and batch.keys == ['a']
    assert batch.broken == [f'the sample {key} has no text, which training needs' for key in 'bc']
    assert collate(items, with_texts=True).texts == ['a dog', ' ', '']
