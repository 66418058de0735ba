"""Token shards against the data set that they were made of: files that lack, images, codes."""
import json
import os
import shutil

import numpy as np
import pytest

from dtbox.cli.check_tokens import VERB, read_sample
from dtbox.errors import InputError
from dtbox.token_shards.reading import TokenShard, list_shards
from dtbox.token_shards.writing import Row, write_shard
from dtbox.tokens.checking import check_folder
from dtbox.tokens.checking_input import check_input, check_sample, choose_sample, list_input, open_encoder
from dtbox.tokens.encoding import encode_shard
from dtbox.tokens.run import RECORD, write_record
from dtbox.tokens.sources import find_source

pytest.importorskip('pyarrow')


@pytest.fixture
def out(encoder, photos, tmp_path):
    """The ten photos in three token shards of at most four."""
    folder = tmp_path / 'out'
    folder.mkdir()
    for shard in find_source(photos, per=4).cut():
        encode_shard(encoder, shard, str(folder))
    write_record(str(folder), encoder.settings)
    return folder


def check(out, photos, encoder=None, sample=10.0):
    """The FolderCheck against the photos; where an encoder is given, with a sample."""
    found = check_folder(out)
    shards = list_input(found, find_source(photos, per=4))
    check_input(found, shards)
    if encoder:
        found.compared = check_sample(found, shards, encoder, sample)
    return found


def rewrite(path, change):
    """Write a token shard anew with other rows, as another program might."""
    shard = TokenShard(path)
    table = shard.file.read().to_pylist()
    names = [stream.name for stream in shard.meta.streams]
    codes = {name: iter(shard.codes(name)) for name in names}
    rows = [Row(row['key'], row['index_in_shard'], row['image_hash'], row['width'], row['height'], row['crop'],
                row['flip'], row['view'], row['texts'], row['status'], row['error'],
                {name: next(codes[name]).copy() for name in names} if row['status'] == 'ok' else None)
            for row in table]
    return write_shard(path.parent, shard.meta.source, change(rows), shard.meta)


def test_all_is_there_and_the_same(out, photos, encoder):
    found = check(out, photos, encoder)
    assert found.is_sound and not found.notes and found.compared == 10


def test_a_shard_that_lacks(out, photos):
    """It is named, and not among the files to delete."""
    gone = list_shards(out)[1]
    gone.unlink()
    found = check(out, photos)
    assert [finding.file for finding in found.findings] == [gone.name] and not found.delete
    assert 'it is not there; its input shard is photos-' in found.findings[0].what


def test_a_damaged_shard_is_named_once(out, photos):
    path = list_shards(out)[1]
    path.write_bytes(path.read_bytes()[:-5])
    assert [finding.file for finding in check(out, photos).findings] == [path.name]


def test_a_shard_with_too_few_images(out, photos):
    path = rewrite(list_shards(out)[0], lambda rows: rows[:-1])
    found = check(out, photos)
    assert found.delete == [path.name] and 'it has 3 images, and its input shard' in found.findings[0].what


def test_other_codes_are_found_by_the_sample(out, photos, encoder):
    """One code of one image, which nothing else shows."""
    def change(rows):
        rows[2].codes['pixel'][3, 0] ^= 1
        return rows
    path = rewrite(list_shards(out)[1], change)
    assert check(out, photos).is_sound
    found = check(out, photos, encoder)
    assert found.delete == [path.name]
    assert found.findings[0].what == "1 of 4 rows encoded again differ, '006.png' the first: other codes `pixel`"


@pytest.mark.parametrize('field, value', [
    ('flip', True), ('texts', ['x']), ('width', 9), ('image_hash', b'0' * 16), ('crop', (1, 2, 3, 4))])
def test_other_columns_are_found_by_the_sample(out, photos, encoder, field, value):
    def change(rows):
        setattr(rows[0], field, value)
        return rows
    path = rewrite(list_shards(out)[0], change)
    assert {finding.file: f'another `{field}`' in finding.what for finding in check(out, photos, encoder).findings} == {
        path.name: True}


