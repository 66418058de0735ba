"""COCO captions, Karpathy's JSON and Flickr's token files."""
import json

import pytest

from dtbox.datasets import Captions, CocoCaptions, collate
from dtbox.errors import InputError
from tests.format_data import coco_captions, flickr8k, karpathy, save, write_json

PACK = [dict(type='ResizeCrop', size=16), dict(type='PackImage')]


def test_coco(tmp_path, caplog):
    data = CocoCaptions(coco_captions(tmp_path), 'val', pipeline=PACK)
    found = [data[i] for i in range(4)]
    assert [s['captions'] for s in found] == [[f'caption {j} of {i}' for j in range(2)] for i in range(3)] + [[]]
    assert found[0]['key'] == '000000000001.jpg' and found[0]['text'] == 'caption 0 of 0' and found[3]['text'] == ''
    batch = collate(found)
    assert batch.captions[3] == [] and batch.texts[1] == 'caption 0 of 1' and data.has_texts
    train = CocoCaptions(coco_captions(tmp_path, split='train'), 'train', pipeline=PACK)
    assert {train[4 * epoch]['text'] for epoch in range(20)} == {'caption 0 of 0', 'caption 1 of 0'}


def test_captions_without_images_are_told(tmp_path, caplog):
    coco_captions(tmp_path)
    path = tmp_path / 'annotations' / 'captions_val2017.json'
    data = json.loads(path.read_text())
    data['annotations'].append(dict(id=99, image_id=77, caption='of nothing'))
    write_json(path, data)
    assert len(CocoCaptions(tmp_path, 'val')) == 4
    with pytest.raises(InputError, match='two images with the id 1'):
        write_json(path, dict(data, images=data['images'] + data['images'][:1]))
        CocoCaptions(tmp_path, 'val')


@pytest.mark.parametrize('content, says', [
     ('{"images": [', 'are not valid JSON .*cut short'),
     ('[1, 2]', r"not in COCO's form: expected lists `images` and " r"`annotations`, it has a list"),
     ('{"a": 1, "b": 2}', 'it has a, b'),
     ('{"images": [{"id": 1}], "annotations": [{"image_id": 1}]}', 'entry 0 of `annotations` has image_id; expected'),
     ('{"images": [], "annotations": []}', 'names no images'),
     ('{"images": [{"id": 1}], "annotations": []}', 'the image 1 has neither `file_name` nor `coco_url`')])
def test_json_that_is_not_coco(tmp_path, content, says):
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'val2017').mkdir()
    (tmp_path / 'annotations' / 'captions_val2017.json').write_text(content)
    with pytest.raises(InputError, match=says):
        CocoCaptions(tmp_path, 'val')


def test_coco_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match='has no annotation file; looked for annotations/captions_val2017.json'):
        CocoCaptions(tmp_path, 'val')
    with pytest.raises(InputError, match="`split` is 'test'"):
        CocoCaptions(tmp_path, 'test')
    coco_captions(tmp_path)
    (tmp_path / 'val2017' / '000000000002.jpg').unlink()
    data = CocoCaptions(tmp_path, 'val', broken='skip', pipeline=PACK)
    batch = collate([data[i] for i in range(4)])
    assert len(batch) == 3 and '000000000002.jpg does not exist' in batch.broken[0]


def test_karpathy(tmp_path):
    data = Captions(karpathy(tmp_path), 'test')
    assert [data[i]['key'] for i in range(2)] == ['2.jpg', '3.jpg'] and data[0]['captions'] == [f'Sentence {j} of 2.'
                                                                                                for j in range(5)]
    assert len(Captions(tmp_path, 'train')) == 1 and len(Captions(tmp_path, 'all')) == 4
    save(tmp_path / 'val2014' / 'COCO_7.jpg', 7)
    rows = [dict(filename='COCO_7.jpg', filepath='val2014', split='restval', sentences=[dict(raw='Seven.')])]
    write_json(tmp_path / 'dataset_coco.json', dict(images=rows))
    coco = Captions(tmp_path, 'train', annotations='dataset_coco.json')
    assert coco[0]['key'] == 'val2014/COCO_7.jpg' and coco[0]['captions'] == ['Seven.']


def test_flickr8k(tmp_path):
    data = Captions(flickr8k(tmp_path), 'test')
    assert [data[i]['key'] for i in range(2)] == ['2.jpg', '3.jpg'] and data[1]['captions'][4] == 'Sentence 4 of 3 .'
    assert [Captions(tmp_path, s)[0]['key'] for s in ('train', 'val')] == ['0.jpg', '1.jpg']


