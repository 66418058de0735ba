"""`dtbox search` on shards of a real run: tables, sheets, CSV files, and what is refused in a sentence."""
import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import dtbox
from dtbox.checksums import hash_tensors
from dtbox.errors import InputError
from dtbox.token_shards.fingerprint import Fingerprint
from dtbox.token_shards.format import ShardMeta, make_streams
from dtbox.token_shards.writing import Row
from dtbox.tokens.catalog import Catalog
from dtbox.tokens.duplicates import find_exact_duplicates
from dtbox.tokens.found_sheet import describe_groups, draw_found
from dtbox.tokens.run import RECORD
from dtbox.tokens.search import embed_queries, find_nearest
from dtbox.tokens.spaces import EmbeddingSpace, choose_space
from tests.tokens.search_shards import make_rows, write_shards
from tests.training.test_guided_language_model import make_guided

pytest.importorskip('pyarrow')


@pytest.fixture(scope='module')
def encoded(tiny_run, tmp_path_factory):
    """(folder of shards with embeddings, files of the images): 12 images in two shards, the last two images are copies
    of the first two."""
    tok = dtbox.load(tiny_run)
    files = sorted((tiny_run.parent / 'photos' / 'train').glob('*.png'))
    files = [*files[:10], *files[:2]]
    codes = {name: value.numpy() for name, value in tok.encode(list(map(str, files))).items()}
    vectors = tok.embed_image(list(map(str, files))).numpy()
    hashes = [bytes([i % 10]) * 16 for i in range(12)]
    meta = ShardMeta(Fingerprint(hash_tensors(tok.model.state_dict()), 'c', 'p', 'float32', 'cpu', 'batch=12'),
                     make_streams(tok.layout), embedding=vectors.shape[1])
    shards = {name: make_rows({n: v[part] for n, v in codes.items()}, first, vectors[part], hashes[part])
              for name, first, part in (('a', 0, slice(0, 7)), ('b', 100, slice(7, 12)))}
    return write_shards(tmp_path_factory.mktemp('encoded') / 'out', shards, meta=meta), files


@pytest.mark.parametrize('more, label', [
    ([], 'embedding'), (['--by', 'semantic'], 'code rows of semantic'), (['--by', 'pixel'], 'code rows of pixel'),
    (['--by', 'pixel', '--measure', 'codes'], 'equal codes of pixel')])
