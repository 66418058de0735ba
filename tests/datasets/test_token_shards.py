"""TokenShards: conversations over the codes of token shards, their splits, views, order and resumption."""
import itertools

import numpy as np
import pytest

from dtbox.datasets.conversation_dataset import collate_conversations
from dtbox.datasets.sampler import CursorBatchSampler
from dtbox.datasets.token_shards import TokenShards
from dtbox.errors import InputError
from dtbox.registry import DATASETS
from dtbox.token_shards.writing import write_shard
from tests.token_kit import LAYOUT, make_codes, make_meta, make_row, write_tokens

pytest.importorskip('pyarrow')


def open_tokens(folder, **options):
    return DATASETS.build(dict(type='TokenShards', data_root=str(folder), **options))


def number_of(item):
    """Number of the image of a sample, from its key."""
    return int(item['key'].split('#')[0].split('@')[0].rpartition('/k')[2])


def view_of(item):
    """View whose codes a sample holds; every stream has to hold the same one."""
    codes = item['conversation'].images[0].streams
    found = [v for v in range(8) if all(np.array_equal(codes[name], want) for name, want in
                                        make_codes(make_meta(), number_of(item), v).items())]
    assert len(found) == 1
    return found[0]


def say(item):
    """(role, text, number of images) of the turns."""
    return [(turn.role, turn.text, len(turn.images)) for turn in item['conversation'].turns]


@pytest.fixture
def tokens(tmp_path):
    return write_tokens(tmp_path / 'out', shards=3, size=4)


# ---- samples --------------------------------------------------------------------------------------------------------

def test_each_image_once(tokens):
    """With its own codes and the fingerprint of the tokenizer that made them."""
    dataset = open_tokens(tokens)
    items = list(dataset)
    assert sorted(map(number_of, items)) == [100 * s + i for s in range(3) for i in range(4)]
    assert {view_of(item) for item in items} == {0}
    assert {item['conversation'].images[0].tokenizer for item in items} == {'0' * 16}
    assert dataset.keys == [item['key'] for item in items] and len(set(dataset.keys)) == 12


@pytest.mark.parametrize('task, kind, turns', [
    ('draw', 'draw', [('user', 'image 2', 0), ('assistant', '', 1)]),
    ('caption', 'question', [('user', 'what?', 1), ('assistant', 'image 2', 0)]),
    ('image', 'text', [('assistant', '', 1)])])
def test_tasks(tokens, task, kind, turns):
    """`heldout` takes the first text."""
    dataset = open_tokens(tokens, task=task, split='heldout', question='what?')
    item = next(item for item in dataset if number_of(item) == 2)
    assert say(item) == turns and item['conversation'].kind == kind and item['set'] == 'heldout'
    drawn = [part.generated for part in item['conversation'].parts]
    assert drawn == [task != 'caption']


def test_texts_are_drawn(tokens):
    """Training draws one of the texts of an image, anew in each epoch and by the seed alone."""
    dataset = open_tokens(tokens)
    said = [dataset[epoch * 12]['conversation'].turns[0].text for epoch in range(30)]
    number = number_of(dataset[0])
    assert set(said) == {f'image {number}', f'picture {number}'}
    assert said == [open_tokens(tokens)[epoch * 12]['conversation'].turns[0].text for epoch in range(30)]


def test_views(tmp_path):
    """Number `epoch % views` in training, the first one when held out; or all of them."""
    folder = write_tokens(tmp_path, size=3, views=3)
    dataset, heldout = open_tokens(folder), open_tokens(folder, split='heldout')
    assert len(dataset) == 6
    assert [view_of(dataset[epoch * 6 + 1]) for epoch in range(5)] == [0, 1, 2, 0, 1]
    assert [view_of(heldout[epoch * 6 + 1]) for epoch in range(3)] == [0, 0, 0]
    items = list(open_tokens(folder, views='all'))
    assert len(items) == 18 and len({item['key'] for item in items}) == 18
    assert [view_of(item) for item in items] == [0, 1, 2] * 6


