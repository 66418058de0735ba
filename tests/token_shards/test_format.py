from dataclasses import replace

import numpy as np
import pytest

from dtbox.errors import InputError
from dtbox.layout import CodeLayout, Grid, StreamLayout
from dtbox.token_shards.format import FORMAT, ShardMeta, Stream, make_schema, make_streams, read_name, shard_name
from tests.token_data import FINGERPRINT, META, other_fingerprint


@pytest.mark.parametrize('size, dtype, columns', [
    (1, np.uint16, ['codes_a']), (65_536, np.uint16, ['codes_a']), (65_537, np.uint32, ['codes_a']),
    (2 ** 32, np.uint32, ['codes_a']), (2 ** 32 + 1, np.uint64, ['codes_a_0', 'codes_a_1', 'codes_a_2']),
    (2 ** 48, np.uint64, ['codes_a_0', 'codes_a_1', 'codes_a_2']),
    (2 ** 63, np.uint64, ['codes_a_0', 'codes_a_1', 'codes_a_2', 'codes_a_3'])])
def test_columns_of_a_stream(size, dtype, columns):
    """uint16 up to 65,536 codes, uint32 up to 2^32, then 16 bits a column."""
    stream = Stream('a', 4, 1, size)
    assert stream.dtype == dtype and list(stream.columns) == columns
    kinds = {str(make_schema(ShardMeta(FINGERPRINT, (stream,))).field(name).type.value_type) for name in columns}
    assert kinds == {'uint32' if dtype == np.uint32 else 'uint16'}


def test_streams_of_a_layout():
    layout = CodeLayout((StreamLayout('rq', Grid(2, 3), (8, 16)), StreamLayout('fsq', Grid(1, 2), (5, 5))))
    first, second = make_streams(layout)
    assert (first.positions, first.depth, first.size, first.limits) == (6, 2, 16, (8, 16))
    assert (second.positions, second.depth, second.sizes, second.limits) == (2, 2, (), (5, 5))


def test_groups_of_bits_are_depths():
    """A code of 36 bits that the layout cuts into two groups has two depths of 18 bits."""
    stream = StreamLayout('bits', Grid(2, 2), (2 ** 36,), groups=(18, 18))
    assert make_streams(CodeLayout((stream,)))[0].limits == (2 ** 18, 2 ** 18)


@pytest.mark.parametrize('layout, says', [
    (CodeLayout(()), 'no vocabularies'), (CodeLayout((StreamLayout('latent', Grid(2, 2), ()),)), 'continuous')])
def test_tokenizers_without_codes(layout, says):
    with pytest.raises(InputError, match=says):
        make_streams(layout)


@pytest.mark.parametrize('odd', [
    dict(name='a/b'), dict(name='a.b'), dict(positions=0), dict(depth=-1), dict(size=2 ** 63 + 1), dict(size=1.5),
    dict(sizes=(8, 9)), dict(sizes=(16,)), dict(sizes=(8, 0))])
def test_odd_streams(odd):
    with pytest.raises(InputError, match='the stream|a stream'):
        Stream(**{**dict(name='a', positions=4, depth=2, size=16), **odd})


def test_description_there_and_back():
    meta = replace(META, source='train-000.tar', embedding=8,
                   streams=(Stream('rq', 6, 2, 16, (8, 16)), Stream('b', 1, 1, 2 ** 40)))
    assert ShardMeta.from_json(meta.to_json()) == meta


@pytest.mark.parametrize('change, says', [
    (lambda text: text.replace(f'"format": {FORMAT}', '"format": 99'), 'format is 99'),
    (lambda text: text[:-9], 'damaged'),
    (lambda text: text.replace('"positions"', '"places"'), 'damaged'), (lambda text: '[]', 'damaged')])
def test_odd_descriptions(change, says):
    with pytest.raises(InputError, match=says):
        ShardMeta.from_json(change(META.to_json()))


def test_streams_have_different_names():
    with pytest.raises(InputError, match='different names'):
        ShardMeta(FINGERPRINT, META.streams + META.streams)
    with pytest.raises(InputError, match='there is no stream `pixels`'):
        META.stream('pixels')


def test_name_is_a_function_of_source_and_fingerprint():
    name = shard_name('a/train-000.tar', FINGERPRINT)
    assert name == shard_name('a/train-000.tar', FINGERPRINT)
    assert name.startswith('train-000-') and name.endswith(f'-{FINGERPRINT.digest[:8]}.parquet')
    elsewhere = shard_name('b/train-000.tar', FINGERPRINT)
    assert len({name, elsewhere, shard_name('a/train-000.tar', other_fingerprint(dtype='bfloat16'))}) == 3


@pytest.mark.parametrize('source', ['', '/', '...', '-x', 'größe/ö.tar', 'a b*?.tar', 'x' * 300, 'a\n', '\udc80',
                                    'pipe:cat x'])
def test_names_are_those_of_files(source):
    """Whatever a source is called, the name is short plain ASCII, not hidden, and is recognised."""
    name = shard_name(source, FINGERPRINT)
    assert name.isascii() and len(name) < 100 and name[0].isalnum() and '/' not in name
    assert read_name(name) == FINGERPRINT.digest[:8]


@pytest.mark.parametrize('name', ['MANIFEST.json', '.a-00000000-00000000.x.part.parquet', 'train.parquet', '_metadata',
                                  'a-00000000-00000000.parquet.tmp', 'a-0000000-00000000.parquet'])
def test_names_of_other_files(name):
    assert read_name(name) is None
