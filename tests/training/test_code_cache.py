"""Codes of images on disk and in memory: what is found again, and what is not."""
import errno
import os
import warnings

import numpy as np
import pytest
import torch

from dtbox.errors import InputError
from dtbox.training import record_store
from dtbox.training.code_cache import CodeCache
from dtbox.training.record_store import KEY, hash_images
from tests import mllm_kit as kit
from tests.mllm_kit import frozen  # noqa: F401


@pytest.fixture(scope='module')
def images():
    return kit.make_images(6)


def encode(tokenizer, images):
    return tokenizer.encode(images.float() / 127.5 - 1)


def assert_same(one, other):
    assert list(one) == list(other) == list(kit.STREAMS)
    assert all(torch.equal(value, other[name]) and value.dtype == torch.int64 for name, value in one.items())


def files(folder):
    return {path.name: path for path in folder.rglob('*') if path.is_file()}


@pytest.mark.parametrize('memory', [0, 3, 100])
def test_codes_are_those_of_the_tokenizer(frozen, images, tmp_path, memory):  # noqa: F811
    """First time, second time, from another process's files; equal images count once on disk."""
    want = encode(frozen, images)
    cache = CodeCache(frozen, str(tmp_path), memory, batch=2)
    for _ in range(2):
        assert_same(cache(images), want)
    assert (cache.hits, cache.misses) == (6, 6)
    other = CodeCache(frozen, str(tmp_path), memory)
    twice = torch.cat([images[3:5], images[3:4]])
    assert_same(other(twice), {name: value[[3, 4, 3]] for name, value in want.items()})
    assert (other.hits, other.misses) == (3, 0)
    assert sum(p.stat().st_size for n, p in files(tmp_path).items() if n.endswith('.keys')) == 6 * KEY


def test_no_images(frozen):  # noqa: F811
    codes = CodeCache(frozen)(torch.zeros(0, 3, 32, 32, dtype=torch.uint8))
    assert {name: c.shape for name, c in codes.items()} == dict.fromkeys(kit.STREAMS, (0, kit.PLACES, 2))


def test_equal_images_of_one_batch(frozen, images, tmp_path):  # noqa: F811
    cache = CodeCache(frozen, str(tmp_path), memory=0)
    assert_same(cache(images[[0, 0, 1]]), {n: v[[0, 0, 1]] for n, v in encode(frozen, images).items()})
    assert_same(CodeCache(frozen, str(tmp_path))(images[:2]), {n: v[:2] for n, v in encode(frozen, images).items()})


def test_codes_of_another_tokenizer_are_not_taken(frozen, images, tmp_path):  # noqa: F811
    """One folder for two tokenizers: each finds its own codes."""
    other = kit.make_tokenizer(7)
    assert other.digest != frozen.digest
    for tokenizer in (frozen, other, frozen):
        cache = CodeCache(tokenizer, str(tmp_path))
        assert_same(cache(images), encode(tokenizer, images))
    assert cache.misses == 0 and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize('cut', ['data', 'keys', 'both'])
def test_writes_that_were_killed(frozen, images, tmp_path, cut):  # noqa: F811
    """Half a key, a record without its key, or half a record: what is whole is found, the rest is encoded."""
    CodeCache(frozen, str(tmp_path))(images)
    paths = {name.rpartition('.')[2]: path for name, path in files(tmp_path).items()}
    size = paths['data'].stat().st_size // 6
    if cut == 'keys':
        os.truncate(paths['keys'], 5 * KEY + 7)
    else:  # the record is written first, so that its key comes later or not at all
        os.truncate(paths['keys'], 5 * KEY)
        os.truncate(paths['data'], 5 * size + (3 if cut == 'both' else size))
    for _ in range(2):
        cache = CodeCache(frozen, str(tmp_path), memory=0)
        assert_same(cache(images), encode(frozen, images))
    assert (cache.hits, cache.misses) == (6, 0)


def test_a_damaged_file_is_told(frozen, images, tmp_path):  # noqa: F811
    CodeCache(frozen, str(tmp_path))(images)
    (data,) = [path for name, path in files(tmp_path).items() if name.endswith('.data')]
    os.truncate(data, 5)
    with pytest.raises(InputError, match=r'\.data is shorter than its keys say. Remove the folder .* codes of images'):
        CodeCache(frozen, str(tmp_path))(images)


def test_a_full_disk(frozen, images, tmp_path, monkeypatch):  # noqa: F811
    """It is told once, the run continues from memory, and what was written stays right."""
    cache = CodeCache(frozen, str(tmp_path), memory=0, batch=1)
    real, calls = record_store.RecordStore._append, []

    def full(self, key, row):
        calls.append(key)
        if len(calls) > 2:
            with open(f'{self.own}.data', 'ab') as f:
                f.write(row[:5])
            raise OSError(errno.ENOSPC, 'No space left on device')
        real(self, key, row)
    monkeypatch.setattr(record_store.RecordStore, '_append', full)
    with pytest.warns(UserWarning, match='no space is left in .* for the codes of images; nothing more is kept there'):
        assert_same(cache(images), encode(frozen, images))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert_same(cache(images), encode(frozen, images))
    assert len(calls) == 3
    monkeypatch.undo()
    again = CodeCache(frozen, str(tmp_path))
    assert_same(again(images), encode(frozen, images))
    assert (again.hits, again.misses) == (2, 4)


def test_two_writers_at_once(frozen, images, tmp_path, monkeypatch):  # noqa: F811
    """Each has files of its own, and finds what the other has written once it looks again."""
    monkeypatch.setattr(record_store, 'LOOK', -1.0)
    one, two = (CodeCache(frozen, str(tmp_path), memory=0) for _ in range(2))
    one(images[:3])
    two(images[3:])
    assert (one(images[3:]), two(images[:3])) and one.misses == two.misses == 3
    assert_same(one(images), encode(frozen, images))
    assert len(files(tmp_path)) == 4


def test_bytes_of_a_code(frozen, images, tmp_path):  # noqa: F811
    """Two up to 65,536 codes at one depth, else four; then codes above 65,535 come back as they were."""
    assert CodeCache(frozen).dtype == np.uint16
    large = kit.make_tokenizer(quantizer=dict(type='LFQ', dim=17), projection=dict(type='MLPProjection'))
    cache = CodeCache(large, str(tmp_path), memory=0)
    assert cache.dtype == np.uint32
    want = encode(large, images)
    assert max(int(codes.max()) for codes in want.values()) > 65535
    for _ in range(2):
        found = cache(images)
        assert all(torch.equal(found[name], codes) for name, codes in want.items())


def test_a_file_in_place_of_the_folder(frozen, tmp_path):  # noqa: F811
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='file is a file; expected a folder for the codes of images'):
        CodeCache(frozen, str(tmp_path / 'file'))


def test_keys_tell_every_pixel(images):
    """Equal images have equal keys whatever batch or layout holds them; one pixel makes another key."""
    changed = images.clone()
    changed[0, 0, 0, 0] ^= 1
    turned = images.contiguous(memory_format=torch.channels_last)
    assert hash_images(images) == hash_images(turned) and hash_images(images)[1:] == hash_images(changed)[1:]
    assert hash_images(images)[0] != hash_images(changed)[0] and len(set(hash_images(images))) == 6
