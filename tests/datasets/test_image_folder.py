"""The user's own images: layouts, texts, broken files."""
import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from dtbox.datasets import ImageFolder, Twemoji
from dtbox.datasets.base import hash_fraction
from dtbox.datasets.near_duplicates import hash_image
from dtbox.errors import InputError
from dtbox.registry import DATASETS


def save(root, *names, size=(40, 36)):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(sum(name.encode())).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)


def keys(root, split, **kwargs):
    return ImageFolder(root, split, **kwargs).keys


@pytest.fixture
def log(monkeypatch):
    lines = []
    for module in ('base', 'image_folder'):
        monkeypatch.setattr(f'dtbox.datasets.{module}.print_log', lambda text, *args, **kwargs: lines.append(text))
    return lines


@pytest.mark.parametrize('count, holdout, heldout', [(62, 0.1, 6), (60, 0.5, 30), (7, 0.3, 2), (5, 0.01, 1)])
def test_hash_holds_out_a_share(tmp_path, count, holdout, heldout):
    """The share is that of the images, not an expectation; those of the smallest hashes, whatever else is there."""
    save(tmp_path, *(f'{i}.png' for i in range(count)))
    train, held = keys(tmp_path, 'train', holdout=holdout), keys(tmp_path, 'heldout', holdout=holdout)
    assert sorted(train + held) == sorted(f'{i}.png' for i in range(count)) and len(held) == heldout
    by_hash = sorted(train + held, key=lambda key: hash_fraction('heldout', key))
    assert set(by_hash[:heldout]) == set(held)


def write_copies(root, images=8, copies=5):
    """Images of smooth noise, each in several sizes, formats and degrees of brightness."""
    for i in range(images):
        noise = np.random.default_rng(i).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = Image.fromarray(noise).resize((96, 96), Image.Resampling.BICUBIC)
        for k in range(copies):
            suffix = ('png', 'jpg', 'webp')[k % 3]
            image.resize((96 - 12 * k, 96 - 12 * k)).point(lambda v, k=k: v * (1 - 0.05 * k)).save(
                root / f'{i}_{k}.{suffix}')


def test_near_duplicates_stay_together(tmp_path, log):
    """Copies of an image are on one side; without the option some are not. Images that differ are not joined."""
    write_copies(tmp_path)
    sides = {split: {key[0] for key in keys(tmp_path, split, holdout=0.3, group_near_duplicates=True)}
             for split in ('train', 'heldout')}
    assert not sides['train'] & sides['heldout'] and len(sides['heldout']) == 2
    assert any('40 images make 8 groups of near duplicates' in line for line in log)
    assert {key[0] for key in keys(tmp_path, 'train', holdout=0.3)} & {key[0] for key in
                                                                      keys(tmp_path, 'heldout', holdout=0.3)}
    with pytest.raises(InputError, match='`group_near_duplicates` is 3'):
        keys(tmp_path, 'train', group_near_duplicates=3)


def test_images_that_all_look_alike(tmp_path):
    write_copies(tmp_path, images=1)
    with pytest.raises(InputError, match='images that all look alike'):
        keys(tmp_path, 'heldout', group_near_duplicates=True)


def test_near_duplicates_across_folders_are_noted(tmp_path):
    for part in ('train', 'val'):
        (tmp_path / part).mkdir()
        write_copies(tmp_path / part, images=2, copies=1)
    notes = ImageFolder(tmp_path, 'train', group_near_duplicates=True).notes
    assert notes == ['near duplicates: 2 groups lie on both sides of the division by folders']


def test_hashes_by_hand():
    """A ramp that falls from left to right: each cell is brighter than its neighbour. One that rises: none is."""
    ramp = np.tile(np.arange(90, dtype=np.uint8), (8, 1))
    assert hash_image(Image.fromarray(ramp[:, ::-1])) == 2 ** 64 - 1 and hash_image(Image.fromarray(ramp)) == 0


@pytest.mark.parametrize('holdout', [1e-9, 0.1, 1 - 1e-9])
def test_at_least_one_and_never_all(tmp_path, holdout):
    save(tmp_path, 'a.png', 'b.png', 'c.png')
    (tmp_path / 'd.png').write_bytes(b'broken')
    train, held = keys(tmp_path, 'train', holdout=holdout), keys(tmp_path, 'heldout', holdout=holdout)
    assert sorted(train + held) == ['a.png', 'b.png', 'c.png'] and train and held


@pytest.mark.parametrize('name', ['val', 'test', 'Validation', 'heldout'])
def test_divided_by_folders(tmp_path, name):
    save(tmp_path, 'train/a.png', 'train/deep/b.png', f'{name}/c.png', 'other/d.png')
    assert keys(tmp_path, 'train') == ['train/a.png', 'train/deep/b.png'] and keys(tmp_path,
                                                                                   'heldout') == [f'{name}/c.png']
    assert ImageFolder(tmp_path, 'heldout')[0]['set'] == 'heldout'