def test_images_that_were_replaced(out, photos, encoder):
    """The sample sees that the source is not what it was."""
    shutil.copy(f'{photos}/001.png', f'{photos}/009.png')
    found = check(out, photos, encoder)
    assert len(found.findings) == 1 and "'009.png' the first: another `image_hash`" in found.findings[0].what


def test_choice_of_the_sample():
    """As many as asked for, at least one, of shards in proportion, and the same ones each time."""
    images = dict(a=1000, b=0, c=3000)
    for sample, count in ((0.1, 400), (1e-9, 1), (7.0, 7), (1e18, 4000)):
        chosen = choose_sample(images, sample)
        assert sum(map(len, chosen.values())) == count and chosen == choose_sample(images, sample)
        assert all(max(places) < images[name] for name, places in chosen.items())
    assert 60 < len(choose_sample(images, 0.1)['a']) < 140
    assert choose_sample({}, 0.5) == {}


def test_encoder_of_a_folder(out, encoder, tiny_run):
    """It is opened as the folder says; one of another batch rule is refused, as its codes may differ."""
    assert open_encoder(out, encoder.fingerprint).fingerprint == encoder.fingerprint
    with pytest.raises(InputError, match='cannot encode the images .* again: .*`batch` is batch=8'):
        open_encoder(out, encoder.fingerprint, batch=8)
    os.remove(out / RECORD)
    with pytest.raises(InputError, match='does not say which tokenizer made it.*--run'):
        open_encoder(out, encoder.fingerprint)


@pytest.mark.parametrize('text, value', [('0.1%', 0.001), ('50%', 0.5), ('3', 3), ('100%', 2.0 ** 62)])
def test_sizes_of_samples(text, value):
    assert read_sample(text) == pytest.approx(value)


@pytest.mark.parametrize('text', ['0', '0%', '101%', '-1', '0.5', 'x', '', 'nan%', '1.5'])
def test_odd_sizes_of_samples(text):
    with pytest.raises(InputError, match='--sample: got .*expected a percentage'):
        read_sample(text)


def run(capsys, *words):
    """Exit code and output of the command."""
    code = VERB.run(VERB.parse([str(word) for word in words]))
    return code, capsys.readouterr().out


def test_command(out, photos, capsys):
    code, text = run(capsys, out, '--source', photos, '--per-shard', 4, '--sample', '20%')
    assert code == 0 and text.rstrip().endswith('everything is sound')
    assert '3 sound shards, 10 images, 10 rows (0 broken)' in text and '2 images encoded again' in text
    list_shards(out)[0].write_bytes(b'PAR1')
    list_shards(out)[2].unlink()
    code, text = run(capsys, out, '--source', photos, '--per-shard', 4)
    assert code == 1 and f'rm {list_shards(out)[0]}' in text and text.count('rm ') == 1
    assert 'it is not there' in text and 'run the command `dtbox encode`' in text


def test_a_sample_needs_the_source(out):
    with pytest.raises(InputError, match='--source'):
        VERB.run(VERB.parse([str(out), '--sample', '1']))


def test_another_source_is_refused(out, photos, tmp_path, capsys):
    """A data set that the folder does not hold lacks completely."""
    (tmp_path / 'others').mkdir()
    shutil.copy(f'{photos}/001.png', tmp_path / 'others')
    code, text = run(capsys, out, '--source', tmp_path / 'others')
    assert code == 1 and '3 shards are of other data than the source' in text


def test_what_the_manifest_says(out):
    """Derived from the shards: totals add up, damaged ones are named."""
    from dtbox.token_shards.manifest import write_manifest
    list_shards(out)[2].write_bytes(b'')
    says = json.loads(write_manifest(out).read_text())
    assert (says['files'], says['rows'], says['ok']) == (2, 8, 8) and len(says['fingerprints']) == 1
    assert says['bytes'] == sum(path.stat().st_size for path in list_shards(out)[:2])
    assert [shard['file'] for shard in says['shards']] == [path.name for path in list_shards(out)[:2]]
    assert says['damaged'] == [list_shards(out)[2].name]
    assert np.all([len(shard['seal']) == 64 for shard in says['shards']])
