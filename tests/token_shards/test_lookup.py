"""Codes by the keys of images: what a file of conversations asks for."""
import numpy as np
import pytest

from dtbox.datasets.conversation_files import ConversationFiles
from dtbox.errors import InputError
from dtbox.token_shards.lookup import KeyedCodes
from dtbox.token_shards.writing import write_shard
from tests.conversation_data import llava, write_rows
from tests.token_kit import make_codes, make_meta, make_row, write_tokens

pytest.importorskip('pyarrow')


def number_of(image):
    """Number of the image whose first view these codes are."""
    return next(n for n in [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]
                if np.array_equal(image.streams['pixel'], make_codes(make_meta(), n)['pixel']))


def test_first_views(tmp_path):
    """Every key gives the first view of its image, whatever way its path is written."""
    codes = KeyedCodes(write_tokens(tmp_path, views=3))
    for path, number in {'k0': 0, 'k104': 104, './k3': 3, 'a/../k101': 101, 'a\\..\\k2': 2}.items():
        assert number_of(codes.read(path)) == number
    assert codes.read('k0').tokenizer == '0' * 16


def test_keys_that_are_not_there(tmp_path):
    """Also that of a broken image."""
    codes = KeyedCodes(write_tokens(tmp_path, broken=(2,)))
    for path in ('k2', 'k7', '../k0'):
        with pytest.raises(InputError, match=f'the image {path} has no codes in {tmp_path}'):
            codes.find(path)


def test_keys_of_several_images(tmp_path):
    """They are refused when they are asked for, within a shard and over shards; others can be read."""
    meta = make_meta()
    write_shard(tmp_path, 'a', [make_row(meta, 0), make_row(meta, 1), make_row(meta, 1, index=2)], meta)
    write_shard(tmp_path, 'b', [make_row(meta, 3), make_row(meta, 0)], meta)
    codes = KeyedCodes(tmp_path)
    for key in ('k0', 'k1'):
        with pytest.raises(InputError, match=f'several images of .* have the key {key}'):
            codes.read(key)
    assert number_of(codes.read('k3')) == 3


def test_one_table_for_all(tmp_path):
    """As long as the shards are the same."""
    one, other = KeyedCodes(write_tokens(tmp_path)), KeyedCodes(tmp_path)
    assert one.table is other.table
    write_tokens(tmp_path, broken=(1,))
    assert KeyedCodes(tmp_path).table is not one.table


def test_conversation_files(tmp_path):
    """A row whose image has no codes stops the start, or is left out and named; pixels are never read."""
    tokens = write_tokens(tmp_path / 'out', broken=(2,))
    rows = [llava('a', 'k1', ('<image> what?', 'one')), llava('b', 'k2', ('<image> what?', 'two')),
            llava('c', './k103', ('draw', '<image>'))]
    write_rows(tmp_path / 'data', rows, images=())
    options = dict(data_root=str(tmp_path / 'data'), file='data.jsonl', tokens=str(tokens))
    with pytest.raises(InputError, match=r'row 2 \(b\): the image k2 has no codes'):
        ConversationFiles(**options)
    dataset = ConversationFiles(**options, broken='skip')
    assert [number_of(item['conversation'].images[0]) for item in dataset] == [1, 103]
    assert len(dataset.flaws) == 1 and '(b)' in dataset.flaws[0]
    with pytest.raises(InputError, match='tokens: .*holds no token shards'):
        ConversationFiles(**{**options, 'tokens': str(tmp_path / 'data')})