def test_samples_are_upright_rgb_and_picklable(tmp_path):
    save(tmp_path, 'a.png', 'b.png')
    Image.new('RGBA', (50, 40), (1, 2, 3, 0)).save(tmp_path / 'a.png')
    Image.new('CMYK', (50, 40)).save(tmp_path / 'b.jpg')
    for split in ('train', 'heldout'):
        data = pickle.loads(pickle.dumps(ImageFolder(tmp_path, split)))
        for item in data:
            assert item['image'].mode == 'RGB' and item['text'] == '' and item['label'] == -1 and item['set'] == split
        assert data.metainfo == dict(classes=(), texts=False)


def test_class_folders(tmp_path):
    save(tmp_path, *(f'images/{c}/{i}.png' for c in ('golden_retriever', 'cat') for i in range(6)))
    data = ImageFolder(tmp_path, 'train')
    assert data.metainfo == dict(classes=('cat', 'golden retriever'), texts=True)
    for item in data:
        dog = 'golden' in item['key']
        assert item['label'] == dog and item['text'] == f'a photo of a {"golden retriever" if dog else "cat"}'
    assert ImageFolder(tmp_path, captions=False).metainfo == dict(classes=(), texts=False)
    save(tmp_path, 'images/loose.png')  # one of 13 is left out
    assert ImageFolder(tmp_path, 'train').metainfo == dict(classes=('cat', 'golden retriever'), texts=True)
    save(tmp_path, 'images/loose2.png')  # two of 14 are more than a tenth: the folders are no classes
    assert ImageFolder(tmp_path, 'train').metainfo == dict(classes=(), texts=False)


def test_class_folders_agree_over_splits(tmp_path):
    save(tmp_path, 'train/a/1.png', 'train/b/1.png', 'train/c/1.png', 'val/c/1.png')
    held = ImageFolder(tmp_path, 'heldout')
    assert held.classes == ImageFolder(tmp_path).classes == ('a', 'b', 'c') and held[0]['label'] == 2


def test_captions_file(tmp_path, log):
    save(tmp_path, *(f'x/{i}.png' for i in range(5)), *(f'y/{i}.png' for i in range(5, 9)))
    (tmp_path / 'captions.json').write_text(json.dumps({
        'x/0.png': 'one', 'x/1.png': ['two', 'zwei'], 'x/2.png': '  ', '5.png': 'by bare name',
        'gone.png': 'of nothing'}))
    items = {i['key']: i for split in ('train', 'heldout') for i in ImageFolder(tmp_path, split, holdout=0.2)}
    texts = {key: item['text'] for key, item in items.items()}
    assert texts['x/0.png'] == 'one' and texts['x/1.png'] in ('two',
                                                              'zwei') and texts['x/2.png'] == texts['x/3.png'] == ''
    assert texts['y/5.png'] == 'by bare name' and {item['label'] for item in items.values()} == {-1}
    assert any('1 entry matches no image' in line for line in log)
    without = [int(line.split('; ')[1].split()[0]) for line in log if 'no caption' in line]
    assert sum(without) == 6


def test_training_draws_one_of_several_captions(tmp_path):
    save(tmp_path, 'train/a.png', 'val/a.png')
    for part in ('train', 'val'):
        (tmp_path / part / 'metadata.jsonl').write_text(json.dumps(dict(file_name='a.png',
                                                                        text=[f'{part} 1', f'{part} 2'])))
    train, held = ImageFolder(tmp_path, 'train'), ImageFolder(tmp_path, 'heldout')
    assert {train[epoch]['text'] for epoch in range(12)} == {'train 1', 'train 2'}
    assert {held[epoch]['text'] for epoch in range(12)} == {'val 1'}
    assert train.texts == ['train 1', 'train 2'] and held.texts == ['val 1']


def test_one_captions_file_for_both_folders(tmp_path):
    save(tmp_path, 'train/a.png', 'val/b.png')
    (tmp_path / 'text.tsv').write_text('file\tcaption\ntrain/a.png\tof a\nb.png\tof b\n')
    assert ImageFolder(tmp_path, 'train', captions='text.tsv')[0]['text'] == 'of a'
    assert ImageFolder(tmp_path, 'heldout', captions=str(tmp_path / 'text.tsv'))[0]['text'] == 'of b'


def test_sidecar_files(tmp_path):
    save(tmp_path, 'a.png', 'b.png')
    (tmp_path / 'a.txt').write_text('a red\n door\n')
    texts = {i['key']: i['text'] for split in ('train', 'heldout') for i in ImageFolder(tmp_path, split)}
    assert texts == {'a.png': 'a red door', 'b.png': ''}


