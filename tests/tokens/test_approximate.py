"""Searches by an index: recall against an exact search, near duplicates, and files of an index."""
import numpy as np
import pytest

from dtbox.errors import InputError
from dtbox.tokens import approximate
from dtbox.tokens.approximate import build_index, find_near_approximately, get_index, make_stamp
from dtbox.tokens.catalog import Catalog
from dtbox.tokens.duplicates import Features, find_near_duplicates
from dtbox.tokens.search import find_nearest
from dtbox.tokens.spaces import CodeSpace, EmbeddingSpace
from tests.tokens.search_shards import make_rows, write_shards

pytest.importorskip('pyarrow')
pytest.importorskip('faiss')
COUNT = 1200


@pytest.fixture(scope='module')
def catalog(tmp_path_factory):
    """Embeddings around 30 centres in two shards, with copies."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(30, 16))[generator.integers(0, 30, COUNT)] + generator.normal(size=(COUNT, 16))
    vectors = vectors.astype(np.float16)
    vectors[800:820], vectors[1199] = vectors[:20] * np.float16(1.001), vectors[5]
    codes = dict(pixel=np.zeros((COUNT // 2, 1, 1), np.uint16))
    shards = dict(a=make_rows(codes, 0, vectors[:COUNT // 2]), b=make_rows(codes, COUNT, vectors[COUNT // 2:]))
    return Catalog(write_shards(tmp_path_factory.mktemp('index') / 'out', shards, embedding=16))


def test_recall_is_measured(catalog):
    """A higher recall takes more lists; the measured one is that against an exact search."""
    space = EmbeddingSpace(catalog.meta)
    with Features(catalog, space) as features:
        values = np.array(features.values)
        few, many = (build_index(features, '', recall) for recall in (0.2, 0.95))
    exact = np.argsort(-values @ values.T, axis=1)[:, :10]
    for index in (few, many):
        _, numbers = index.search(values, 10)
        share = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, numbers)])
        assert index.recall == pytest.approx(share, abs=0.05)
    assert few.probes < many.probes and few.recall < 0.95 <= many.recall


def test_nearest_of_all_lists_are_exact(catalog):
    """With recall 1 every list is searched where it must be; images of the same vector come together."""
    space = EmbeddingSpace(catalog.meta)
    with Features(catalog, space) as features:
        index = build_index(features, '', 1.0)
        queries = np.array(features.values[:4])
    found, exact = index.find_nearest(queries, 12), find_nearest(catalog, space, queries, 12)
    for one, other in zip(found, exact):
        assert one.similarities == pytest.approx(other.similarities, abs=1e-5)
        assert set(one.rows[:10]) <= set(other.rows)


def test_near_duplicates(catalog):
    space = EmbeddingSpace(catalog.meta)
    exact, found = find_near_duplicates(catalog, space, 0.999), find_near_approximately(catalog, space, 0.999)
    assert found.groups == exact.groups and len(exact.groups) >= 20 and max(map(len, exact.groups)) == 3
    assert 0.95 <= found.recall <= 1 and found.images == COUNT


def test_files(catalog, tmp_path):
    """An index is written once and opened again; that of other shards, or no index at all, is refused."""
    space, path = EmbeddingSpace(catalog.meta), tmp_path / 'index.npz'
    written = get_index(path, catalog, space)
    time = path.stat().st_mtime_ns
    opened = get_index(path, catalog, space)
    assert path.stat().st_mtime_ns == time and list(tmp_path.iterdir()) == [path]
    assert (opened.recall, opened.probes, opened.stamp) == (written.recall, written.probes, make_stamp(catalog, space))
    queries = np.eye(16, dtype=np.float32)[:2]
    assert opened.find_nearest(queries, 5) == written.find_nearest(queries, 5)
    rows = make_rows(dict(pixel=np.zeros((1, 1, 1), np.uint16)), embeddings=np.ones((1, 16)))
    other = Catalog(write_shards(tmp_path / 'other', dict(a=rows), embedding=16))
    with pytest.raises(InputError, match='--index: .*is the index of other token shards'):
        get_index(path, other, EmbeddingSpace(other.meta))
    path.write_bytes(b'nothing')
    with pytest.raises(InputError, match=r'--index: .*is not an index of dtbox search \(ValueError\)'):
        get_index(path, catalog, space)


def test_bad_input(catalog, monkeypatch, tmp_path):
    with pytest.raises(InputError, match='compares vectors, and not equal codes of pixel'):
        find_near_approximately(catalog, CodeSpace(catalog.meta, 'pixel'))
    space = EmbeddingSpace(catalog.meta)
    with pytest.raises(InputError, match='--recall: 2 came; expected a fraction above 0'):
        find_near_approximately(catalog, space, recall=2)
    monkeypatch.setattr(approximate, 'need_package', lambda *names: (_ for _ in ()).throw(InputError(str(names))))
    with pytest.raises(InputError, match="'faiss', 'search'"):
        get_index(tmp_path / 'index', catalog, space)
