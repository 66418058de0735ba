"""What a data set becomes: input shards, keys, texts, and names that say what is in them."""
import json
import os
import pickle
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from dtbox.errors import InputError
from dtbox.tokens.sources import Source, find_kind, find_source
from dtbox.tokens.sources.base import SourceLost, hash_bytes
from tests.format_data import coco_captions, colour_video, frame_folder
from tests.shard_data import add, image, write_set, write_shard
from tests.tokens.kit import write_images


def items(source):
    return [item for shard in source.cut() for item in shard.items()]


def names(source):
    return [shard.name for shard in source.cut()]


def test_a_folder_is_cut_at_a_fixed_count(photos):
    source = find_source(photos, per=4)
    shards = source.cut()
    assert source.kind == 'folder' and [len(shard.entries) for shard in shards] == [4, 4, 2]
    assert [(i.key, i.index) for i in shards[1].items()] == [('004.jpg', 0), ('005.png', 1), ('006.png', 2),
                                                              ('007.png', 3)]
    assert all(name.startswith('photos-') for name in names(source)) and len(set(names(source))) == 3
    found = items(source)[1].read()
    assert found.image.size == (40, 36) and found.error is None
    assert found.digest == hash_bytes(open(f'{photos}/001.png', 'rb').read())


def test_names_follow_what_is_in_the_folder(photos, tmp_path):
    before = names(find_source(photos, per=4))
    moved = shutil.copytree(photos, tmp_path / 'elsewhere' / 'photos')
    assert names(find_source(moved, per=4)) == before
    assert names(find_source(photos, per=4, name='other'))[0].startswith('other-')
    Image.new('RGB', (40, 40)).save(f'{photos}/new.png')
    assert not set(names(find_source(photos, per=4))) & set(before)


def test_input_shards_travel(photos, tmp_path):
    write_set(tmp_path / 'tars', [2])
    for src in (photos, tmp_path / 'tars'):
        shard = find_source(src).cut()[0]
        again = pickle.loads(pickle.dumps(shard))
        assert again.name == shard.name and [i.read().digest for i in again.items()] == [
            i.read().digest for i in shard.items()]


def test_texts_of_a_folder(photos):
    open(f'{photos}/captions.json', 'w').write(json.dumps({'000.jpg': ['a', 'b'], '003.png': 'c'}))
    texts = {item.key: list(item.read().texts) for item in items(find_source(photos))}
    assert texts['000.jpg'] == ['a', 'b'] and texts['003.png'] == ['c'] and texts['001.png'] == []
    assert not any(item.read().texts for item in items(find_source(photos, texts=False)))


def test_both_parts_of_a_divided_folder_with_their_captions(tmp_path):
    for part, caption in (('train', 'one'), ('val', 'two')):
        write_images(tmp_path / part, 1)
        (tmp_path / part / 'captions.txt').write_text(f'000.jpg\t{caption}\n')
    assert [(i.key, list(i.read().texts)) for i in items(find_source(tmp_path))] == [
        ('train/000.jpg', ['one']), ('val/000.jpg', ['two'])]


def test_small_and_broken_images_stay_and_hidden_ones_do_not(tmp_path):
    write_images(tmp_path, 2, size=(3, 3))
    (tmp_path / '.hidden.png').write_bytes((tmp_path / '001.png').read_bytes())
    (tmp_path / 'broken.png').write_bytes(b'no image')
    found = {item.key: item.read() for item in items(find_source(tmp_path))}
    assert list(found) == ['000.jpg', '001.png', 'broken.png'] and found['000.jpg'].image.size == (3, 3)
    assert found['broken.png'].image is None and 'no image format' in found['broken.png'].error
    assert found['broken.png'].digest == hash_bytes(b'no image')


def test_a_missing_image_is_broken_a_missing_folder_is_an_error(photos):
    shard = find_source(photos).cut()[0]
    found = list(shard.items())
    os.remove(f'{photos}/002.png')
    assert found[2].read().error.startswith('the image 002.png does not exist') and found[3].read().error is None
    shutil.rmtree(photos)
    with pytest.raises(SourceLost, match='photos is gone'):
        found[3].read()


def test_shards(tmp_path):
    source = find_source(write_set(tmp_path / 's', [3, 2]))
    assert source.kind == 'shards' and [name[:4] for name in names(source)] == ['s-0-', 's-1-']
    found = items(source)
    assert [(i.key, i.index) for i in found] == [('s-0/000000', 0), ('s-0/000001', 1), ('s-0/000002', 2),
                                                  ('s-1/000003', 0), ('s-1/000004', 1)]
    read = found[3].read()
    assert read.texts == ['image 3'] and read.digest == hash_bytes(image(3)) and read.image.size == (40, 30)


def test_names_of_shards_follow_their_content(tmp_path):
    write_set(tmp_path / 'a', [3])
    write_shard(tmp_path / 'b' / 's-0.tar', range(7, 10))
    shutil.copytree(tmp_path / 'a', tmp_path / 'c')
    a, b, c = (names(find_source(tmp_path / folder)) for folder in 'abc')
    assert a == c and a != b and a[0].startswith('s-0-') and b[0].startswith('s-0-')


def test_images_of_one_key_are_kept_apart(tmp_path):
    """Each has its own image and its own text, whether they follow one another or not."""
    with tarfile.open(tmp_path / 's.tar', 'w') as tar:
        for number, key in enumerate('aaba'):
            add(tar, f'{key}.jpg', image(number))
            add(tar, f'{key}.txt', str(number).encode())
    found = items(find_source(tmp_path / 's.tar'))
    assert [(item.key, item.index) for item in found] == [('s/a', 0), ('s/a', 1), ('s/b', 2), ('s/a', 3)]
    for number, item in enumerate(found):
        read = item.read()
        assert read.digest == hash_bytes(image(number)) and list(read.texts) == [str(number)] and read.error is None