def test_views_of_which_one_is_broken(tmp_path):
    """An image has the views that have codes."""
    meta = make_meta()
    rows = [make_row(meta, 0, 0), make_row(meta, 0, 1, status='broken', error='cut'), make_row(meta, 1), make_row(meta,
            1, 1)]
    write_shard(tmp_path, 's', rows, meta)
    dataset = open_tokens(tmp_path)
    assert [view_of(dataset[p]) for p in (0, 1, 2, 3)] == [0, 0, 0, 1]


def test_rows_out_of_order(tmp_path):
    """Views of one image that do not follow one another are refused; each by itself they can be read."""
    meta = make_meta()
    write_shard(tmp_path, 's', [make_row(meta, n, v) for v in range(2) for n in range(3)], meta)
    with pytest.raises(InputError, match="not in the order of its images.*views='all'"):
        open_tokens(tmp_path)
    assert len(open_tokens(tmp_path, views='all')) == 6


def test_keys_that_repeat(tmp_path):
    """They stay apart by their places."""
    meta = make_meta()
    rows = [make_row(meta, 0), make_row(meta, 0, index=1), make_row(meta, 2)]
    write_shard(tmp_path, 's', rows, meta)
    assert open_tokens(tmp_path).keys == ['s/k0#0', 's/k0#1', 's/k2']


def test_what_is_left_out(tmp_path):
    """Broken images, and those without a text where one is needed; both are counted in `notes`."""
    folder = write_tokens(tmp_path / 'a', shards=1, size=4, broken=(3,))
    meta = make_meta()
    write_shard(folder, 't', [make_row(meta, 200, texts=[]), make_row(meta, 201)], meta)
    dataset, alone = open_tokens(folder), open_tokens(folder, task='image')
    assert sorted(map(number_of, dataset)) == [0, 1, 2, 201] and sorted(map(number_of, alone)) == [0, 1, 2, 200, 201]
    assert dataset.notes == ['1 row is left out: the image was broken when it was encoded',
                             "1 image is left out: without a text, which the task 'draw' needs"]
    heldout = open_tokens(folder, split='heldout')
    assert heldout.notes[2:] == ['token shards hold no pixels: drawings are compared with the reconstructions of the '
                                 'images']
    bare = write_tokens(tmp_path / 'b', texts=[])
    with pytest.raises(InputError, match=r'no image of .*b has a text.*tokens_without_texts'):
        open_tokens(bare)


# ---- splits ---------------------------------------------------------------------------------------------------------

def test_heldout_images(tmp_path):
    """A fraction by the hash of the file: the splits make up the whole, and equal files are on one side."""
    folder = write_tokens(tmp_path / 'a', shards=4, size=60)
    parts = [set(map(number_of, open_tokens(folder, split=split, holdout=0.25))) for split in ('train', 'heldout')]
    assert not parts[0] & parts[1] and len(parts[0] | parts[1]) == 240 and 35 < len(parts[1]) < 85
    same = write_tokens(tmp_path / 'b', shards=1, size=9, image_hash=b'\xff' * 16)
    assert len(open_tokens(same, holdout=0.5)) == 9
    with pytest.raises(InputError, match='has no image for `heldout`.*Change `holdout`'):
        open_tokens(same, split='heldout', holdout=0.5)


def test_limit(tokens):
    assert open_tokens(tokens, limit=5).keys == open_tokens(tokens).keys[:5]


# ---- order, ranks, resumption ---------------------------------------------------------------------------------------

def test_an_epoch_on_ranks(tmp_path):
    """Each sample comes once an epoch, whatever the number of ranks; a run resumes with the batch that follows."""
    dataset = open_tokens(write_tokens(tmp_path, shards=5, size=4), window=2)

    def make(rank=0, world=1, cursor=0):
        return CursorBatchSampler(len(dataset), 4 // world, 3, last='carry', rank=rank, world=world, cursor=cursor,
                                  order=dataset.order)
    one = list(itertools.islice(make(), 10))
    ranks = [list(itertools.islice(make(rank, 2), 10)) for rank in range(2)]
    assert [a + b for a, b in zip(*ranks)] == one
    for epoch in range(2):
        positions = np.concatenate(one[5 * epoch:5 * epoch + 5])
        assert sorted(positions) == list(range(20 * epoch, 20 * epoch + 20))
    assert list(itertools.islice(make(cursor=7), 3)) == one[7:]


