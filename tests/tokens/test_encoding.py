"""Rows of an input shard: all images, in order, whatever is broken and whoever decodes."""
import io
import tarfile
import threading
import time

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from dtbox.token_shards.reading import open_shard
from dtbox.tokens.encoding import Outcome, encode_items, encode_shard, map_ahead, prepare_item, run_ahead
from dtbox.tokens.progress import Progress
from dtbox.tokens.sources import Item, find_source
from dtbox.tokens.views import ViewRule
from tests import shard_data
from tests.tokens.kit import make_encoder, write_images


def rows_of(encoder, folder, report=lambda images: None):
    outcome = Outcome('x')
    return list(encode_items(encoder, find_source(folder).cut()[0].items(), outcome, report)), outcome


def test_every_image_once_in_order(encoder, photos):
    rows, outcome = rows_of(encoder, photos)
    assert [(row.key, row.index) for row in rows] == [
        (f'{n:03d}.{"jpg" if n % 4 == 0 else "png"}', n) for n in range(10)]
    assert (outcome.images, outcome.rows, outcome.broken) == (10, 10, 0)
    assert {row.status for row in rows} == {'ok'} and (rows[0].width, rows[0].height) == (40, 36)
    paths = [f'{photos}/{row.key}' for row in rows]
    for i in (0, 5, 9):  # of the first, the second and the last batch, which is padded
        expected = encoder.finish(encoder.start([encoder.transform(type('V', (), dict(image=Image.open(path)
                                                                                         .convert('RGB'))))
                                                 for path in paths[i // 4 * 4:i // 4 * 4 + 4]]))[i % 4][0]
        assert all(np.array_equal(rows[i].codes[name], expected[name]) for name in expected)


def test_broken_images_stay_as_rows(encoder, photos):
    (whole, _), path = rows_of(encoder, photos), f'{photos}/002.png'
    content = open(path, 'rb').read()
    open(path, 'wb').write(content[:60])
    rows, outcome = rows_of(encoder, photos)
    assert [row.key for row in rows] == [row.key for row in whole]
    assert [row.status for row in rows] == ['ok'] * 2 + ['broken'] + ['ok'] * 7 and rows[2].codes is None
    assert 'broken or truncated' in rows[2].error and str(photos) not in rows[2].error
    assert outcome.broken == 1 and outcome.told == [('002.png', rows[2].error)] and outcome.rows == 9
    for a, b in zip(rows, whole):
        if a.codes:
            assert np.array_equal(a.codes['pixel'], b.codes['pixel'])


def test_all_broken(encoder, tmp_path):
    for n in range(6):
        (tmp_path / f'{n}.png').write_bytes(b'')
    rows, outcome = rows_of(encoder, tmp_path)
    assert [row.status for row in rows] == ['broken'] * 6 and outcome.rows == 0 and len(outcome.told) == 5
    assert all('empty' in row.error or 'no image format' in row.error for row in rows)


def test_views_of_an_image_follow_one_another(tiny_run, encoder, photos):
    other = make_encoder(tiny_run, views=ViewRule(3))
    rows, outcome = rows_of(other, photos)
    assert [(row.index, row.view) for row in rows] == [(n, v) for n in range(10) for v in range(3)]
    assert outcome.images == 10 and outcome.rows == 30
    assert [row.crop is None for row in rows] == [v == 0 for _ in range(10) for v in range(3)]
    first = {row.key: row.codes for row in rows_of(encoder, photos)[0]}
    same = [np.array_equal(row.codes['pixel'], first[row.key]['pixel']) for row in rows]
    assert all(same[::3]) and not all(same)


def test_an_image_that_the_transform_refuses(encoder, tmp_path):
    """One that is too long and thin is broken in its first view, and named."""
    Image.new('RGB', (300_000, 1)).save(tmp_path / 'long.png')
    row, image = prepare_item(encoder, next(find_source(tmp_path).cut()[0].items()))[0]
    assert row.status == 'broken' and 'too long and thin' in row.error and image is None and row.width == 300_000


@pytest.mark.parametrize('decoders', [1, 3])
def test_threads_that_decode_change_nothing(tiny_run, encoder, photos, decoders):
    other = make_encoder(tiny_run, decoders=decoders)
    for a, b in zip(rows_of(other, photos)[0], rows_of(encoder, photos)[0], strict=True):
        assert a.key == b.key and all(np.array_equal(a.codes[name], b.codes[name]) for name in b.codes)


def test_as_on_a_gpu(encoder, photos, tmp_path, monkeypatch):
    """One batch is under way while the next one is made, and another thread writes: the file is the same."""
    shard = find_source(photos).cut()[0]
    out = [tmp_path / 'a', tmp_path / 'b']
    for folder, is_gpu in zip(out, (False, True)):
        folder.mkdir()
        monkeypatch.setattr(encoder, 'is_gpu', is_gpu)
        if is_gpu:
            monkeypatch.setattr('torch.zeros', lambda *shape, pin_memory, zeros=__import__('torch').zeros, **more:
                                zeros(*shape, **more))
        encode_shard(encoder, shard, str(folder))
    files = [next(folder.iterdir()) for folder in out]
    assert files[0].name == files[1].name and files[0].read_bytes() == files[1].read_bytes()


def test_file_of_an_input_shard(encoder, photos, tmp_path):
    shard, seen = find_source(photos).cut()[0], []
    outcome = encode_shard(encoder, shard, str(tmp_path), seen.append)
    held = open_shard(next(path for path in tmp_path.iterdir() if path.is_file()), encoder.fingerprint)
    assert held.meta.source == shard.name and held.rows == outcome.rows == sum(seen) == 10
    assert held.column('key').to_pylist()[3] == '003.png'


def test_keys_that_repeat_are_named(encoder, tmp_path):
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        for number, key in enumerate(['x', 'y', 'x', 'z', 'z']):
            shard_data.add(tar, f'{key}.jpg', shard_data.image(number))
    (tmp_path / 'out').mkdir()
    outcome = encode_shard(encoder, find_source(tmp_path / 'a.tar').cut()[0], str(tmp_path / 'out'))
    assert outcome.repeated == ['a/x', 'a/z'] and outcome.rows == 5
    progress = Progress(1, Console(file=(said := io.StringIO())))
    progress.done(outcome)
    assert said.getvalue() == (f"repeated: 2 keys come more than once in {outcome.name}, the rows are kept apart by "
                               "their places: 'a/x', 'a/z'\n")


def test_map_ahead_keeps_order_and_bound():
    busy, most = [0], [0]
    lock = threading.Lock()

    def work(value):
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        time.sleep(0.001 * (value % 3))
        with lock:
            busy[0] -= 1
        return value * 2
    taken = []
    values = (taken.append(n) or n for n in range(50))
    results = map_ahead(work, values, 4, 6)
    assert next(results) == 0 and len(taken) <= 6
    assert list(results) == [2 * n for n in range(1, 50)] and 1 < most[0] <= 4
    assert list(map_ahead(work, range(3), 0, 1)) == [0, 2, 4]


def test_run_ahead_keeps_order_bound_and_errors():
    taken = []

    def values():
        for n in range(20):
            taken.append(n)
            yield n
        raise OSError('full')
    results = run_ahead(values(), 3)
    assert next(results) == 0
    time.sleep(0.05)
    assert len(taken) <= 6  # three wait, one is being put, one was taken
    with pytest.raises(OSError, match='full'):
        list(results)
    assert taken == list(range(20))


def test_run_ahead_that_nobody_finishes():
    results = run_ahead(iter(range(1000)), 2)
    next(results)
    results.close()
    assert threading.active_count() < 50 and not any('fill' in t.name for t in threading.enumerate() if t.is_alive())


def test_an_error_of_an_item_ends_the_shard(encoder):
    def lost(decode):
        raise ValueError('gone')
    with pytest.raises(ValueError, match='gone'):
        list(encode_items(encoder, [Item('a', 0, lost)], Outcome('x')))


def test_reports_count_every_image(encoder, tmp_path):
    folder, seen = write_images(tmp_path / 'p', 11), []
    rows_of(encoder, folder, seen.append)
    assert seen == [4, 4, 3]


def test_some_images_again_at_their_places(encoder, photos, monkeypatch):
    """Images 1, 5, 6 and 9 of batches of four have the places 1, 1, 2 and 1, so that they need three batches."""
    whole, _ = rows_of(encoder, photos)
    places, start = [], encoder.start
    monkeypatch.setattr(encoder, 'start', lambda images, at: places.append(at) or start(images, at))
    items = [item for item in find_source(photos).cut()[0].items() if item.index in (1, 5, 6, 9)]
    rows = list(encode_items(encoder, items, Outcome('x'), find_place=lambda row: row.index % 4))
    assert places == [[1], [1, 2], [1]]
    for row in rows:
        assert all(np.array_equal(row.codes[name], whole[row.index].codes[name]) for name in row.codes)
