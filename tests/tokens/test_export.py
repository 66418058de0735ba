"""`dtbox export-tokens`: flat ids as datatrove and nanotron read them, WebDataset tars."""
import json
import tarfile

import numpy as np
import pytest

from dtbox.cli import export_tokens as verb
from dtbox.errors import InputError
from dtbox.layout import CodeLayout, Grid, StreamLayout
from dtbox.token_shards.reading import list_shards, open_folder
from dtbox.tokens.export import export_tokens, format_metric
from tests.token_kit import LAYOUT, make_codes, make_meta, write_tokens

pytest.importorskip('pyarrow')
SMALL = CodeLayout((StreamLayout('a', Grid(2, 1), (7, 5)), StreamLayout('b', Grid(2, 1), (4,))))
"""16 ids: a 0 to 6 and 7 to 11, b 12 to 15."""


def export(folder, out, target='bin', **options):
    return export_tokens(folder, target, out, say=lambda line: None, **options)


def read_documents(path, token_size):
    """Documents of a .ds file, read as datatrove does: ids by their size, ends from the index."""
    ids = np.frombuffer(path.read_bytes(), {2: np.uint16, 4: np.uint32}[token_size])
    ends = np.frombuffer((path.parent / f'{path.name}.index').read_bytes(), np.uint64)
    assert ends[-1] == len(ids)
    return np.split(ids.astype(int), ends[:-1].astype(int))


def numbers_of(path):
    """Numbers of the images of the documents of a .ds file."""
    return [int(json.loads(line)['key'][1:]) for line in (path.parent / f'{path.name}.keys.jsonl').read_text(
        ).splitlines()]


@pytest.fixture
def tokens(tmp_path):
    return write_tokens(tmp_path / 'tokens', shards=2, size=4, meta=make_meta(SMALL), broken=(2,))


# ---- flat ids -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('order, flat', [
    ('stream', lambda a, b: [a[0][0], 7 + a[0][1], a[1][0], 7 + a[1][1], 12 + b[0][0], 12 + b[1][0]]),
    ('token', lambda a, b: [a[0][0], 7 + a[0][1], 12 + b[0][0], a[1][0], 7 + a[1][1], 12 + b[1][0]])])
@pytest.mark.parametrize('end', [False, True])
def test_flat_ids(tokens, tmp_path, order, flat, end):
    """Offsets, order and ends counted by hand; a broken image is no document."""
    counts = export(tokens, tmp_path / 'out', order=order, end=end)
    assert counts == dict(shards=2, images=7, left_out=1, ids=7 * (6 + end))
    found = []
    for path in sorted((tmp_path / 'out').glob('*.ds')):
        for number, document in zip(numbers_of(path), read_documents(path, 2), strict=True):
            codes = make_codes(make_meta(SMALL), number)
            assert document.tolist() == [*flat(codes['a'], codes['b']), *([16] if end else [])]
            found.append(number)
    assert sorted(found) == [0, 1, 3, 100, 101, 102, 103]


def test_names_are_those_of_datatrove(tokens, tmp_path):
    """NAME.ds with .index and .metadata of three lines, for each shard; and what the ids mean."""
    export(tokens, tmp_path / 'out')
    stems = [path.stem for path in list_shards(tokens)]
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == sorted(
        ['layout.json', *(f'{stem}.ds{end}' for stem in stems for end in ('', '.index', '.metadata', '.keys.jsonl'))])
    digest = make_meta(SMALL).fingerprint.digest
    metadata = (tmp_path / 'out' / f'{stems[1]}.ds.metadata').read_text()
    assert metadata.splitlines() == [f'dtbox:{digest}|2', '24', '24.0 T']
    layout = json.loads((tmp_path / 'out' / 'layout.json').read_text())
    assert layout['offsets'] == dict(a=[0, 7], b=[12]) and (layout['vocab_size'], layout['end']) == (16, None)
    assert (layout['dtype'], layout['length'], layout['digest']) == ('uint16', 6, digest)


@pytest.mark.parametrize('size, end, dtype', [(65536, False, 'uint16'), (65536, True, 'uint32'),
                                              (65535, True, 'uint16'), (65537, False, 'uint32')])
def test_type_of_ids(tmp_path, size, end, dtype):
    """Two bytes up to 65,536 ids, the one of the end included."""
    layout = CodeLayout((StreamLayout('a', Grid(1, 1), (size,)),))
    folder = write_tokens(tmp_path / 'tokens', shards=1, size=2, meta=make_meta(layout))
    export(folder, tmp_path / 'out', end=end)
    path, = (tmp_path / 'out').glob('*.ds')
    assert json.loads((tmp_path / 'out' / 'layout.json').read_text())['dtype'] == dtype
    documents = read_documents(path, 2 if dtype == 'uint16' else 4)
    assert [d[0] for d in documents] == [make_codes(make_meta(layout), n)['a'][0, 0] for n in (0, 1)]


def test_too_many_ids(tmp_path):
    layout = CodeLayout((StreamLayout('a', Grid(1, 1), (2 ** 32 + 1,)),))
    folder = write_tokens(tmp_path / 'tokens', shards=1, size=1, meta=make_meta(layout))
    with pytest.raises(InputError, match=r'at most 2\^32. Export with --to webdataset'):
        export(folder, tmp_path / 'out')