def test_an_image_finds_itself(encoded, tiny_run, tmp_path, command, more, label):
    """The image and its copy come first; the sheet holds the query and what the codes decode to."""
    folder, files = encoded
    code, out, err = command('search', folder, '--run', tiny_run, '--image', files[1], '--top', 3, *more, '--out',
                             tmp_path / 'found.png', '--csv', tmp_path / 'found.csv')
    assert code == 0, err
    assert out.startswith(f'Nearest images by {label} (all images compared)\n')
    with open(tmp_path / 'found.csv', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert [row['key'] for row in rows[:2]] == ['image_1', 'image_104'] and len(rows) == 3
    assert float(rows[0]['similarity']) == pytest.approx(1, abs=2e-3)
    assert {row['group'] for row in rows} == {files[1].name} and rows[1]['source_shard'] == 'b'
    with Image.open(tmp_path / 'found.png') as sheet:
        assert sheet.width >= 4 * 112 and sheet.height >= 112


def test_images_of_the_sheet_are_decoded(encoded, tiny_run):
    from dtbox.drawing.sheets import to_uint8
    from dtbox.tokens.found_sheet import decode_rows
    folder, files = encoded
    tok, catalog = dtbox.load(tiny_run), Catalog(folder)
    expected = to_uint8(tok.reconstruct([str(files[8]), str(files[2])]))
    found = decode_rows(catalog, tok, [8, 2])
    assert np.abs(found.astype(int) - expected).max() <= 1  # rounded after another batch


def test_texts_guide_the_sheet(tmp_path, monkeypatch):
    """The first text of each row; images without one are left out, which the sheet says, unless a default stands for
    it; a tokenizer without a text tower is refused."""
    from dtbox.drawing.sheets import to_uint8
    from dtbox.tokens import found_sheet
    frozen = make_guided()
    tok = dtbox.Tokenizer(frozen.model, frozen.pipeline)
    codes = tok.encode(torch.rand(3, 3, 32, 32) * 2 - 1)['pixel']
    meta = ShardMeta(Fingerprint('w', 'c', 'p', 'float32', 'cpu', 'batch=3'), make_streams(tok.layout))
    values = codes.numpy().astype(np.uint16)
    rows = [Row(f'image_{i}', i, texts=texts, image_hash=bytes(16), codes=dict(pixel=values[i]))
            for i, texts in enumerate((['a red heart', 'other'], ['a cat'], [' ']))]
    catalog = Catalog(write_shards(tmp_path / 'out', dict(a=rows), meta=meta))
    want = to_uint8(tok.decode({'pixel': codes[[1, 0]]}, texts=['a cat', 'a red heart']))
    assert np.abs(found_sheet.decode_rows(catalog, tok, [1, 0]).astype(int) - want).max() <= 1
    drawn = []
    monkeypatch.setattr(found_sheet, 'draw_rows', lambda columns, rows, path, title, note: drawn.append((rows, note)))
    described = describe_groups(catalog, {'1': [(0, 1.0), (2, 1.0), (1, 0.5)]})
    draw_found('sheet.png', catalog, tok, described, 'found')
    assert len(drawn[0][0][0][0]) == 2
    assert drawn[0][1].endswith('1 image is left out: texts guide the decoder, and there is none of it.')
    guided = make_guided(default='a dog')
    draw_found('sheet.png', catalog, dtbox.Tokenizer(guided.model, guided.pipeline), described, 'found')
    assert len(drawn[1][0][0][0]) == 3 and drawn[1][1] == 'Below each image: similarity and key.'
    tok.model.text = None
    with pytest.raises(InputError, match='has no text tower that reads those of the images. Leave --out out'):
        found_sheet.check_decoder(tok)


def test_broken_images_are_not_drawn(encoded, tiny_run, tmp_path):
    """A group of duplicates may hold images that cannot be decoded: they are in the table alone."""
    folder, _ = encoded
    meta, tok = Catalog(folder).meta, dtbox.load(tiny_run)
    codes = {s.name: np.zeros((1, s.positions, s.depth), np.uint16) for s in meta.streams}
    rows = [Row('x', 0, image_hash=bytes(16), status='broken', error='cut short'),
            Row('y', 1, image_hash=bytes(16), codes={name: value[0] for name, value in codes.items()})]
    catalog = Catalog(write_shards(tmp_path / 'out', dict(a=rows), meta=replace(meta, embedding=None)))
    described = describe_groups(catalog, {'1': [(row, 1.0) for row in find_exact_duplicates(catalog)[0]]})
    assert [(entry.key, entry.ok) for entry, _ in described['1']] == [('x', False), ('y', True)]
    draw_found(str(tmp_path / 'sheet.png'), catalog, tok, described, 'duplicates')
    assert (tmp_path / 'sheet.png').exists()


def test_several_images_and_an_index(encoded, tiny_run, tmp_path, command):
    pytest.importorskip('faiss')
    folder, files = encoded
    words = [folder, '--run', tiny_run, '--image', files[0], files[0], '--top', 2, '--index', tmp_path / 'index']
    for _ in range(2):
        code, out, err = command('search', *words)
        assert code == 0, err
        assert 'by an index of recall 1.000' in out and f'{files[0].name} (2)' in out


def test_texts_are_compared_with_embeddings(encoded, tiny_run):
    """With a text tower that gives the embedding of image 3, image 3 is found; codes are no match for a text."""
    folder, _ = encoded
    tok, catalog = dtbox.load(tiny_run), Catalog(folder)
    space = EmbeddingSpace(catalog.meta)
    tok.model.text = lambda *_: None
    vectors = np.concatenate([space.read(catalog.open(i)) for i in range(2)])
    import torch
    tok.embed_text = lambda texts: torch.from_numpy(vectors[[3] * len(texts)])
    found = find_nearest(catalog, space, embed_queries(space, tok, texts=['anything']), 1)[0]
    assert catalog.describe(found.rows)[0].key == 'image_3'
    with pytest.raises(dtbox.errors.InputError, match='a text is compared with embeddings, and not with equal codes'):
        embed_queries(choose_space(catalog.meta, 'pixel', False, None), tok, texts=['anything'])


@pytest.mark.parametrize('more, label', [([], 'embedding'), (['--by', 'pixel', '--measure', 'codes'], 'equal codes')])
def test_near_duplicates_without_the_tokenizer(encoded, command, more, label):
    """Embeddings and equal codes need no run."""
    code, out, err = command('search', encoded[0], '--duplicates', 'near', *more)
    assert code == 0 and f'Near duplicates by {label}' in out, err


def test_duplicates(encoded, tiny_run, tmp_path, command):
    folder, _ = encoded
    code, out, _ = command('search', folder, '--duplicates')
    assert code == 0 and 'Images whose files have the same bytes: 2 groups, 2 images beyond the first of each' in out
    code, out, _ = command('search', folder, '--duplicates', 'near', '--by', 'pixel', '--threshold', '0.999',
                           '--top', 1, '--measure', 'codes', '--csv', tmp_path / 'near.csv', '--run', tiny_run,
                           '--out', tmp_path / 'near.png')
    assert code == 0
    assert 'Near duplicates by equal codes of pixel, similarity 0.999 and more (all pairs compared)' in out
    with open(tmp_path / 'near.csv', encoding='utf-8') as file:
        groups = [(row['group'], row['key']) for row in csv.DictReader(file)]
    assert {('1', 'image_0'), ('1', 'image_103')} <= set(groups) and {group for group, _ in groups} >= {'1', '2'}
    assert (tmp_path / 'near.png').exists()


def test_the_run_of_the_folder_is_opened(encoded, tiny_run, tmp_path, command):
    """What `dtbox encode` wrote down of its run is taken where no other one is given."""
    folder = shutil.copytree(encoded[0], tmp_path / 'out')
    (folder / RECORD).parent.mkdir()
    (folder / RECORD).write_text(json.dumps(dict(run=str(tiny_run))))
    code, out, err = command('search', folder, '--image', encoded[1][3], '--top', 1)
    assert code == 0 and 'image_3' in out, err


@pytest.mark.parametrize('words, says', [
    (['OUT', '--image', 'IMAGE'], '--run: .*does not say which run'),
    (['OUT', '--run', 'RUN', '--text', 'cat'], '--text: this tokenizer has no text tower'),
    (['OUT', '--run', 'RUN', '--text', 'cat', '--by', 'pixel'], '--by: a text is compared with embeddings'),
    (['OUT', '--run', 'RUN', '--image', 'gone.png'], r'--image: .*gone\.png'),
    (['OUT', '--run', 'RUN', '--image', 'IMAGE', '--by', 'pixl'], 'Did you mean `pixel`'),
    (['OUT', '--run', 'RUN', '--image', 'IMAGE', '--top', '0'], '--top: 0 came'),
    (['OUT', '--run', 'RUN', '--image', 'IMAGE', '--out', 'a.jpg'], r'--out: .*ends with \.png'),
    (['OUT', '--run', 'RUN', '--image', 'IMAGE', '--threshold', '0.5'], '--threshold: this option belongs to '
                                                                        '--duplicates near'),
    (['OUT', '--duplicates', '--index', 'i'], '--index: this option belongs to nearest images'),
    (['OUT', '--duplicates', '--out', 'a.png'], '--run: .*does not say which run'),
    (['OUT', '--duplicates', 'near', '--measure', 'rows', '--by', 'pixel'], '--run: .*does not say which run'),
    (['OUT', '--duplicates', 'near', '--threshold', '1.5'], '--threshold: 1.5 came'),
    (['gone', '--duplicates'], 'the folder of token shards gone cannot be read')])
def test_one_sentence(encoded, tiny_run, command, words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = dict(OUT=encoded[0], RUN=tiny_run, IMAGE=encoded[1][0])
    code, _, err = command('search', *(names.get(word, word) for word in words))
    assert code == 2 and re.search(says, err) and len(err.splitlines()) == 1, err
    assert not list(tmp_path.iterdir())


def test_another_tokenizer_is_refused(encoded, tiny_run, tmp_path, command):
    folder, files = encoded
    meta = Catalog(folder).meta
    other = ShardMeta(Fingerprint('f' * 16, 'c', 'p', 'float32', 'cpu', 'batch=12'), meta.streams)
    codes = {s.name: np.zeros((1, s.positions, s.depth), np.uint16) for s in meta.streams}
    made = write_shards(tmp_path / 'out', dict(a=make_rows(codes)), meta=other)
    code, _, err = command('search', made, '--run', tiny_run, '--image', files[0])
    assert code == 2 and '--run: ' in err and 'its codes mean other images' in err