@pytest.mark.parametrize('file, text', [
    ('results_20130124.token', '0.jpg#0\tA dog, running .\n0.jpg#1\tA cat\n1.jpg#0\tA bird\n'),
    ('results.csv', 'image_name| comment_number| comment\n0.jpg| 0| A dog, running .\n0.jpg| 1| A cat\n1.jpg| 0| A '
                    'bird\n'),
    ('captions.txt', 'image,caption\n0.jpg,"A dog, running ."\n0.jpg,A cat\n1.jpg,A bird\n')])
def test_token_files(tmp_path, file, text):
    for i in range(2):
        save(tmp_path / 'Images' / f'{i}.jpg', i)
    (tmp_path / file).write_text(text)
    (tmp_path / 'test.txt').write_text('1\n')  # as Flickr30k Entities has it
    data = Captions(tmp_path, 'all')
    assert data[0]['captions'] == ['A dog, running .', 'A cat'] and Captions(tmp_path,
                                                                             'test')[0]['captions'] == ['A bird']


@pytest.mark.parametrize('spoil, split, says', [
    (lambda root: None, 'test', 'has no file of captions; looked for dataset_flickr30k.json'),
    (lambda root: (root / 'dataset.json').write_text('{"images": [{"a": 1}]}'), 'test', "not in Karpathy's form "
                                                                                        ".*KeyError: 'split'"),
    (lambda root: (root / 'dataset.json').write_text('{'), 'test', 'cannot be read as JSON'),
    (lambda root: (root / 'captions.txt').write_text('words'), 'all', r"line 1: 'words' is not a caption; expected "
                                                                      r"FILE,CAPTION on one line"),
    (lambda root: (root / 'Flickr8k.token.txt').write_text('a.jpg#0\tA.'), 'test', 'has no list of the images of '
                                                                                   '`test`'),
    (lambda root: (root / 'Flickr8k.token.txt').write_text('a.jpg#0\tA.'), 'all', 'does not hold the image a.jpg'),
    (lambda root: (flickr8k(root) / 'Flickr_8k.testImages.txt').write_text('9.jpg'), 'test',
     '1 image has no caption in .*such as 9.jpg'),
    (lambda root: (flickr8k(root) / 'Flickr_8k.testImages.txt').write_text(''), 'test', 'has no images of the split '
                                                                                        '`test`'),
    (lambda root: None, 'tests', '`split` is \'tests\'. Did you mean `test`')])
def test_files_in_another_form(tmp_path, spoil, split, says):
    spoil(tmp_path)
    with pytest.raises(InputError, match=says):
        Captions(tmp_path, split)


def kaggle_flickr8k(root, count=40):
    """Images/ and captions.txt, as Kaggle has Flickr8k: no lists of splits."""
    lines = ['image,caption']
    for i in range(count):
        save(root / 'Images' / f'{i}.jpg', i)
        lines += [f'{i}.jpg,A caption of {i} .', f'{i}.jpg,"Another, of {i} ."']
    (root / 'captions.txt').write_text('\n'.join(lines) + '\n')
    return root


def test_flickr8k_of_kaggle(tmp_path):
    """Without lists a hash of the names divides the images where a fraction is given; val needs its list."""
    kaggle_flickr8k(tmp_path)
    train, test = (Captions(tmp_path, split, holdout=0.25) for split in ('train', 'test'))
    keys = [[data.key(i) for i in range(len(data))] for data in (train, test)]
    assert sorted(keys[0] + keys[1]) == sorted(f'{i}.jpg' for i in range(40)) and 4 <= len(test) <= 16
    assert test[0]['captions'][1] == f'Another, of {keys[1][0][:-4]} .'
    for split, args in (('train', {}), ('val', dict(holdout=0.25))):
        with pytest.raises(InputError, match='has no list of the images of'):
            Captions(tmp_path, split, **args)
    with pytest.raises(InputError, match='`holdout` is 1.0; expected a fraction'):
        Captions(tmp_path, holdout=1.0)


def test_lists_come_before_the_hash(tmp_path):
    """The published lists count where they are there; one that is missing is an error."""
    data = Captions(flickr8k(tmp_path), 'test', holdout=0.5)
    assert [data.key(i) for i in range(2)] == ['2.jpg', '3.jpg']
    (tmp_path / 'Flickr_8k.testImages.txt').unlink()
    with pytest.raises(InputError, match='has no list of the images of `test`'):
        Captions(tmp_path, 'test', holdout=0.5)
