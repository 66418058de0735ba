"""WebDataset shards: every sample once an epoch on any number of workers and ranks, exact resumption, and what is
broken is named."""
import gzip
import os
import re
import stat
import tarfile
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dtbox.datasets import CursorBatchSampler, collate
from dtbox.datasets.base import BrokenSample
from dtbox.datasets.shards import Shards
from dtbox.datasets.shards.index import load_shard_index, scan
from dtbox.datasets.shards.places import list_places
from dtbox.errors import InputError
from tests.shard_data import add, image, write_set, write_shard

PACK = [dict(type='ResizeCrop', size=16), dict(type='PackImage')]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The user's cache stays as it is."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


# ---- places ----------------------------------------------------------------------------------------------------------

def names(urls):
    return [p.name for p in list_places(urls)]


def test_patterns(tmp_path):
    write_set(tmp_path / 'a', [1] * 12)
    folder = str(tmp_path / 'a')
    assert names(folder) == sorted(f's-{i}' for i in range(12))
    assert names(f'{folder}/s-{{0..3}}.tar') == ['s-0', 's-1', 's-2', 's-3']
    assert names(f'{folder}/s-1*.tar') == ['s-1', 's-10', 's-11']
    assert names([f'{folder}/s-7.tar', f'{folder}/s-2.tar::{folder}/s-3.tar']) == ['s-7', 's-2', 's-3']
    pipes = list_places('pipe:cat /data/{000..002}.tar')
    assert [p.command for p in pipes] == ['cat /data/000.tar', 'cat /data/001.tar',
                                          'cat /data/002.tar'] and pipes[1].name == '001'


def test_shards_of_one_name_are_told_apart(tmp_path):
    for part in 'ab':
        write_set(tmp_path / part, [1])
    assert names([str(tmp_path / 'a'), str(tmp_path / 'b')]) == ['a/s-0', 'b/s-0']


@pytest.mark.parametrize('urls, says', [
     ('no/such.tar', r'the shard no/such.tar does not exist'), ('no/such-*.tar', r'no file matches no/such-\*\.tar'),
     ('{tmp}', r'holds no \*\.tar files'), ('https://x/y.tar', r'pipe:curl -sfL https://x/y\.tar'),
     (None, r'the shards are None; .* Set it \(shards=PATTERN heldout=PATTERN .* \(--data CONFIG\)'),
     ([], r'the shards are \[\]'), (3, 'the shards are 3'), (['{tmp}/one.tar', '{tmp}/one.tar'], 'is named twice'),
     ('a{0..', 'braces')])
def test_patterns_that_name_nothing(tmp_path, urls, says):
    (tmp_path / 'empty').mkdir()
    write_shard(tmp_path / 'more' / 'one.tar', [1])
    if isinstance(urls, str):
        urls = urls.replace('{tmp}', str(tmp_path / 'empty'))
    elif isinstance(urls, list):
        urls = [u.replace('{tmp}', str(tmp_path / 'more')) for u in urls]
    with pytest.raises(InputError, match=says):
        list_places(urls)


# ---- the index -------------------------------------------------------------------------------------------------------

def test_the_index_finds_what_tarfile_reads(tmp_path):
    path = write_shard(tmp_path / 's.tar', range(5), json_captions=True)
    index = load_shard_index(path)
    with tarfile.open(path) as tar, open(path, 'rb') as f:
        content = {m.name: tar.extractfile(m).read() for m in tar}
        for i, key in enumerate(index.keys):
            for suffix, (offset, size) in index.members(i).items():
                f.seek(offset)
                assert f.read(size) == content.pop(f'{key}.{suffix}')
    assert not content and index.flaws == []


def test_the_index_is_kept_until_the_file_changes(tmp_path, monkeypatch):
    path = write_shard(tmp_path / 's.tar', range(3))
    first = load_shard_index(path)
    with monkeypatch.context() as m:
        m.setattr('dtbox.datasets.shards.index.scan', lambda path: 1 / 0)
        again = load_shard_index(path)
        assert again.keys.tolist() == first.keys.tolist() and again.members(2) == first.members(2)
        os.utime(path, ns=(1, 1))
        with pytest.raises(ZeroDivisionError):
            load_shard_index(path)
    kept = tmp_path / 'cache' / 'dtbox' / 'shards'
    for file in kept.iterdir():
        file.write_bytes(b'spoilt')
    assert len(load_shard_index(path)) == 3


