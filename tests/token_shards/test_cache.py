"""The memory-mapped cache of token shards: its rows are those of the shards, it is built once and follows them."""
import pickle

import numpy as np
import pytest

from dtbox.errors import InputError
from dtbox.token_shards import cache as caches
from dtbox.token_shards import segments
from dtbox.token_shards.cache import TokenCache
from dtbox.token_shards.reading import list_shards
from tests.token_kit import make_codes, make_meta, write_tokens

pytest.importorskip('pyarrow')


def numbers_of(cache):
    """Numbers of the images of all rows, from their keys."""
    return [int(cache.key(row)[1:]) for row in range(len(cache))]


def assert_exact(cache):
    """Every code of every row is that which was written, read in one go, shuffled, and row by row."""
    numbers, view = numbers_of(cache), cache.numbers('view')
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(cache)), 2))
    for stream in cache.meta.streams:
        want = np.stack([make_codes(cache.meta, n, int(v))[stream.name] for n, v in zip(numbers, view)])
        found = cache.read(stream.name, np.arange(len(cache)))
        assert found.dtype == stream.dtype and np.array_equal(found, want)
        assert np.array_equal(cache.read(stream.name, order), want[order])
        assert np.array_equal(cache.read(stream.name, [3])[0], want[3])


def test_rows(tmp_path):
    """Codes, keys, texts and numbers of the rows with codes, shard after shard; broken images have none."""
    cache = TokenCache(write_tokens(tmp_path, shards=3, broken=(1, 104)))
    numbers = numbers_of(cache)
    assert sorted(numbers) == [100 * s + i for s in range(3) for i in range(5) if 100 * s + i not in (1, 104)]
    assert [shard.rows for shard in cache.shards] == np.diff(cache.ends, prepend=0).tolist() and cache.broken == 2
    assert [shard.name for shard in cache.shards] == [path.name for path in list_shards(tmp_path)]
    assert cache.numbers('index').tolist() == [n % 100 for n in numbers]
    assert [cache.texts(row) for row in (0, 12)] == [[f'image {numbers[r]}', f'picture {numbers[r]}'] for r in (0, 12)]
    assert_exact(cache)


def test_types_of_codes(tmp_path):
    """Two bytes up to 65,536 codes, four beyond."""
    cache = TokenCache(write_tokens(tmp_path))
    assert [cache.read(name, [0]).dtype for name in ('pixel', 'semantic')] == [np.uint16, np.uint32]
    assert cache.read('pixel', []).shape == (0, 4, 2)


def test_it_is_built_once(tmp_path, monkeypatch):
    write_tokens(tmp_path)
    TokenCache(tmp_path)
    monkeypatch.setattr(caches, 'build_segment', lambda *_: 1 / 0)
    assert_exact(TokenCache(tmp_path))


def test_added_shards(tmp_path, monkeypatch):
    """They are cached alone; rows are in the order of the names of shards, as if all had been cached at once."""
    write_tokens(tmp_path / 'a', shards=[0, 2])
    TokenCache(tmp_path / 'a')
    write_tokens(tmp_path / 'a', shards=[1, 3])
    built = []
    real = caches.build_segment
    monkeypatch.setattr(caches, 'build_segment', lambda *args: built.extend(args[2]) or real(*args))
    cache, whole = TokenCache(tmp_path / 'a'), TokenCache(write_tokens(tmp_path / 'b', shards=4))
    assert sorted(name[:2] for name, _ in built[:2]) == ['s1', 's3'] and len(cache.segments) == 2
    assert numbers_of(cache) == numbers_of(whole)
    assert cache.lengths_of_texts().tolist() == whole.lengths_of_texts().tolist()
    assert_exact(cache)


def test_a_replaced_shard(tmp_path):
    """Another content under the same name, here with another broken image, is cached anew."""
    write_tokens(tmp_path)
    TokenCache(tmp_path)
    write_tokens(tmp_path, broken=(103,))
    cache = TokenCache(tmp_path)
    assert 103 not in numbers_of(cache) and len(cache) == 9
    assert_exact(cache)


def test_a_removed_shard(tmp_path):
    """Its rows are gone, the others stay."""
    write_tokens(tmp_path, shards=3)
    TokenCache(tmp_path)
    list_shards(tmp_path)[1].unlink()
    cache = TokenCache(tmp_path)
    assert len(cache) == 10 and len(cache.shards) == 2
    assert_exact(cache)


def test_many_segments(tmp_path, monkeypatch):
    monkeypatch.setattr(caches, 'SEGMENT', 2)
    cache = TokenCache(write_tokens(tmp_path, shards=5, views=2))
    assert len(cache.segments) == 3
    assert_exact(cache)


