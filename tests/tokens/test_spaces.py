"""Similarities of codes and embeddings, by hand."""
import numpy as np
import pytest

from dtbox.errors import InputError
from dtbox.token_shards.format import ShardMeta, Stream
from dtbox.tokens.catalog import Catalog
from dtbox.tokens.spaces import CodeSpace, EmbeddingSpace, choose_space, make_unit
from tests.tokens.search_shards import FINGERPRINT, make_rows, write_shards

pytest.importorskip('pyarrow')
META = ShardMeta(FINGERPRINT, (Stream('pixel', 2, 3, 50), Stream('semantic', 2, 1, 50)), embedding=2)


def test_equal_codes_by_hand():
    """Depths weigh 4/7, 2/7, 1/7, positions a half each: of two images that differ in depth 1 of one position and in
    depth 3 of the other, 1 - (4 + 1) / 14 is the same."""
    a = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint16)
    b = np.array([[[9, 2, 3], [4, 5, 0]], [[1, 2, 3], [4, 5, 6]], [[0, 0, 0], [0, 0, 0]]], np.uint16)
    space = CodeSpace(META, 'pixel')
    assert space.compare(a, b) == pytest.approx(np.array([[9 / 14, 1, 0]]), abs=1e-6)


def test_many_codes_at_once_are_the_same():
    """What is counted by a sparse product equals what is counted one by one."""
    codes = np.random.default_rng(0).integers(0, 4, (300, 2, 3)).astype(np.uint16)
    space = CodeSpace(META, 'pixel')
    one_by_one = np.concatenate([space.compare(codes[i:i + 1], codes) for i in range(300)])
    assert space.compare(codes, codes) == pytest.approx(one_by_one, abs=1e-6)
    assert np.diag(one_by_one) == pytest.approx(np.ones(300)) and one_by_one.min() == 0


def test_large_codes(tmp_path):
    """Codes beyond 32 bits, as of a lookup-free quantizer."""
    meta = ShardMeta(FINGERPRINT, (Stream('pixel', 2, 1, 2 ** 40),))
    codes = np.array([[[2 ** 39], [1]], [[2 ** 39], [2]]], np.uint64)
    catalog = Catalog(write_shards(tmp_path / 'out', {'a': make_rows(dict(pixel=codes))}, meta=meta))
    space = CodeSpace(meta, 'pixel')
    read = space.read(catalog.open(0))
    assert space.compare(read, read) == pytest.approx(np.array([[1, .5], [.5, 1]]))
    many = np.concatenate([read] * 200)
    assert space.compare(many, many)[:2, :2] == pytest.approx(np.array([[1, .5], [.5, 1]]))


def test_embeddings(tmp_path):
    codes = np.zeros((3, 2, 1), np.uint16)
    rows = make_rows(dict(semantic=codes), embeddings=[[3, 4], [0, 2], [0, 0]])
    catalog = Catalog(write_shards(tmp_path / 'out', {'a': rows}, embedding=2))
    space = EmbeddingSpace(catalog.meta)
    vectors = space.read(catalog.open(0))
    assert vectors == pytest.approx(np.array([[.6, .8], [0, 1], [0, 0]]))
    assert space.compare(vectors[:1], vectors) == pytest.approx(np.array([[1, .8, 0]]))
    assert make_unit(np.array([[3.0, 4.0]])) == pytest.approx(np.array([[.6, .8]]))


@pytest.mark.parametrize('by, rows, label', [
    (None, False, 'embedding'), ('pixel', False, 'equal codes of pixel'),
    ('semantic', False, 'equal codes of semantic')])
def test_choice(by, rows, label):
    assert choose_space(META, by, rows, None).label == label


def test_choice_without_embeddings():
    assert choose_space(ShardMeta(FINGERPRINT, META.streams), None, False, None).label == 'equal codes of semantic'


@pytest.mark.parametrize('meta, by, rows, says', [
    (META, 'semantc', False, 'hold no `semantc`. Did you mean `semantic`? They hold: embedding, pixel, semantic'),
    (ShardMeta(FINGERPRINT, META.streams), 'embedding', False, 'hold no embeddings. Encode with --embedding, or search '
                                                               'by the codes of pixel or semantic'),
    (META, 'pixel', True, 'code rows of `pixel` need the tokenizer. Give its run')])
def test_bad_choice(meta, by, rows, says):
    with pytest.raises(InputError) as error:
        choose_space(meta, by, rows, None)
    assert says in str(error.value)