def broken_shard(folder, how):
    """A shard with samples 0 to 4 that is broken in some way."""
    path = folder / f'{how}.tar'
    write_shard(path, range(5))
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        members = {m.name: m for m in tar}
    at = {'middle': members['000003.jpg'].offset_data + 100, 'between': members['000004.jpg'].offset}
    if how in at:
        path.write_bytes(whole[:at[how]])
    elif how == 'empty':
        path.write_bytes(b'')
    elif how == 'zeros':
        path.write_bytes(b'\0' * 10240)
    elif how == 'text':
        path.write_text('<html>404 Not Found</html>' * 100)
    elif how == 'gzip':
        path.write_bytes(gzip.compress(whole))
    elif how == 'nothing':
        with tarfile.open(path, 'w') as tar:
            add(tar, 'README', b'words')
    elif how == 'scattered':
        with tarfile.open(path, 'w') as tar:
            for n in range(3):
                add(tar, f'{n}.jpg', image(n))
            for n in range(3):
                add(tar, f'{n}.txt', b'words')
    elif how == 'twice':
        with tarfile.open(path, 'w') as tar:
            for n, key in enumerate('abaa'):
                add(tar, f'{key}.jpg', image(n))
    elif how == 'captions':
        with tarfile.open(path, 'w') as tar:
            add(tar, 'a.jpg', image(1))
            for word in (b'one', b'two'):
                add(tar, 'a.txt', word)
    return str(path)


@pytest.mark.parametrize('how, keys, flaw', [
    ('middle', 3, 'ends in the middle of the sample 000003.*truncated; before that, 3 samples are whole'),
    ('between', 4, 'without the mark of its end: perhaps truncated'),
    ('captions', 1, r'the sample a has two members \.txt')])
def test_what_is_whole_of_a_broken_shard(tmp_path, how, keys, flaw):
    index = scan(broken_shard(tmp_path, how))
    assert len(index) == keys
    assert re.search(flaw, index.flaws[0])


def test_samples_of_one_key(tmp_path):
    """The first one is taken, or all are, each with its own image, whether they follow one another or not."""
    path = broken_shard(tmp_path, 'twice')
    data = Shards(path, broken='skip')
    assert [data.key(i) for i in range(len(data))] == ['twice/a', 'twice/b']
    assert '2 samples have the key of an earlier one, such as a, a; the later ones are left out' in data.flaws[0]
    data = Shards(path, broken='skip', repeated='keep')
    assert [data.key(i) for i in range(len(data))] == ['twice/a', 'twice/b', 'twice/a', 'twice/a']
    assert [data.image_bytes(i) for i in range(4)] == [image(i) for i in range(4)]
    assert not data.flaws and 'kept apart by their places' in data.notes[-1]


@pytest.mark.parametrize('repeated', ['skip', 'keep'])
def test_members_that_are_apart(tmp_path, repeated):
    data = Shards(broken_shard(tmp_path, 'scattered'), broken='skip', repeated=repeated)
    assert len(data) == 3 and len(data.flaws) == 1
    assert 'members of 3 samples come in two places, such as those of 0, 1, 2' in data.flaws[0]


@pytest.mark.parametrize('how, says', [
     ('empty', r'empty\.tar is not a tar file \(ReadError: empty file\); it has 0 bytes'),
     ('zeros', 'holds no whole sample: it is empty'), ('text', 'is not a tar file'),
     ('gzip', r'compressed \(gzip\).*pipe:gzip -dc'), ('nothing', 'holds no whole sample')])
def test_shards_that_hold_nothing(tmp_path, how, says):
    with pytest.raises(InputError, match=says):
        scan(broken_shard(tmp_path, how))


# ---- the data set ----------------------------------------------------------------------------------------------------