def test_broken_and_tiny_pictures_are_named_and_skipped(tmp_path, log):
    save(tmp_path, *(f'train/{i}.png' for i in range(3)), 'val/a.png')
    save(tmp_path, 'train/tiny.png', size=(90, 31))
    save(tmp_path, 'train/whole.jpg', size=(200, 100))
    content = (tmp_path / 'train/whole.jpg').read_bytes()
    (tmp_path / 'train/cut.jpg').write_bytes(content[:len(content) * 2 // 3])
    (tmp_path / 'train/text.png').write_text('no image')
    (tmp_path / 'train/link.png').symlink_to(tmp_path / 'gone.png')
    data = ImageFolder(tmp_path, 'train')
    assert data.keys == ['train/0.png', 'train/1.png', 'train/2.png', 'train/whole.jpg']
    assert 'skipped 4 of 8 images: train/cut.jpg (broken or truncated), train/link.png' in log[0]
    assert 'tiny.png (90x31, below min_size=32)' in log[0]
    assert len(ImageFolder(tmp_path, 'train', min_size=1)) == 5
    unchecked = ImageFolder(tmp_path, 'train', check=False)
    with pytest.raises(InputError, match='cut.jpg cannot be decoded'):
        unchecked[unchecked.keys.index('train/cut.jpg')]


def test_a_long_list_of_broken_pictures_is_cut(tmp_path, log):
    save(tmp_path, 'train/a.png', 'val/a.png')
    for i in range(15):
        (tmp_path / f'train/broken{i:02}.png').write_bytes(b'x')
    ImageFolder(tmp_path)
    assert 'skipped 15 of 16' in log[0]
    assert 'broken09' in log[0]
    assert 'broken10' not in log[0]
    assert log[0].endswith(', ...')


def test_linked_folders_are_followed_once(tmp_path):
    save(tmp_path / 'far', 'a.png', 'b.png')
    (tmp_path / 'near').mkdir()
    (tmp_path / 'near/link').symlink_to(tmp_path / 'far')
    (tmp_path / 'far/loop').symlink_to(tmp_path / 'far')
    assert sorted(keys(tmp_path / 'near', 'train') + keys(tmp_path / 'near', 'heldout')) == ['link/a.png', 'link/b.png']


def test_bad_folders(tmp_path):
    with pytest.raises(InputError, match='nowhere does not exist'):
        ImageFolder(tmp_path / 'nowhere')
    (tmp_path / 'a.heic').write_text('')
    with pytest.raises(InputError, match='is a file, not a folder'):
        ImageFolder(tmp_path / 'a.heic')
    with pytest.raises(InputError, match=r'holds no images. Files there end in .heic. Images are known by .jpg'):
        ImageFolder(tmp_path)
    (tmp_path / 'a.png').write_bytes(b'x')
    for split in ('train', 'heldout'):
        with pytest.raises(InputError, match=r'no usable images.*None of 1 can be used, e.g. a.png \(in no image'):
            ImageFolder(tmp_path, split)
    save(tmp_path, 'b.png')
    with pytest.raises(InputError, match='one usable image'):
        ImageFolder(tmp_path, 'train')
    with pytest.raises(InputError, match='no split `test`. It has: train, heldout'):
        ImageFolder(tmp_path, 'test')
    with pytest.raises(InputError, match='`holdout` is a fraction'):
        ImageFolder(tmp_path, holdout=1.0)
    with pytest.raises(InputError, match="`data_root` must be the folder .* got ''"):
        ImageFolder('')


def test_captions_that_match_nothing(tmp_path):
    save(tmp_path, 'a.png', 'b.png')
    (tmp_path / 'captions.txt').write_text('c.png\tof c\n')
    with pytest.raises(InputError, match='no entry of .*captions.txt matches an image: it names c.png, the folder '
                                         'holds a.png, b.png'):
        ImageFolder(tmp_path)
    with pytest.raises(InputError, match='gone.json cannot be read'):
        ImageFolder(tmp_path, captions='gone.json')


def test_pictures_chooses(tmp_path):
    save(tmp_path, *(f'{i}.png' for i in range(6)))
    cfg = dict(type='EmojiOrFolder', split='heldout',
               twemoji=dict(pipeline=[dict(type='EmojiPlace', size=16), dict(type='PackImage')]),
               folder=dict(pipeline=[dict(type='ResizeCrop', size=24), dict(type='PackImage')], holdout=0.5))
    emoji, own = DATASETS.build(cfg), DATASETS.build(dict(cfg, data_root=str(tmp_path)))
    assert isinstance(emoji, Twemoji) and emoji[0]['image'].shape == (3, 16, 16)
    assert isinstance(own, ImageFolder) and own[0]['image'].shape == (3, 24,
                                                                      24) and own[0]['image'].dtype == torch.uint8
    assert DATASETS.build(dict(cfg, data_root=str(tmp_path), split='concepts')).keys == own.keys
    assert len(DATASETS.build(cfg, data_root=str(tmp_path))) == len(own)
    with pytest.raises(InputError, match='train_data.twemoji: Twemoji has no split'):
        DATASETS.build(dict(cfg, split='held'), where='train_data')
    with pytest.raises(InputError, match='needs the argument `folder`'):
        DATASETS.build(dict(type='EmojiOrFolder', data_root='x', twemoji={}))


def test_all_images_whether_divided_or_not(tmp_path):
    """One image cannot be divided; a folder with train/ and val/ is taken whole, without what lies beside these."""
    save(tmp_path, 'one/a.png', 'two/train/b.png', 'two/val/c.png', 'two/beside.png')
    assert ImageFolder(tmp_path / 'one', 'all').keys == ['a.png']
    assert ImageFolder(tmp_path / 'two', 'all').keys == ['train/b.png', 'val/c.png']