def test_shuffled(tmp_path):
    """Images of a file in another order, the same for the same seed; documents keep their keys."""
    folder = write_tokens(tmp_path / 'tokens', shards=1, size=30, views=2, meta=make_meta(SMALL))
    orders = []
    for name, seed in dict(a=None, b=1, c=1, d=2).items():
        export(folder, tmp_path / name, shuffle=seed)
        path, = (tmp_path / name).glob('*.ds')
        orders.append(numbers_of(path))
        rows = [json.loads(line) for line in (tmp_path / name / f'{path.name}.keys.jsonl').read_text().splitlines()]
        for row, document in zip(rows, read_documents(path, 2), strict=True):
            codes = make_codes(make_meta(SMALL), int(row['key'][1:]), row['view'])
            assert document[0] == codes['a'][0, 0] and document[-1] == 12 + codes['b'][1, 0]
    assert orders[0] == sorted(orders[0]) and orders[1] == orders[2] != orders[3]
    assert sorted(orders[1]) == sorted(orders[3]) == orders[0]


@pytest.mark.parametrize('count, text', [
    (0, '0.00 T'), (7, '7.00 T'), (24, '24.0 T'), (999, '999 T'), (1000, '1.00 kT'), (1_048_576, '1.05 MT'),
    (999_600, '1.00 MT'), (26_000_000_000, '26.0 GT')])
def test_numbers_in_words(count, text):
    assert format_metric(count) == text


# ---- tars -----------------------------------------------------------------------------------------------------------

def test_webdataset(tmp_path):
    """The library reads every row back: codes, and the row as JSON; the first text is a member of its own."""
    wds = pytest.importorskip('webdataset')
    folder = write_tokens(tmp_path / 'tokens', shards=2, size=3, views=2, broken=(1,))
    counts = export(folder, tmp_path / 'out', 'webdataset')
    assert counts == dict(shards=2, images=10, left_out=2)
    paths = sorted(map(str, (tmp_path / 'out').glob('*.tar')))
    samples = list(wds.WebDataset(paths, shardshuffle=False).decode())
    assert len(samples) == 10 and len({(s['json']['key'], s['json']['view']) for s in samples}) == 10
    for sample in samples:
        row, number = sample['json'], int(sample['json']['key'][1:])
        assert sample['__key__'] == f'{number % 100:09d}_{row["view"]}' and sample['txt'] == f'image {number}'
        assert row['texts'] == [f'image {number}', f'picture {number}'] and len(row['image_hash']) == 32
        for name, codes in make_codes(make_meta(LAYOUT), number, row['view']).items():
            assert np.array_equal(sample[f'{name}.npy'], codes)
        assert sample['pixel.npy'].dtype == np.uint16


def test_without_texts(tmp_path):
    export(write_tokens(tmp_path / 'tokens', shards=1, size=1, texts=[]), tmp_path / 'out', 'webdataset')
    with tarfile.open(next((tmp_path / 'out').glob('*.tar'))) as tar:
        assert tar.getnames() == [f'000000000_0.{end}' for end in ('pixel.npy', 'semantic.npy', 'json')]


# ---- folders --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('target', ['bin', 'webdataset'])
def test_twice_gives_the_same_files(tokens, tmp_path, target):
    """Also into the same folder, where a file is missing."""
    for name in 'ab':
        export(tokens, tmp_path / name, target)
    files = {path.name: path.read_bytes() for path in (tmp_path / 'a').iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / 'b').iterdir()}
    next(path for path in (tmp_path / 'b').iterdir() if path.name != 'layout.json').unlink()
    export(tokens, tmp_path / 'b', target)
    assert files == {path.name: path.read_bytes() for path in (tmp_path / 'b').iterdir()}


def test_a_folder_that_holds_something_else(tokens, tmp_path):
    """It is refused, and stays as it was."""
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.tex').write_text('text')
    with pytest.raises(InputError, match='mine is not empty: it holds thesis.tex'):
        export(tokens, tmp_path / 'mine')
    export(tokens, tmp_path / 'out')
    with pytest.raises(InputError, match='out holds an export of other shards or other settings'):
        export(tokens, tmp_path / 'out', order='token')
    (tmp_path / 'out' / 'old.ds').write_text('')
    with pytest.raises(InputError, match='holds old.ds, which belongs to no shard'):
        export(tokens, tmp_path / 'out')
    assert [path.name for path in (tmp_path / 'mine').iterdir()] == ['thesis.tex']


def test_a_damaged_shard(tokens, tmp_path):
    """It is named; files of the others are whole."""
    path = list_shards(tokens)[1]
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=f'{path.name} is damaged'):
        export(tokens, tmp_path / 'out')
    assert [p.stem for p in (tmp_path / 'out').glob('*.ds')] == [list_shards(tokens)[0].stem]


def test_the_verb(tokens, tmp_path, capsys):
    verb.VERB.main([str(tokens), '--to', 'bin', '--out', str(tmp_path / 'out'), '--end'])
    assert capsys.readouterr().out.splitlines()[-1] == (
        f'{tmp_path / "out"}: 7 images in 2 files, 49 ids; 1 row is left out: broken images')
    assert len(open_folder(tokens)) == 2


@pytest.mark.parametrize('words, message', [
    (['--to', 'webdataset', '--end'], '--order and --end are of flat ids'),
    (['--to', 'bin', '--shuffle', '-1'], '-1 came; expected a number of 0 or more')])
def test_odd_options(tokens, tmp_path, capsys, words, message):
    with pytest.raises(SystemExit):
        verb.VERB.main([str(tokens), *words, '--out', str(tmp_path / 'out')])
    assert message in capsys.readouterr().err and not (tmp_path / 'out').exists()
