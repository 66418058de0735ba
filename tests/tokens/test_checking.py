"""Whatever is wrong with a folder of token shards is found, and only that; nothing is wrong with a sound one."""
from dataclasses import replace

import numpy as np
import pytest

from dtbox.cli.check_tokens import report
from dtbox.errors import InputError
from dtbox.token_shards.format import ShardMeta, Stream
from dtbox.token_shards.writing import Row, write_shard
from dtbox.tokens.checking import check_folder
from dtbox.tokens.usage import measure_entropy
from tests.token_data import FINGERPRINT, META, draw_codes, make_rows, other_fingerprint, write_folder

pytest.importorskip('pyarrow')


@pytest.fixture
def paths(tmp_path):
    return write_folder(tmp_path / 'out')


def findings(folder):
    """Name of a file -> what is wrong with it."""
    return {finding.file: finding.what for finding in check_folder(folder).findings}


def test_a_sound_folder(paths):
    """All rows are counted, usage and entropy are those of the codes, by hand."""
    check = check_folder(paths[0].parent)
    assert check.is_sound and not check.notes and not check.delete
    assert (check.rows, check.broken, sum(check.images.values())) == (30, 3, 30)
    codes = np.array([draw_codes(i)['pixel'] for i in range(30) if i % 10 != 3])
    for row in check.usage.measure()[:2]:
        counts = np.unique(codes[..., row.depth], return_counts=True)[1]
        assert (row.stream, row.size, row.used) == ('pixel', 512, len(counts))
        assert row.entropy == pytest.approx(-sum(n / 108 * np.log2(n / 108) for n in counts), rel=1e-12)
    assert report(check)[-1] == 'everything is sound'


def test_entropy_by_hand():
    assert measure_entropy(np.array([4, 2, 1, 1, 0])) == 1.75
    assert measure_entropy(np.zeros(3, int)) == 0 == measure_entropy(np.array([7]))


def test_bytes_beside_the_entropy(tmp_path):
    """The bound of even codes of 256 is a byte a code."""
    meta = ShardMeta(FINGERPRINT, (Stream('a', 64, 1, 256),))
    codes = np.random.default_rng(0).permutation(np.arange(64 * 1000) % 256).reshape(1000, 64, 1)
    write_shard(tmp_path, 's', [Row(f'{i}', i, b'0' * 16, codes=dict(a=value)) for i, value in enumerate(codes)], meta)
    usage = check_folder(tmp_path).usage
    assert usage.bound('a') == 64000
    assert 64000 < usage.bytes['a'] < 1.1 * 64000


def test_large_codebooks_are_not_counted(tmp_path):
    meta = ShardMeta(FINGERPRINT, (Stream('a', 1, 1, 2 ** 40),))
    write_shard(tmp_path, 's', [Row('a', 0, b'0' * 16, codes=dict(a=np.array([[2 ** 39]])))], meta)
    check = check_folder(tmp_path)
    assert check.usage.measure()[0].used is None and check.usage.bound('a') is None
    assert any(line.split() == ['a', '0', '1,099,511,627,776', '-', '-'] for line in report(check))


def test_a_flipped_bit(paths):
    data = bytearray(paths[1].read_bytes())
    data[300] ^= 16
    paths[1].write_bytes(data)
    assert findings(paths[0].parent) == {paths[1].name: 'is damaged: its bytes are not those that were written'}


def test_a_truncated_file(paths):
    paths[2].write_bytes(paths[2].read_bytes()[:-1])
    assert list(findings(paths[0].parent)) == [paths[2].name]


def test_an_empty_file(paths):
    paths[2].write_bytes(b'')
    check = check_folder(paths[0].parent)
    assert check.delete == [paths[2].name]
    assert f'rm {paths[2]}' in report(check) and 'sound' not in report(check)[-1]