def test_a_spoilt_cache(tmp_path):
    """A file that is cut short, or a description that cannot be read, is built again; a changed bit is found by
    `verify`."""
    write_tokens(tmp_path)
    folder, = [segment.folder for segment in TokenCache(tmp_path).segments]
    for name in ('codes_pixel.bin', 'segment.json'):
        (folder / name).write_bytes((folder / name).read_bytes()[:-1])
        assert_exact(TokenCache(tmp_path))
    TokenCache(tmp_path).verify()
    data = bytearray((folder / 'codes_pixel.bin').read_bytes())
    data[7] ^= 1
    (folder / 'codes_pixel.bin').write_bytes(data)
    with pytest.raises(InputError, match='codes_pixel.bin of the cache is damaged.*it is built again'):
        TokenCache(tmp_path).verify()


def test_a_build_that_fails_leaves_nothing(tmp_path, monkeypatch):
    """What a killed process has left is taken away by the next one."""
    write_tokens(tmp_path)
    monkeypatch.setattr(segments, '_add', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        TokenCache(tmp_path)
    assert list((tmp_path / '.cache').iterdir()) == []
    monkeypatch.undo()
    (tmp_path / '.cache' / '.segment-0123.abc_d1.part').mkdir()
    assert_exact(TokenCache(tmp_path))
    assert [path.name[:8] for path in (tmp_path / '.cache').iterdir()] == ['segment-']


def test_a_shard_that_changes_meanwhile(tmp_path, monkeypatch):
    write_tokens(tmp_path)
    real = segments._add

    def add(files, shard):
        real(files, shard)
        write_tokens(tmp_path, broken=(3, 103))
    monkeypatch.setattr(segments, '_add', add)
    with pytest.raises(InputError, match='was replaced while it was cached'):
        TokenCache(tmp_path)


@pytest.mark.parametrize('spoil, message', [
    (lambda data: data[:-9], 'is not a whole token shard: it is cut short'),
    (lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:], 'is damaged: its bytes are not those')])
def test_a_broken_shard(tmp_path, spoil, message):
    """It is named, and nothing of it is cached."""
    path = list_shards(write_tokens(tmp_path))[1]
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InputError, match=f'{path.name}.*{message}'):
        TokenCache(tmp_path)
    assert not list(tmp_path.glob('.cache/segment-*'))


def test_another_fingerprint(tmp_path):
    """It is refused when it is asked for, and within one folder."""
    other = make_meta(weights='f' * 16)
    write_tokens(tmp_path / 'a')
    with pytest.raises(InputError, match='Its codes are those of another tokenizer'):
        TokenCache(tmp_path / 'a', fingerprint=other.fingerprint)
    write_tokens(tmp_path / 'b', meta=other)
    path = list_shards(tmp_path / 'b')[0]
    path.rename(tmp_path / 'a' / path.name.replace('s0', 't0'))
    with pytest.raises(InputError, match='has the fingerprint .*weights'):
        TokenCache(tmp_path / 'a')


def test_no_shards(tmp_path):
    with pytest.raises(InputError, match='holds no token shards'):
        TokenCache(tmp_path)


def test_a_cache_of_ones_own(tmp_path):
    """`cache` names another folder; that of the shards stays as it is."""
    write_tokens(tmp_path / 'a')
    assert_exact(TokenCache(tmp_path / 'a', tmp_path / 'b'))
    assert not (tmp_path / 'a' / '.cache').exists() and (tmp_path / 'b').is_dir()
    (tmp_path / 'c').write_text('')
    with pytest.raises(InputError, match='c cannot be written.*Give another folder'):
        TokenCache(tmp_path / 'a', tmp_path / 'c')


def test_it_travels_to_workers(tmp_path):
    """Pickled, it holds no codes."""
    cache = TokenCache(write_tokens(tmp_path))
    cache.read('pixel', [0])
    data = pickle.dumps(cache)
    assert len(data) < 20_000
    assert_exact(pickle.loads(data))


def test_only_broken_images(tmp_path):
    cache = TokenCache(write_tokens(tmp_path, shards=1, size=2, broken=(0, 1)))
    assert len(cache) == 0 and cache.broken == 2 and cache.read('pixel', []).shape == (0, 4, 2)


def test_rows_that_are_not_there(tmp_path):
    cache = TokenCache(write_tokens(tmp_path))
    for rows in ([-1], [10]):
        with pytest.raises(IndexError):
            cache.read('pixel', rows)
    with pytest.raises(InputError, match='no stream `pixl`'):
        cache.read('pixl', [0])
