"""Nearest images over several shards, against a search in one array."""
import numpy as np
import pytest

from dtbox.errors import InputError
from dtbox.token_shards.writing import Row
from dtbox.tokens.catalog import Catalog
from dtbox.tokens.search import find_nearest
from dtbox.tokens.spaces import CodeSpace, EmbeddingSpace
from tests.tokens.search_shards import make_rows, write_shards

pytest.importorskip('pyarrow')
BROKEN = Row('broken', 99, status='broken', error='it is no image')


@pytest.fixture()
def embedded(tmp_path):
    """Three shards of 40, 1 and 30 images with random embeddings; broken rows lie between them."""
    generator = np.random.default_rng(0)
    vectors, shards = [], {}
    for number, count in enumerate((40, 1, 30)):
        own = generator.normal(size=(count, 8)).astype(np.float16)
        rows = make_rows(dict(pixel=np.zeros((count, 1, 1), np.uint16)), 100 * number, own)
        shards[f'shard_{number}'] = [*rows[:count // 2], BROKEN, *rows[count // 2:]]
        vectors.append(np.insert(own.astype(np.float32), count // 2, 0, axis=0))
    catalog = Catalog(write_shards(tmp_path / 'out', shards, embedding=8))
    order = [int(path.name[6]) for path in catalog.paths]
    return catalog, np.concatenate([vectors[i] for i in order])


def test_nearest_are_those_of_one_array(embedded):
    catalog, vectors = embedded
    queries = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=1)
    cosines = np.where(lengths > 0, queries @ vectors.T / np.maximum(lengths, 1e-9), -2)
    found = find_nearest(catalog, EmbeddingSpace(catalog.meta), queries, 50)
    for one, row in zip(found, cosines):
        expected = np.argsort(-row)[:50]
        assert one.rows == expected.tolist()
        assert one.similarities == pytest.approx(row[expected].tolist(), abs=1e-6)


def test_entries_tell_where_an_image_comes_from(embedded):
    catalog, _ = embedded
    rows = [catalog.rows - 1, 0, 41, 20]
    for row, entry in zip(rows, catalog.describe(rows)):
        number = np.searchsorted(catalog.starts, row, side='right') - 1
        shard = catalog.open(number)
        local = row - int(catalog.starts[number])
        assert entry.row == row and entry.source == shard.meta.source
        assert entry.key == shard.column('key')[local].as_py()
        assert list(entry.texts) == shard.column('texts')[local].as_py()
    assert catalog.rows == 40 + 1 + 30 + 3


def test_fewer_images_than_asked_for(embedded):
    catalog, vectors = embedded
    found = find_nearest(catalog, EmbeddingSpace(catalog.meta), vectors[:1], 1000)[0]
    assert len(found.rows) == 71 and len(set(found.rows)) == 71


def test_the_nearest_view_counts(tmp_path):
    """Of the views of an image the nearest one is found, and the image only once."""
    codes = np.array([[[1], [1]], [[2], [2]], [[2], [3]], [[9], [9]]], np.uint16)  # two images of two views
    catalog = Catalog(write_shards(tmp_path / 'out', {'a': make_rows(dict(pixel=codes), views=2)}))
    found = find_nearest(catalog, CodeSpace(catalog.meta, 'pixel'), np.array([[[2], [2]]], np.uint16), 5)[0]
    assert (found.rows, found.similarities) == ([1, 2], [1.0, 0.5])
    assert [entry.view for entry in catalog.describe(found.rows)] == [1, 0]


def test_codes_of_rows(tmp_path):
    """Codes of any rows, in any order; broken rows lie before them, and have none themselves."""
    codes = np.arange(12).reshape(6, 2, 1).astype(np.uint16)
    rows = make_rows(dict(pixel=codes))
    shards = dict(a=[BROKEN, *rows[:3]], b=[*rows[3:4], BROKEN, *rows[4:]])
    catalog = Catalog(write_shards(tmp_path / 'out', shards))
    first = int(catalog.starts[1]) if catalog.paths[0].name.startswith('a') else 0
    assert catalog.starts.tolist() == [0, 4, 8] and first == 4
    read = catalog.read_codes([7, 1, 4], ['pixel'])['pixel']
    assert read.tolist() == codes[[5, 0, 3]].tolist()
    with pytest.raises(InputError, match='row 1 of .* is a broken image'):
        catalog.read_codes([5], ['pixel'])


def test_bad_input(embedded, tmp_path):
    catalog, vectors = embedded
    with pytest.raises(InputError, match='--top: 0 came; expected at least 1'):
        find_nearest(catalog, EmbeddingSpace(catalog.meta), vectors[:1], 0)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match='holds no token shards'):
        Catalog(tmp_path / 'empty')