def test_another_fingerprint(paths, tmp_path):
    """The shards that are fewer are named, with the fields that differ."""
    (tmp_path / 'other').mkdir()
    meta = replace(META, fingerprint=other_fingerprint(dtype='f'))
    other = write_shard(tmp_path / 'other', 'train-1', make_rows(), meta)
    other.rename(paths[0].parent / other.name)
    assert findings(paths[0].parent) == {
        other.name: 'it has another fingerprint than most shards (`dtype` is f, not float32)'}


def test_a_renamed_file(paths):
    """A copy under another name would count twice."""
    copy = paths[0].with_name('train-9' + paths[0].name[7:])
    copy.write_bytes(paths[0].read_bytes())
    assert list(findings(paths[0].parent)) == [copy.name]
    assert 'its name is not that of what it holds' in findings(paths[0].parent)[copy.name]


def test_other_streams(paths):
    meta = replace(META, streams=(META.streams[0],))
    path = write_shard(paths[0].parent, 'zebra', make_rows(meta=meta), meta)
    assert findings(paths[0].parent) == {path.name: 'its streams are others than those of the first shard'}


@pytest.mark.parametrize('change, says', [
    (lambda rows: rows[:4] + rows[5:], 'it has 9 rows; expected 10 images once in each of 1 view'),
    (lambda rows: [*rows, rows[4]], 'it has 11 rows; expected 10 images once'),
    (lambda rows: [*rows, replace(rows[4], view=1)], 'it has 11 rows; expected 10 images once in each of 2 views'),
    (lambda rows: [replace(row, image_hash=b'') for row in rows], 'row 0 has no `image_hash`'),
    (lambda rows: [replace(row, error=None) for row in rows], 'row 3 has no `error`')])
def test_rows_that_lack_or_come_twice(paths, change, says):
    path = write_shard(paths[0].parent, 'train-1', change(make_rows(first=0)), META)
    assert says in findings(paths[0].parent)[path.name]


def test_codes_out_of_range(paths, monkeypatch):
    """Of a file whose writer did not check them."""
    def unchecked(codes, stream, who):
        return np.asarray(codes).astype(stream.dtype)
    rows = make_rows()
    rows[5].codes['pixel'][2, 1] = 600
    with monkeypatch.context() as patch:
        patch.setattr('dtbox.token_shards.writing.check_codes', unchecked)
        path = write_shard(paths[0].parent, 'train-1', rows, META)
    assert findings(paths[0].parent) == {path.name: 'codes `pixel` reach to 600 at depth 1, beyond a codebook of 512'}


def test_embeddings(tmp_path):
    meta = replace(META, embedding=8)
    rows = make_rows(meta=meta)
    rows[6].embedding[3] = np.nan
    path = write_shard(tmp_path, 's', rows, meta)
    assert findings(tmp_path) == {path.name: 'it has embeddings that are not finite'}
    write_shard(tmp_path, 's', make_rows(meta=meta), meta)
    assert findings(tmp_path) == {}


def test_repeated_keys_are_named(tmp_path):
    """Within a shard and across shards; not those of several views of one image."""
    rows = make_rows(broken=(), repeats=(5,))
    write_shard(tmp_path, 'a', [row for pair in ((row, replace(row, view=1)) for row in rows) for row in pair], META)
    write_shard(tmp_path, 'b', make_rows(broken=(), first=20), META)
    write_shard(tmp_path, 'c', [replace(make_rows(first=7)[0], key='key21')], META)
    check = check_folder(tmp_path)
    assert check.is_sound and len(check.notes) == 1
    assert check.notes[0].startswith('2 keys come more than once')
    assert "'key0' in a-" in check.notes[0] and "'key21' in b-" in check.notes[0] and 'key3' not in check.notes[0]


def test_empty_shards_and_folders(tmp_path):
    write_shard(tmp_path, 's', [], META)
    assert check_folder(tmp_path).is_sound
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(InputError, match='holds no token shards'):
        check_folder(tmp_path)