def test_samples(tmp_path):
    folder = write_set(tmp_path / 'a', [3, 4])
    write_shard(tmp_path / 'a' / 's-2.tar', [7, 8], json_captions=True)
    data = Shards(folder, PACK, split='heldout', classes=('a', 'b', 'c'))
    assert len(data) == 9 and data.metainfo == dict(classes=('a', 'b', 'c'), texts=True)
    found = [data[i] for i in range(9)]
    assert [s['key'] for s in found] == [f's-{s}/{n:06d}' for n, s in enumerate([0] * 3 + [1] * 4 + [2] * 2)]
    assert [s['label'] for s in found] == [n % 3 for n in range(9)] and found[4]['captions'] == ['image 4']
    assert found[7]['captions'] == ['image 7', 'number 7'] and found[7]['text'] == 'image 7'
    assert all(s['image'].shape == (3, 16, 16) and abs(int(s['image'][0].float().mean()) - n) <= 2
               for n, s in enumerate(found))
    batch = collate(found[5:])
    assert batch.captions[2] == ['image 7', 'number 7'] and batch.texts[2] == 'image 7' and batch.broken is None


def test_training_draws_among_captions(tmp_path):
    write_shard(tmp_path / 's.tar', range(4), json_captions=True)
    data = Shards(str(tmp_path / 's.tar'), PACK)
    drawn = Counter(data[epoch * 4]['text'] for epoch in range(40))
    assert set(drawn) == {'image 0', 'number 0'} and min(drawn.values()) > 8
    assert Shards(str(tmp_path / 's.tar'), PACK, text=())[0]['text'] == ''
    assert Shards(str(tmp_path / 's.tar'), PACK, text='json:title')[0]['text'] == ''


def test_pipes_are_fetched_once_and_the_oldest_go(tmp_path):
    write_set(tmp_path / 'a', [2] * 5)
    log = tmp_path / 'log'
    command = f'pipe:echo x >> {log}; cat {tmp_path}/a/s-{{0..4}}.tar'
    data = Shards(command, PACK, fetched=str(tmp_path / 'fetched'), window=2, keep=2)
    keys = [data[i]['key'] for i in range(10)]
    assert keys == [f's-{n // 2}/{n:06d}' for n in range(10)]
    assert len(list((tmp_path / 'fetched').glob('*.tar'))) == 2
    umask = os.umask(0)
    os.umask(umask)
    for path in (tmp_path / 'fetched').glob('*.tar'):  # other users of the machine share them
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    calls = len(log.read_text().split())
    again = Shards(command, PACK, fetched=str(tmp_path / 'fetched'), window=2, keep=2)
    assert [again[i]['key'] for i in range(8, 10)] == keys[8:] and calls >= 5
    with pytest.raises(InputError, match='`false .*failed with code 1'):
        Shards(f'pipe:false | cat {tmp_path}/a/s-0.tar', fetched=str(tmp_path / 'f'), broken='error')
    with pytest.raises(InputError, match='wrote nothing'):
        Shards('pipe:true', fetched=str(tmp_path / 'f'), broken='error')