def test_flaws_of_a_shard_are_rows(tmp_path):
    """One sample is cut short, one has a text that is not UTF-8, one has an image that is none."""
    with tarfile.open(tmp_path / 's-2.tar', 'w') as tar:
        add(tar, 'a.jpg', image(1))
        add(tar, 'a.txt', b'\xff\xfe\xff')
        add(tar, 'b.jpg', b'none')
        add(tar, 'c.txt', b'no image')
        add(tar, 'd.jpg', image(4))
    with tarfile.open(tmp_path / 's-2.tar') as tar:
        end = tar.getmember('d.jpg').offset_data + 100
    os.truncate(tmp_path / 's-2.tar', end)
    found = {item.key: item.read() for item in items(find_source(tmp_path / 's-2.tar'))}
    assert 'not UTF-8' in found['s-2/a'].error and found['s-2/a'].digest == hash_bytes(image(1))
    assert 'no image format' in found['s-2/b'].error
    flaws = [read.error for key, read in found.items() if 'flaw' in key]
    assert any('truncated' in flaw for flaw in flaws)
    assert any('1 sample has no image' in flaw for flaw in flaws) and not any(str(tmp_path) in flaw for flaw in flaws)
    assert [item.index for item in items(find_source(tmp_path / 's-2.tar'))] == list(range(len(found)))


def test_a_shard_that_cannot_be_read_at_all(tmp_path):
    (tmp_path / 's-0.tar').write_bytes(b'nothing of a tar' * 100)
    shard = find_source(tmp_path).cut()[0]
    with pytest.raises(InputError, match='^the shard .*s-0.tar is not a tar file'):
        list(shard.items())


def test_coco(tmp_path):
    root = coco_captions(tmp_path / 'coco')
    source = find_source(root)
    found = items(source)
    assert source.kind == 'coco' and all(item.key.startswith('val2017/') for item in found)
    texts = [list(item.read().texts) for item in found]
    assert len(texts[0]) == 2 and texts[-1] == []
    one = find_source(os.path.join(root, 'annotations', 'captions_val2017.json'))
    assert [item.key for item in items(one)] == [item.key for item in found]


def test_a_video_is_cut_at_a_fixed_count(tmp_path):
    """Each part begins with its own first frame, whoever read what came before."""
    colour_video(tmp_path / 'walk.mp4', frames=12)
    source = find_source(tmp_path, per=5)
    whole, parts = items(find_source(tmp_path / 'walk.mp4')), items(source)
    assert source.kind == 'video' and [len(list(s.items())) for s in source.cut()] == [5, 5, 2]
    assert [i.key for i in parts] == [f'walk.mp4/{n:06d}' for n in range(12)] and parts[5].index == 0
    for a, b in zip(whole, parts):
        assert np.array_equal(np.asarray(a.read().image), np.asarray(b.read().image))
    assert len({i.read().digest for i in parts}) == 12
    assert [i.key for i in items(find_source(tmp_path, stride=5))] == [f'walk.mp4/{n:06d}' for n in (0, 5, 10)]
    assert names(find_source(tmp_path, stride=5)) != names(find_source(tmp_path))


def test_folders_of_frames(tmp_path):
    frame_folder(tmp_path / 'clip')
    found = items(find_source(tmp_path / 'clip', 'video', stride=2))
    assert found[1].key == 'clip/000002' and found[1].read().digest


def test_a_config_of_data(tmp_path, photos):
    path = tmp_path / 'data.py'
    path.write_text(f"val_dataloader = dict(batch_size=2, dataset=dict(type='ImageFolder', data_root={photos!r}, "
                    "split='all', check=False, pipeline=[dict(type='ResizeCrop', size=8), dict(type='PackImage')]))")
    source = find_source(path, per=6)
    found = items(source)
    assert source.kind == 'config' and [item.key for item in found] == [i.key for i in items(find_source(photos))]
    assert found[6].index == 0 and found[0].read().image.size == (40, 36) and names(source)[0].startswith('data-held')


@pytest.mark.parametrize('make, kind', [
    ('a/x.png', 'folder'), ('a/x.tar', 'shards'), ('a/x.mp4', 'video'),
    ('a/annotations/captions_val2017.json', 'coco')])
def test_what_a_folder_looks_like(tmp_path, make, kind):
    (tmp_path / make).parent.mkdir(parents=True)
    (tmp_path / make).touch()
    assert find_kind(str(tmp_path / 'a')) == kind


def test_what_a_name_looks_like():
    assert find_kind('pipe:cat x.tar') == find_kind('data/{000..003}.tar') == find_kind('data/*') == 'shards'
    assert find_kind('imagenet') == 'config'


@pytest.mark.parametrize('src, says', [
    ('gone', 'gone does not exist. Expected a folder'), ('s3://b/x', 'pipe:aws s3 cp s3://b/x -'),
    ('one.png', 'is one image; give its folder'), ('notes.txt', 'a file of another kind'), ('empty', 'holds no images'),
    ('imagenet', 'no data to encode')])
def test_what_is_no_data_set(tmp_path, monkeypatch, src, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    for name in ('one.png', 'notes.txt'):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=says):
        find_source(src)


def test_lists_of_a_source_leave_out_what_is_encoded(photos):
    source = find_source(photos, per=4)
    assert isinstance(source, Source)
    rest = source.cut({source.lists[0].prefix: {'000.jpg', '005.png'}})
    assert [e.key for shard in rest for e in shard.entries][:5] == ['001.png', '002.png', '003.png', '004.jpg',
                                                                    '006.png']