def test_windows_of_shards(tmp_path):
    """Two shards at a time, also where a split leaves some out; all of them in the end."""
    dataset = open_tokens(write_tokens(tmp_path, shards=6, size=5), window=2, holdout=0.3)
    order = dataset.order(np.random.default_rng(0))
    assert sorted(order) == list(range(len(dataset)))
    shards = [dataset.cache.find(dataset.row_of(int(i))) for i in order]
    windows = [set(group) for _, group in itertools.groupby(shards, key=lambda s: [
        w for w in range(3) if s in list(dict.fromkeys(shards))[2 * w:2 * w + 2]])]
    assert [len(window) for window in windows] == [2, 2, 2]


def test_batch(tokens):
    """Codes of all images, no pixels; a part of the batch has its own."""
    dataset = open_tokens(tokens)
    items = [dataset[i] for i in (3, 0, 7)]
    batch = collate_conversations(items)
    assert batch.images.shape == (3, 3, 0, 0) and batch.codes.known.tolist() == [True] * 3
    for row, item in enumerate(items):
        for name, codes in make_codes(make_meta(), number_of(item)).items():
            assert np.array_equal(batch.codes.streams[name][row], codes)
            assert np.array_equal(batch.select([row]).codes.streams[name][0], codes)


def test_codes_of_two_tokenizers(tmp_path):
    """In one batch they are refused, with both places."""
    one = open_tokens(write_tokens(tmp_path / 'a'))
    other = open_tokens(write_tokens(tmp_path / 'b', meta=make_meta(weights='f' * 16)))
    with pytest.raises(InputError, match='two tokenizers: .*/a has .*0000.*/b those of ffff'):
        collate_conversations([one[0], other[0]])
    smaller = open_tokens(write_tokens(tmp_path / 'c', meta=make_meta(LAYOUT.select(['pixel']))))
    with pytest.raises(InputError, match='differ in their streams or shapes'):
        collate_conversations([one[0], smaller[0]])


# ---- what tells it from others, bad input ---------------------------------------------------------------------------

def test_fingerprint_of_the_data(tmp_path):
    """It follows the content of the shards and what is chosen of them, not their place."""
    folders = [write_tokens(tmp_path / name, **more) for name, more in
               dict(a={}, b={}, c=dict(broken=(3,)), d=dict(texts=['x'])).items()]
    a, b, c, d = (open_tokens(folder).fingerprint() for folder in folders)
    chosen = {open_tokens(folders[0], **more).fingerprint() for more in (
        dict(), dict(task='image'), dict(limit=3), dict(holdout=0.5), dict(holdout=0.5, split='heldout'))}
    assert a == b and len({a, c, d}) == 3 and len(chosen) == 5


@pytest.mark.parametrize('options, message', [
    (dict(task='drwa'), '`task` is .drwa.*Did you mean `draw`'), (dict(split='val'), '`split` is .val.'),
    (dict(views='each'), '`views` is .each.'), (dict(limit=0), '`limit` is the most images'),
    (dict(fingerprint='0' * 16), 'have the fingerprint [0-9a-f]{16}; expected 0000'),
    (dict(data_root='nowhere'), 'nowhere')])
def test_options_that_are_refused(tokens, options, message):
    with pytest.raises(InputError, match=message):
        DATASETS.build({**dict(type='TokenShards', data_root=str(tokens)), **options})


def test_the_right_fingerprint(tokens):
    assert isinstance(open_tokens(tokens, fingerprint=make_meta().fingerprint.digest), TokenShards)
