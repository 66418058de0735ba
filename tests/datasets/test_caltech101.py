"""Caltech-101 in the layouts in which it is published and unpacked."""
import io
import shutil
import tarfile
import zipfile

import pytest

from dtbox.datasets import Caltech101
from dtbox.datasets.caltech101 import FOLDER, TAR, ZIP, divide
from dtbox.errors import InputError
from tests.format_data import caltech101 as write


def pack(root):
    """caltech-101.zip with the tar in it, as it is published, and nothing beside it."""
    with tarfile.open(root / TAR, 'w:gz') as archive:
        archive.add(root / FOLDER, FOLDER)
        archive.addfile(tarfile.TarInfo(f'{FOLDER}/accordion/._image_0001.jpg'), io.BytesIO())
    with zipfile.ZipFile(root / ZIP, 'w') as archive:
        archive.writestr('__MACOSX/caltech-101/._101_ObjectCategories.tar.gz', b'junk')
        archive.writestr('caltech-101/Annotations.tar', b'no images')
        archive.write(root / TAR, f'caltech-101/{TAR}')
    (root / TAR).unlink()
    shutil.rmtree(root / FOLDER)
    return root


def test_folder(tmp_path):
    data = Caltech101(write(tmp_path), 'all')
    assert data.classes == ('faces easy', 'accordion', 'yin yang') and len(data) == 12
    sample = data[4]
    assert (sample['key'], sample['label'], sample['text']) == ('accordion/image_0001.jpg', 1, 'a photo of a accordion')
    assert sample['image'].size == (40, 30) and sample['image'].mode == 'RGB'
    assert data.notes == ['4 images are left out: those of BACKGROUND_Google, which are of no class']
    assert [s['key'] for s in Caltech101(tmp_path / FOLDER, 'all')] == [s['key'] for s in data]


def test_archives_hold_the_same(tmp_path):
    """The zip as published, by its own path or that of its folder, and the tar alone, give the samples of the
    folder."""
    wanted = [(s['key'], s['label'], s['image'].tobytes()) for s in Caltech101(write(tmp_path), 'test', training=2)]
    with tarfile.open(tmp_path / 'alone.tar', 'w:gz') as archive:
        archive.add(tmp_path / FOLDER, FOLDER)
    (tmp_path / 'tar').mkdir()
    (tmp_path / 'alone.tar').rename(tmp_path / 'tar' / TAR)
    pack(tmp_path)
    for root in (tmp_path, tmp_path / ZIP, tmp_path / 'tar', tmp_path / 'tar' / TAR):
        data = Caltech101(root, 'test', training=2)
        assert [(s['key'], s['label'], s['image'].tobytes()) for s in data] == wanted
        assert len(data.notes) == 1


def test_division(tmp_path):
    """Three of four images of a class are for training, the fourth is for testing; nothing depends on the order."""
    write(tmp_path)
    train, test = (Caltech101(tmp_path, split, training=3) for split in ('train', 'test'))
    keys = [s['key'] for s in train], [s['key'] for s in test]
    assert len(keys[0]) == 9 and len(keys[1]) == 3 and not set(keys[0]) & set(keys[1])
    assert {s['set'] for s in test} == {'test'} and [s['label'] for s in test] == [0, 1, 2]
    assert [s['key'] for s in Caltech101(tmp_path, 'heldout', training=3)] == keys[1]
    names = [f'a/{i}.jpg' for i in range(90)]
    assert divide(names, 'train', 30, 50) == divide(names[::-1], 'train', 30, 50)
    assert len(divide(names, 'train', 30, 50)) == 30 and len(divide(names, 'test', 30, 50)) == 50
    parts = [divide(names, part, None, 50) for part in ('train', 'test')]
    assert sorted(parts[0] + parts[1]) == sorted(names) and 9 <= len(parts[1]) <= 27  # a fifth, by a hash


def test_limit_is_even(tmp_path):
    assert [s['label'] for s in Caltech101(write(tmp_path), 'all', limit=4)] == [0, 0, 1, 2]


def test_what_is_not_there(tmp_path):
    """Each error names what is missing and where it comes from."""
    with pytest.raises(InputError, match=r'has none of 101_ObjectCategories, 101_ObjectCategories\.tar\.gz, '
                                         r'caltech-101\.zip\. Get .*https://data\.caltech\.edu'):
        Caltech101(tmp_path)
    with pytest.raises(InputError, match='does not exist'):
        Caltech101(tmp_path / 'nowhere')
    with pytest.raises(InputError, match='needs `data_root`; got None'):
        Caltech101()
    with pytest.raises(InputError, match='no split `val`.* It has: train, test'):
        Caltech101(tmp_path, 'val')
    (tmp_path / FOLDER).mkdir()
    with pytest.raises(InputError, match='holds no images in class folders such as accordion/image_0001.jpg'):
        Caltech101(tmp_path)
    write(tmp_path)
    with pytest.raises(InputError, match='has no images for `test`: no class has more than 30 images'):
        Caltech101(tmp_path, 'test')


def test_broken_archives(tmp_path):
    (tmp_path / ZIP).write_bytes(b'half')
    with pytest.raises(InputError, match='cannot be read .*half downloaded, or another file'):
        Caltech101(tmp_path)
    with zipfile.ZipFile(tmp_path / ZIP, 'w') as archive:
        archive.writestr('show_annotation.m', b'')
    with pytest.raises(InputError, match=r'has no 101_ObjectCategories\.tar\.gz; it holds show_annotation\.m'):
        Caltech101(tmp_path)
    whole = pack(write(tmp_path / 'whole'))
    with zipfile.ZipFile(whole / ZIP) as archive:
        content = archive.read(f'caltech-101/{TAR}')
    (tmp_path / TAR).write_bytes(content[:len(content) // 2])
    with pytest.raises(InputError, match='cannot be read'):
        Caltech101(tmp_path)
    write(tmp_path / 'spoilt')
    (tmp_path / 'spoilt' / FOLDER / 'accordion' / 'image_0001.jpg').write_bytes(b'no image')
    data = Caltech101(tmp_path / 'spoilt', 'all', broken='skip')
    assert [s['key'] for s in data if 'broken' in s] == ['accordion/image_0001.jpg']
