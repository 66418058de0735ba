import os
from dataclasses import replace

import numpy as np
import pytest

from dtbox.errors import InputError
from dtbox.token_shards import format as shard_format
from dtbox.token_shards.format import ShardMeta, Stream
from dtbox.token_shards.reading import is_done, list_shards, open_folder, open_shard
from dtbox.token_shards.writing import Row, check_folder, write_shard
from tests.token_data import FINGERPRINT, META, PIXEL, draw_codes, make_rows, other_fingerprint, write_folder

pa = pytest.importorskip('pyarrow')
pq = pytest.importorskip('pyarrow.parquet')


@pytest.fixture
def path(tmp_path):
    return write_shard(tmp_path, 'a/train-000.tar', make_rows(), META)


def damage(path, place, bit=0):
    """Flip a bit of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


def test_codes_there_and_back(path):
    """All rows but the broken one, in order, in the type of the stream."""
    shard = open_shard(path, FINGERPRINT)
    assert shard.rows == 10 and shard.counts == dict(ok=9, broken=1)
    assert np.flatnonzero(~shard.ok).tolist() == [3]
    for stream, dtype in (('pixel', np.uint16), ('semantic', np.uint32)):
        codes = shard.codes(stream)
        assert codes.dtype == dtype
        assert np.array_equal(codes, [draw_codes(i)[stream] for i in range(10) if i != 3])


def test_all_columns(path):
    table = pq.read_table(path)
    row = {name: table.column(name)[4].as_py() for name in table.column_names}
    assert (row['key'], row['source_shard'], row['index_in_shard'], row['view']) == ('key4', 'a/train-000.tar', 4, 0)
    assert (row['width'], row['height'], row['crop'], row['flip']) == (32, 24, [1, 2, 20, 21], True)
    assert (row['texts'], row['status'], row['error'], len(row['image_hash'])) == (['text 4'], 'ok', None, 16)
    broken = {name: table.column(name)[3].as_py() for name in table.column_names}
    assert (broken['status'], broken['error'], broken['codes_pixel'], broken['width']) == (
        'broken', 'it is cut short', None, None)


@pytest.mark.parametrize('size', [2 ** 16, 2 ** 32, 2 ** 36, 2 ** 63])
def test_largest_codes(tmp_path, size):
    """The first and the last code of a codebook survive in every type of column."""
    meta = ShardMeta(FINGERPRINT, (Stream('a', 2, 1, size),))
    codes = [[[0], [size - 1]], [[size - 1], [size // 2]]]
    rows = [Row(f'{i}', i, codes=dict(a=np.array(value, np.uint64))) for i, value in enumerate(codes)]
    assert open_shard(write_shard(tmp_path, 's', rows, meta)).codes('a').tolist() == codes


@pytest.mark.parametrize('rows', [slice(0, 3), slice(2, 9), slice(4, 4), slice(-3, None), slice(None, None, 3),
                                  slice(6, 99), slice(8, 2)])
def test_slices_across_row_groups(tmp_path, rows, monkeypatch):
    """A slice of rows gives what slicing all rows gives; row groups of four rows."""
    monkeypatch.setattr('dtbox.token_shards.writing.ROW_GROUP', 4)
    monkeypatch.setattr('dtbox.token_shards.reading.ROW_GROUP', 4)
    shard = open_shard(write_shard(tmp_path, 's', make_rows(), META))
    assert shard.file.num_row_groups == 3
    assert np.array_equal(shard.codes('pixel', rows), [draw_codes(i)['pixel'] for i in range(10)[rows] if i != 3]
                          or np.empty((0, 4, 2)))
    assert shard.column('key', rows).to_pylist() == [f'key{i}' for i in range(10)][rows]


def test_row_groups(tmp_path):
    """A row group holds 4,096 rows."""
    meta = ShardMeta(FINGERPRINT, (Stream('a', 1, 1, 4),))
    path = write_shard(tmp_path, 's', (Row(f'{i}', i, codes=dict(a=np.array([[i % 4]]))) for i in range(5000)), meta)
    groups = pq.read_metadata(path)
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [4096, 904]
    assert open_shard(path).codes('a').ravel().tolist() == [i % 4 for i in range(5000)]


def test_embeddings(tmp_path):
    meta = replace(META, embedding=8)
    shard = open_shard(write_shard(tmp_path, 's', make_rows(meta=meta), meta))
    column = shard.column('embedding')
    assert column.type == pa.list_(pa.field('element', pa.float16(), nullable=False))
    assert column[5].as_py() == [5 / 8] * 8 and column[3].as_py() is None


def test_same_rows_same_bytes(tmp_path):
    paths = [write_folder(tmp_path / name, 1)[0] for name in ('a', 'b')]
    assert paths[0].name == paths[1].name
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_smaller_encoding(tmp_path):
    """Few codes of a large codebook: no dictionary, which would hold most of them once. Few different ones: one."""
    rng = np.random.default_rng(0)
    for name, codes, encoding in (('large', rng.integers(0, 65536, (200, 64, 4)), 'BYTE_STREAM_SPLIT'),
                                  ('small', rng.integers(0, 16, (200, 64, 4)), 'RLE_DICTIONARY')):
        meta = ShardMeta(FINGERPRINT, (Stream('a', 64, 4, 65536),))
        rows = [Row(f'{i}', i, codes=dict(a=value)) for i, value in enumerate(codes)]
        path = write_shard(tmp_path, name, rows, meta)
        column = pq.read_metadata(path).row_group(0).column(12)
        assert column.path_in_schema == 'codes_a.list.element' and encoding in column.encodings
        assert np.array_equal(open_shard(path).codes('a'), codes)
        assert column.total_compressed_size < 1.05 * codes.size * (2 if name == 'large' else 0.5)


def test_no_rows(tmp_path):
    shard = open_shard(write_shard(tmp_path, 's', [], META))
    assert (shard.rows, len(shard.ok), shard.codes('pixel').shape) == (0, 0, (0, 4, 2))


def test_repeated_keys_stay_apart(tmp_path):
    """Rows of one key stay rows of their own, with their own codes; views of one image are no repetition."""
    rows = make_rows(broken=(), repeats=(5, 6))
    rows.append(replace(rows[2], view=1))
    shard = open_shard(write_shard(tmp_path, 's', rows, META))
    assert shard.repeated == ['key0'] and shard.rows == 11
    assert shard.column('key').to_pylist().count('key0') == 3
    assert np.array_equal(shard.codes('pixel')[5], draw_codes(5)['pixel'])


@pytest.mark.parametrize('codes, says', [
    ([[512, 0]] + [[0, 0]] * 3, 'reach from 0 to 512 at depth 0; its codebook has the codes 0 to 511'),
    ([[0, -1]] + [[0, 0]] * 3, 'reach from -1 to 0 at depth 1'), ([[0, 70000]] + [[0, 0]] * 3, 'holds uint16'),
    ([[0, 0]] * 3, r'int64 \[3, 2\]; expected integers \[4, 2\]'), ([[0.5, 0]] * 4, r'float64 \[4, 2\]'),
    (None, 'object')])
def test_codes_that_do_not_fit(tmp_path, codes, says):
    """Nothing wraps around, and no file is left."""
    rows = make_rows(broken=())
    rows[7].codes['pixel'] = np.array(codes)
    with pytest.raises(InputError, match=f'image 7 .key7.*{says}'):
        write_shard(tmp_path, 's', rows, META)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('change, says', [
    (dict(status='odd'), "status 'odd'"), (dict(status='broken'), "'broken' and codes"), (dict(codes=None), 'no codes'),
    (dict(codes=dict(pixel=None)), 'has codes of pixel'),
    (dict(embedding=np.zeros(3)), r'embedding of the shape \(3,\)')])
def test_odd_rows(tmp_path, change, says):
    rows = make_rows(broken=())
    rows[4] = replace(rows[4], **change)
    with pytest.raises(InputError, match=f'image 4 .*{says}'):
        write_shard(tmp_path, 's', rows, META)


def test_errors_of_the_source_stay_what_they_are(tmp_path):
    """An archive that cannot be read is no fault of the folder that is written to."""
    def rows():
        yield from make_rows(3, broken=())
        raise OSError(5, 'Input/output error', 'train.tar')
    with pytest.raises(OSError, match='train.tar') as found:
        write_shard(tmp_path, 's', rows(), META)
    assert not isinstance(found.value, InputError) and os.listdir(tmp_path) == []


@pytest.mark.parametrize('place', [*range(4, 2000, 97), *range(-900, 0, 31)])
def test_flipped_bits_are_noticed(path, place):
    """Wherever in the file a bit changes, in pages, their headers, the footer or the seal."""
    damage(path, place % path.stat().st_size)
    with pytest.raises(InputError, match='train-000.* (damaged|not a whole token shard).*Delete it and encode'):
        open_shard(path).codes('pixel')


def test_page_checksums_are_written_and_verified(path, monkeypatch):
    """Also where the seal is not looked at, as another program reads."""
    monkeypatch.setattr('dtbox.token_shards.reading.is_intact', lambda *parts: True)
    column = next(column for column in map(pq.read_metadata(path).row_group(0).column, range(20))
                  if column.path_in_schema.startswith('codes_pixel'))
    start = column.dictionary_page_offset or column.data_page_offset
    damage(path, start + column.total_compressed_size - 1)  # the last byte of its last page
    with pytest.raises(InputError, match='codes_pixel` of .* is damaged .*CRC'):
        open_shard(path).codes('pixel')


@pytest.mark.parametrize('length', [0, 3, 4, 11, 500, -1, -8, -200])
def test_truncated_files(path, length):
    data = path.read_bytes()
    path.write_bytes(data[:length])
    assert not is_done(path)
    with pytest.raises(InputError, match='is not a whole token shard'):
        open_shard(path)


def test_other_files(tmp_path, path):
    """A file of pandas and one that is not there are no token shards."""
    pq.write_table(pa.table(dict(a=[1])), tmp_path / 'other.parquet')
    for name, says in (('other.parquet', 'has no entry'), ('none.parquet', 'No such file')):
        assert not is_done(tmp_path / name)
        with pytest.raises(InputError, match=says):
            open_shard(tmp_path / name)
    assert is_done(path)


def test_another_fingerprint_is_refused_by_readers(path):
    other = other_fingerprint(dtype='bfloat16', weights='w2')
    with pytest.raises(InputError, match='`weights` is weights, not w2, `dtype` is float32, not bfloat16'):
        open_shard(path, other)
    with pytest.raises(InputError, match='has the fingerprint'):
        open_folder(path.parent, other)


def test_another_fingerprint_is_refused_in_the_same_folder(path):
    other = replace(META, fingerprint=other_fingerprint(pipeline='p2'))
    with pytest.raises(InputError, match='holds shards of another fingerprint.*`pipeline` is p2, not pipeline'):
        write_shard(path.parent, 's', make_rows(), other)
    assert os.listdir(path.parent) == [path.name]
    check_folder(path.parent, FINGERPRINT)


def test_folders(tmp_path):
    paths = write_folder(tmp_path / 'out')
    (tmp_path / 'out' / f'.{paths[0].name}.part').touch()
    (tmp_path / 'out' / 'MANIFEST.json').touch()
    assert list_shards(tmp_path / 'out') == sorted(paths)
    assert [shard.path for shard in open_folder(tmp_path / 'out', FINGERPRINT)] == sorted(paths)
    (tmp_path / 'empty').mkdir()
    for name, says in (('empty', 'holds no token shards'), ('none', 'cannot be read')):
        with pytest.raises(InputError, match=says):
            open_folder(tmp_path / name)


def test_unknown_columns_and_streams(path):
    shard = open_shard(path)
    with pytest.raises(InputError, match='no column `kay`.*there are: key'):
        shard.column('kay')
    with pytest.raises(InputError, match='no stream `pixels`'):
        shard.codes('pixels')


def test_without_pyarrow(path, monkeypatch):
    """One sentence names the extra."""
    monkeypatch.setitem(__import__('sys').modules, 'pyarrow', None)
    with pytest.raises(InputError, match=r'pip install "dtbox\[tokens\]"'):
        shard_format.make_schema(META)


def test_rows_of_wrong_length(tmp_path, monkeypatch):
    """A file whose lists do not have the length that its footer says."""
    path = write_shard(tmp_path, 's', make_rows(), META)
    shard = open_shard(path)
    shard.meta = replace(META, streams=(replace(PIXEL, positions=5),))
    with pytest.raises(InputError, match='a row of the stream `pixel` has 8 codes; expected 5 x 2'):
        shard.codes('pixel')
