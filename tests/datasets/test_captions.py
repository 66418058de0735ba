"""Captions files: every format gives the same, and what is wrong is said with file and line."""
import json

import pytest

from dtbox.datasets.captions import find_captions, match_captions, read_captions
from dtbox.errors import InputError

EXPECTED = {'a.png': ['a cat, asleep'], 'd/b.jpg': ['a dog', 'ein Hund'], 'c.png': []}
ROWS = [('a.png', 'a cat,  asleep'), ('./d\\b.jpg', 'a dog'), ('d/b.jpg', ' ein Hund '), ('c.png', '')]
CONTENTS = {
    'captions.json': json.dumps({'a.png': 'a cat,\nasleep', 'd/b.jpg': ['a dog', 'ein Hund'], 'c.png': None}),
    'list.json': json.dumps([dict(image=name, caption=text) for name, text in ROWS]),
    'coco.json': json.dumps(dict(images=[dict(id=i, file_name=n) for i, n in enumerate(('a.png', 'd/b.jpg', 'c.png'))],
                                 annotations=[dict(image_id=i, caption=t) for i, t in
                                              ((0, 'a cat, asleep'), (1, 'a dog'), (2, ''), (1, 'ein Hund'))])),
    'captions.jsonl': '\n'.join(json.dumps(dict(file_name=name, text=text)) for name, text in ROWS) + '\n\n',
    'captions.csv': 'File,Caption\na.png,"a cat, asleep"\nd/b.jpg,"a\ndog"\nd/b.jpg,ein Hund\nc.png,\n',
    'captions.tsv': 'path\ttitle\n' + ''.join(f'{name}\t{text}\n' for name, text in ROWS),
    'captions.txt': '\ufeff' + ''.join(f'{name}\t{text}\r\n' for name, text in ROWS),
}


@pytest.mark.parametrize('name', CONTENTS)
def test_formats(tmp_path, name):
    (tmp_path / name).write_text(CONTENTS[name], encoding='utf-8', newline='')
    assert read_captions(tmp_path / name) == EXPECTED


@pytest.mark.parametrize('name, content, words', [
    ('a.json', '{', 'a.json is not valid JSON'), ('a.json', '3', 'must hold .file: caption. or a list'),
    ('a.json', '{"a.png": 3}', "file 'a.png': a caption must be a string"), ('a.json', '{}', 'holds no captions'),
    ('a.json', '{"images": [], "annotations": [{"image_id": 1, "caption": "x"}]}', "COCO's"),
    ('a.jsonl', '{"file": "a.png", "text": "x"}\n{', 'line 2, is not valid JSON'), ('a.jsonl', '[1]',
                                                                                    'line 1: expected an object'),
    ('a.jsonl', '{"file_name": "a.png", "label": 3}', 'line 1: expected a file .* and a caption .*; got file_name, '
                                                      'label'),
    ('a.csv', 'name,words\na,b\n', 'line 2: expected a file'), ('a.csv', 'file,caption\na,one, two\n',
                                                                'more fields than the header'),
    ('a.txt', 'a.png\tx\nb.png y\n', 'line 2, has no tab'), ('a.xml', '', "suffix '.xml'"), ('a.txt', '\n',
                                                                                             'holds no captions')])
def test_errors(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=words):
        read_captions(tmp_path / name)


def test_unreadable(tmp_path):
    with pytest.raises(InputError, match='cannot be read .No such file'):
        read_captions(tmp_path / 'a.json')
    (tmp_path / 'a.txt').write_bytes('a.png\tcafé'.encode('latin-1'))
    with pytest.raises(InputError, match='not UTF-8'):
        read_captions(tmp_path / 'a.txt')


def test_find(tmp_path):
    assert find_captions(tmp_path) is None
    (tmp_path / 'metadata.csv').write_text('')
    (tmp_path / 'captions.txt').write_text('')
    assert find_captions(tmp_path / 'gone', tmp_path).name == 'captions.txt'


def test_match_by_bare_name_only_where_it_is_unique():
    found = {'1.png': ['one'], 'z/2.png': ['two'], '3.png': ['three']}
    names = {'x/1.png': [], 'y/1.png': [], 'x/2.png': [], 'q/deep.png': ['3.png']}
    matched, unused = match_captions(found, names, 'c.json')
    assert matched == {'x/2.png': ['two'], 'q/deep.png': ['three']} and unused == 1