def epochs(folder, batch_size, workers, rank=0, world=1, cursor=0, batches=None, **more):
    """(keys with their epoch) batch by batch, as the training loader reads them."""
    data = Shards(folder, PACK, window=2, **more)
    sampler = CursorBatchSampler(len(data), batch_size, seed=4, last='carry', rank=rank, world=world, cursor=cursor,
                                 order=data.order)
    loader = DataLoader(data, batch_sampler=sampler, num_workers=workers, collate_fn=collate)
    for positions, batch in zip(iter(sampler), islice(loader, batches)):
        yield [(p // len(data), key) for p, key in zip(positions, batch.keys)]


@pytest.mark.parametrize('workers', [1, 2, 4])
def test_every_sample_once_an_epoch(tmp_path, workers):
    """Two ranks, three epochs, killed in the middle of the second one and resumed from the cursor."""
    folder = write_set(tmp_path / 'a', [5, 3, 7, 4, 6])  # 25 samples
    seen = Counter()
    for rank in range(2):
        before = list(epochs(folder, 4, workers, rank, 2, batches=4))
        after = list(epochs(folder, 4, workers, rank, 2, cursor=4, batches=6))
        assert before + after == list(epochs(folder, 4, 0, rank, 2, batches=10))
        seen.update(sum(before + after, []))
    keys = [f's-{s}/{n:06d}' for s, a, b in ((0, 0, 5), (1, 5, 8), (2, 8, 15), (3, 15, 19), (4, 19, 25))
            for n in range(a, b)]
    assert {k: v for k, v in seen.items() if k[0] < 3} == {(epoch, key): 1 for epoch in range(3) for key in keys}


def test_the_order_stays_in_few_shards_and_changes(tmp_path):
    data = Shards(write_set(tmp_path / 'a', [10] * 8), window=2)
    orders = [data.order(np.random.default_rng(i)) for i in range(2)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(80))
        assert all(len({data.where(i)[0] for i in order[at:at + 20]}) == 2 for at in range(0, 80, 20))
        assert len({data.where(i)[0] for i in order[:6]}) == 2
    assert orders[0].tolist() != orders[1].tolist()
    small = Shards(str(tmp_path / 'a'), window=3, limit=33)
    assert sorted(small.order(np.random.default_rng(0)).tolist()) == list(range(33)) and len(small) == 33


# ---- what is broken --------------------------------------------------------------------------------------------------

def test_broken_shards_and_samples_are_named_and_left_out(tmp_path, caplog):
    folder = tmp_path / 'a'
    write_set(folder, [3])
    (folder / 's-1.tar').write_bytes(open(broken_shard(tmp_path, 'middle'), 'rb').read())
    (folder / 's-2.tar').write_text('no tar')
    with tarfile.open(folder / 's-3.tar', 'w') as tar:
        add(tar, 'good.jpg', image(9))
        add(tar, 'bad.jpg', image(8)[:200])
        add(tar, 'wordless.txt', b'words')
        add(tar, 'class.jpg', image(7))
        add(tar, 'class.cls', b'many')
    data = Shards(str(folder), PACK)
    assert len(data) == 3 + 3 + 3
    flaws = '\n'.join(data.flaws)
    for words in ('s-1.tar: the file ends in the middle', 's-2.tar is not a tar file', '1 sample has no image',
                  'wordless'):
        assert words in flaws
    batch = collate([data[i] for i in range(9)])
    assert len(batch) == 7 and len(batch.broken) == 2
    assert 's-3/bad' in batch.broken[0] and "the class 'many'" in batch.broken[1]
    strict = Shards(str(folder / 's-3.tar'), PACK)
    strict.broken = 'error'
    with pytest.raises(BrokenSample, match='sample s-3/bad .* cannot be decoded'):
        strict[1]
    with pytest.raises(InputError, match="s-1.tar: the file ends.*broken='skip' leaves it out"):
        Shards(str(folder), broken='error')
    with pytest.raises(InputError, match='none of 1 shard can be used: the shard .*s-2.tar is not a tar file'):
        Shards(str(folder / 's-2.tar'))
    lost = collate([data[7], data[8]])
    assert len(lost) == 0 and len(lost.broken) == 2 and isinstance(lost.images, torch.Tensor)


@pytest.mark.parametrize('options, says', [
     (dict(split='val'), "`split` is 'val'"), (dict(window=0), '`window` is 0'), (dict(limit=True), '`limit` is True'),
     (dict(text='caption'), "`text` names 'caption'; expected 'txt' or 'json:KEY'"),
     (dict(broken='drop'), "`broken` is 'drop'"), (dict(window=65), '`keep` is 64, less than the window of 65'),
     (dict(keep=0, window=1), '`keep`')])
def test_options_that_make_no_sense(tmp_path, options, says):
    with pytest.raises(InputError, match=says):
        Shards(write_set(tmp_path / 'a', [1]), **options)


def test_parts_of_a_sample(tmp_path):
    """The file of an image as it lies in the shard, its key and its captions, without decoding."""
    data = Shards(write_set(tmp_path / 's', [2, 2]), split='heldout')
    assert data.key(2) == 's-1/000002' and data.image_bytes(2) == image(2) and data.texts_of(2) == ['image 2']
