"""Exact and near duplicates, against all pairs in one array."""
import numpy as np
import pytest

from dtbox.errors import InputError
from dtbox.token_shards.writing import Row
from dtbox.tokens import duplicates
from dtbox.tokens.catalog import Catalog
from dtbox.tokens.duplicates import find_exact_duplicates, find_near_duplicates
from dtbox.tokens.spaces import CodeSpace, EmbeddingSpace
from tests.tokens.search_shards import make_rows, write_shards

pytest.importorskip('pyarrow')


def test_exact_by_hand(tmp_path):
    """Groups over shards; views of one image are no duplicates, files that could not be read neither, broken images
    are."""
    codes = dict(pixel=np.zeros((4, 1, 1), np.uint16))
    one = [bytes([i]) * 16 for i in range(4)]
    a = make_rows(codes, hashes=[one[0], one[0], one[1], one[1]], views=2)  # two images of two views
    b = make_rows(codes, 10, hashes=[one[2], one[1], None, None])
    b.append(Row('broken', 9, image_hash=one[2], status='broken', error='cut short'))
    c = make_rows(codes, 20, hashes=[one[1], one[3], one[3], one[2]])
    catalog = Catalog(write_shards(tmp_path / 'out', dict(a=a, b=b, c=c)))
    assert [path.name[0] for path in catalog.paths] == ['a', 'b', 'c']
    assert find_exact_duplicates(catalog) == [[2, 5, 9], [4, 8, 12], [10, 11]]


def test_a_hash_of_zeros_is_a_hash(tmp_path):
    rows = make_rows(dict(pixel=np.zeros((2, 1, 1), np.uint16)), hashes=[bytes(16), bytes(16)])
    assert find_exact_duplicates(Catalog(write_shards(tmp_path / 'out', dict(a=rows)))) == [[0, 1]]


def join(similar):
    """Groups of a boolean matrix, by walking."""
    left, groups = set(range(len(similar))), []
    while left:
        group, todo = set(), [min(left)]
        while todo:
            one = todo.pop()
            if one not in group:
                group.add(one)
                todo += np.flatnonzero(similar[one]).tolist()
        left -= group
        if len(group) > 1:
            groups.append(sorted(group))
    return sorted(groups, key=lambda group: (-len(group), group[0]))


@pytest.mark.parametrize('part', [7, 2048])
def test_near_are_those_of_all_pairs(tmp_path, monkeypatch, part):
    """Blocks of any size; equal images, chains of pairs, several shards."""
    monkeypatch.setattr(duplicates, 'PART', part)
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(60, 4)).astype(np.float16)
    vectors[[10, 50]] = vectors[3]
    codes = np.zeros((60, 1, 1), np.uint16)
    shards = {name: make_rows(dict(pixel=codes[s]), 100 * i, vectors[s])
              for i, (name, s) in enumerate(dict(a=slice(0, 25), b=slice(25, 26), c=slice(26, 60)).items())}
    catalog = Catalog(write_shards(tmp_path / 'out', shards, embedding=4))
    unit = vectors / np.linalg.norm(vectors.astype(np.float32), axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -1)
    near = find_near_duplicates(catalog, EmbeddingSpace(catalog.meta), 0.95)
    assert near.groups == join(cosines >= 0.95) and len(near.groups) > 3 and near.images == 60
    best = cosines.max(1)
    assert near.similarity == {row: pytest.approx(best[row], abs=1e-5) for group in near.groups for row in group}
    assert near.levels[1.0] == 3 and near.levels[0.9] == (best >= 0.9).sum()
    assert near.recall == 1.0


def test_views_of_one_image_are_not_compared(tmp_path):
    codes = np.array([[[1], [1]], [[1], [1]], [[2], [2]], [[1], [1]]], np.uint16)  # view 1 of image 1 is as image 0
    catalog = Catalog(write_shards(tmp_path / 'out', {'a': make_rows(dict(pixel=codes), views=2)}))
    near = find_near_duplicates(catalog, CodeSpace(catalog.meta, 'pixel'))
    assert (near.groups, near.images) == ([], 2)


def test_codes_from_their_threshold_on(tmp_path):
    """0.8 of equal codes where nothing else is asked for; a pair at the threshold counts."""
    codes = np.zeros((3, 10, 1), np.uint16)
    codes[1, :2], codes[2, :3] = 1, 2
    catalog = Catalog(write_shards(tmp_path / 'out', {'a': make_rows(dict(pixel=codes))}))
    space = CodeSpace(catalog.meta, 'pixel')
    near = find_near_duplicates(catalog, space)
    assert near.groups == [[0, 1]] and near.similarity[1] == pytest.approx(0.8)
    assert find_near_duplicates(catalog, space, 0.7).groups == [[0, 1, 2]]
    with pytest.raises(InputError, match='--threshold: 0 came; expected a similarity above 0'):
        find_near_duplicates(catalog, space, 0)


def test_many_equal_images_are_one_feature(tmp_path):
    """3,000 blank images are one group, without a pair of each with each."""
    codes = np.zeros((3000, 2, 1), np.uint16)
    codes[-1] = 5
    catalog = Catalog(write_shards(tmp_path / 'out', {'a': make_rows(dict(pixel=codes))}))
    space = CodeSpace(catalog.meta, 'pixel')
    with duplicates.Features(catalog, space) as features:
        assert len(features) == 2 and features.counts.tolist() == [2999, 1]
    near = find_near_duplicates(catalog, space)
    assert near.groups == [list(range(2999))] and set(near.similarity.values()) == {1.0}


def test_shards_without_codes(tmp_path):
    rows = make_rows(dict(pixel=np.zeros((1, 2, 1), np.uint16)))
    broken = [Row('x', 0, status='broken', error='no image')]
    meta_of = Catalog(write_shards(tmp_path / 'kit', dict(a=rows))).meta
    catalog = Catalog(write_shards(tmp_path / 'out', dict(a=broken), meta=meta_of))
    near = find_near_duplicates(catalog, CodeSpace(catalog.meta, 'pixel'))
    assert (near.groups, near.images, set(near.levels.values())) == ([], 0, {0})
    assert find_exact_duplicates(catalog) == []
