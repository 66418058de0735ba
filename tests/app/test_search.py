"""Search by codes and by texts, in held-out images, a folder and token shards; rows of shards."""
import numpy as np
import pytest
from PIL import Image

from dtbox.app.functions import search
from dtbox.app.functions.images import show_image
from dtbox.app.functions.shards import read_row
from dtbox.checksums import hash_tensors
from dtbox.errors import InputError
from dtbox.token_shards.format import ShardMeta, make_streams
from dtbox.token_shards.writing import Row, write_shard
from dtbox.tokens.catalog import Catalog
from tests.token_kit import make_meta


@pytest.fixture(scope='module')
def gallery(opened):
    return search.make_gallery(opened)


def test_an_image_finds_itself(opened, gallery, shown):
    """By each stream and by the embedding, with the cosine 1."""
    found = search.search_image(opened, gallery, shown[1], top=3)
    assert list(found) == ['pixel', 'semantic', 'embedding'] and len(gallery.keys) == 8
    for images in found.values():
        assert len(images) == 3 and np.array_equal(images[0][0], shown[1].pixels) and images[0][1].startswith('1.000 ')


def test_cosines_of_rows(opened, gallery, shown):
    """The rows of both depths, summed, of all tokens one after the other."""
    quantizer = opened.tokenizer.model.vocabularies['pixel'].quantizer
    vectors = [quantizer.decode(one.codes['pixel']).flatten() for one in shown]
    cosine = float(vectors[0] @ vectors[1] / vectors[0].norm() / vectors[1].norm())
    found = search.search_image(opened, gallery, shown[0], top=8)['pixel']
    place = next(i for i, (pixels, _) in enumerate(found) if np.array_equal(pixels, shown[1].pixels))
    assert float(found[place][1].split()[0]) == pytest.approx(cosine, abs=6e-4)


def test_a_folder(opened, tmp_path, shown):
    (tmp_path / 'in').mkdir()
    Image.fromarray(shown[0].pixels).save(tmp_path / 'in' / 'a.png')
    (tmp_path / 'b.png').write_text('no image')
    gallery = search.make_gallery(opened, str(tmp_path))
    assert gallery.keys == ['in/a.png']
    assert gallery.note.startswith('1 file could not be read, the first: the file b.png')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match='there are no images to search in'):
        search.make_gallery(opened, str(tmp_path / 'empty'))


@pytest.mark.parametrize('text, says', [(' ', 'the text is empty'), ('a cat', 'tiny has no text tower')])
def test_texts_that_find_nothing(opened, gallery, text, says):
    with pytest.raises(InputError, match=says):
        search.search_text(opened, gallery, text)


@pytest.fixture
def catalog(opened, shown, tmp_path):
    """Shards of the tiny run: its first two held-out images, and a broken one."""
    pytest.importorskip('pyarrow')
    layout = opened.tokenizer.layout
    weights = hash_tensors(opened.tokenizer.model.state_dict())
    meta = ShardMeta(make_meta(layout, weights).fingerprint, make_streams(layout), layout.to_dict())
    rows = [Row(key=f'k{i}', index=i, view=0, texts=['a'], image_hash=bytes(15) + bytes([i]), width=32, height=32,
                codes={name: value[0].numpy() for name, value in one.codes.items()}) for i, one in enumerate(shown)]
    write_shard(tmp_path, 's0', [*rows, Row('bad', 2, status='broken', error='cut short')], meta)
    return Catalog(tmp_path)


def test_token_shards(opened, catalog, shown):
    found = search.search_shards(opened, catalog, shown[1], top=2)
    assert list(found) == ['pixel', 'semantic']
    decoded = opened.tokenizer.decode(shown[1].codes)
    for images in found.values():
        assert images[0][1] == '1.000 k1' and images[0][0].shape == (32, 32, 3)
    row = read_row(opened, catalog, 1)
    assert np.abs(row.image.astype(int) - ((decoded[0].permute(1, 2, 0).numpy() + 1) * 127.5)).max() <= 1
    assert ['bytes', 'verified: those that were written'] in row.table and ['key', 'k1'] in row.table
    assert row.codes[5] == ['5', *(' '.join(map(str, shown[1].codes[name][0, 5].tolist()))
                                   for name in ('pixel', 'semantic'))]


def test_rows_without_an_image(opened, catalog):
    assert read_row(opened, catalog, 2).note == 'This row is a broken image, without codes.'
    with pytest.raises(InputError, match='there is no row 3; .* has rows 0 to 2'):
        read_row(opened, catalog, 3)


def test_shards_of_another_run(opened, tmp_path):
    pytest.importorskip('pyarrow')
    from tests.token_kit import write_tokens
    row = read_row(opened, Catalog(write_tokens(tmp_path / 'other', shards=1)), 0)
    assert row.image is None and row.note.startswith('These codes were not made by tiny (weights ')


def test_a_damaged_shard(opened, catalog):
    path = catalog.paths[0]
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match='is damaged'):
        read_row(opened, catalog, 0)


def test_images_are_shown_as_the_run_sees_them(opened, gallery):
    assert gallery.pixels.shape == (8, 32, 32, 3)
    assert np.array_equal(show_image(opened, gallery.pixels[2]).pixels, gallery.pixels[2])
