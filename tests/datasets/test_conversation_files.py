"""Files of conversations: both formats, and every row that cannot be used."""
import pytest
import torch

from dtbox.conversations import ImagePart
from dtbox.datasets import ConversationFiles, collate_conversations
from dtbox.datasets.base import BrokenSample
from dtbox.datasets.conversation_rows import parse_conversation
from dtbox.diagnostics.data_check import check_data
from dtbox.errors import InputError
from tests.conversation_data import llava, write_rows

PACK = [dict(type='PackImage')]
PARTS = [{'type': 'text', 'text': 'make it red'}, {'type': 'image', 'image': 'a.png'}]


def read(row, **more):
    """Return (kind, turns as (role, *parts), paths) of a row."""
    found = parse_conversation(row, 'k', **more)
    return found.conversation.kind, [(t.role, *t.parts) for t in found.conversation.turns], found.paths


@pytest.mark.parametrize('row, kind, turns, paths', [
    (llava('k', 'a.png', ('<image>\nwhat?', 'a cat')), 'question',
     [('user', ImagePart(0), 'what?'), ('assistant', 'a cat')], ['a.png']),
    (llava('k', ['a.png', 'b.png'], ('<image><image> same?', 'no'), ('why?', 'red')), 'chat',
     [('user', ImagePart(0), ImagePart(1), 'same?'), ('assistant', 'no'), ('user', 'why?'), ('assistant', 'red')],
     ['a.png', 'b.png']),
    (llava('k', 'a.png', ('a cat', '<image>')), 'draw', [('user', 'a cat'), ('assistant', ImagePart(0, True))],
     ['a.png']),
    (llava('k', None, ('hi', 'hello ')), 'chat', [('user', 'hi'), ('assistant', 'hello ')], []),
    (dict(images=['b.png'], conversations=[{'from': 'system', 'value': 'be short'}, {'from': 'user', 'value': 'cat'},
                                           {'from': 'assistant', 'value': 'here: <image>'}]), 'chat',
     [('system', 'be short'), ('user', 'cat'), ('assistant', 'here:', ImagePart(0, True))], ['b.png']),
    (dict(messages=[dict(role='user', content=PARTS),
                    dict(role='assistant', content=[dict(type='image_gen', path='b.png')])]), 'chat',
     [('user', 'make it red', ImagePart(0)), ('assistant', ImagePart(1, True))], ['a.png', 'b.png']),
    (dict(messages=[dict(role='user', content=[dict(type='image'), dict(type='text', text='what?')]),
                    dict(role='assistant', content='cat')], images=['b.png']), 'question',
     [('user', ImagePart(0), 'what?'), ('assistant', 'cat')], ['b.png']),
    (dict(messages=[dict(role='user', content=[dict(type='image_url', image_url=dict(url='a.png'))]),
                    dict(role='assistant', content='cat')]), 'question',
     [('user', ImagePart(0)), ('assistant', 'cat')], ['a.png']),
    (dict(text='a long story'), 'text', [('assistant', 'a long story')], []),
    (dict(text='half \ud83d'), 'text', [('assistant', 'half ?')], []),
])
def test_rows(row, kind, turns, paths):
    assert read(row) == (kind, turns, paths)


def test_independent_questions():
    """Several questions about one image become turns of a shared prefix; dialogues without one image do not."""
    row = llava('k', 'a.png', ('<image> what?', 'a cat'), ('red?', 'no'))
    found = parse_conversation(row, 'k', independent=True).conversation
    assert found.shared_prefix and found.kind == 'question'
    for other in (llava('k', 'a.png', ('hi', 'hello'), ('<image> red?', 'no')),
                  llava('k', None, ('a', 'b'), ('c', 'd')), llava('k', 'a.png', ('<image> what?', 'a cat'))):
        assert not parse_conversation(other, 'k', independent=True).conversation.shared_prefix


@pytest.mark.parametrize('row, message', [
    ('{"id": 1', 'line 1 is not valid JSON'),
    ([1], 'expected an object with `conversations`, `messages` or `text`'),
    (dict(id='k'), 'got none among id'),
    (dict(text='a', messages=[]), 'got messages and text'),
    (dict(conversations='a'), '`conversations` is .*; expected a list'),
    (dict(conversations=[]), 'its 0 turns hold no answer'),
    (llava('k', 'a.png', ('what?', 'cat')), 'it names 1 image and shows 0'),
    (llava('k', None, ('<image>', 'cat')), 'it names 0 images and shows 1'),
    (llava('k', ['a.png', 'b.png'], ('<image>', 'cat')), 'it names 2 images and shows 1'),
    (llava('k', 'no.png', ('<image>', 'cat')), 'no.png does not exist. Check `images`'),
    (llava('k', 'http://x/a.png', ('<image>', 'cat')), 'is not a file. Save it'),
    (llava('k', 3, ('<image>', 'cat')), 'an image is .*; expected the path'),
    (dict(llava('k', 'a.png', ('<image>', 'cat')), images=['a.png']), 'both `image` and `images`'),
    (llava('k', None, ('what?', ' ')), 'turn 2: an answer is empty'),
    (dict(conversations=[{'from': 'humans', 'value': 'a'}]), "turn 1 has the role 'humans'. Did you mean `human`"),
    (dict(conversations=[{'from': 'gpt', 'value': 'a'}, {'from': 'human', 'value': 'b'}]), 'the user first'),
    (dict(conversations=[{'from': 'human', 'value': 'a'}]), 'hold no answer'),
    (dict(conversations=[{'role': 'user', 'content': 'a'}]), 'expected an object with `from` and `value`'),
    (dict(messages=[dict(role='user', content=[dict(type='video')])]), 'whose `type` is one of'),
    (dict(messages=[dict(role='user', content=[dict(type='text')])]), 'expected a string'),
    (dict(messages=[dict(role='user', content=[dict(type='image_gen', image='a.png')]),
                    dict(role='assistant', content='a')]), 'only the assistant draws'),
])
def test_bad_rows(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        ConversationFiles(write_rows(tmp_path, [row]), 'data.jsonl')


@pytest.mark.parametrize('make, message', [
    (lambda root: ConversationFiles(root, 'no.json'), 'cannot be read .*Check the path'),
    (lambda root: ConversationFiles(root, 'a.png'), 'expected .json'),
    (lambda root: ConversationFiles(f'{root}/none', 'data.json'), 'does not exist. It is the folder of the file'),
    (lambda root: ConversationFiles(root, 'data.json', limit=0), '`limit`'),
    (lambda root: ConversationFiles(write_rows(root, [], name='empty.json'), 'empty.json'), 'It is empty'),
])
def test_bad_files(tmp_path, make, message):
    write_rows(tmp_path, [llava('k', 'a.png', ('<image>', 'cat'))], name='data.json')
    with pytest.raises(InputError, match=message):
        make(tmp_path)


def test_object_in_the_place_of_a_list(tmp_path):
    (tmp_path / 'data.json').write_text('{"conversations": []}')
    with pytest.raises(InputError, match='expected a list of conversations'):
        ConversationFiles(str(tmp_path), 'data.json')


def test_skipped_rows_are_counted(tmp_path):
    rows = [llava('1', 'no.png', ('<image>', 'cat')), llava('2', 'a.png', ('<image>', 'cat')),
            llava('3', None, ('a', ''))]
    data = ConversationFiles(write_rows(tmp_path, rows), 'data.jsonl', broken='skip')
    assert data.keys == ['2'] and len(data.flaws) == 2
    assert 'row 1 (1): its image' in data.flaws[0] and 'row 3 (3): turn 2' in data.flaws[1]
    assert '2 conversations of' in data.notes[0]


def test_image_that_is_damaged(tmp_path):
    """It is found when it is decoded: an error, or left out of the batch by name."""
    root = write_rows(tmp_path, [llava('1', 'a.png', ('<image>', 'cat')), llava('2', 'b.png', ('<image>', 'dog'))])
    (tmp_path / 'b.png').write_bytes(b'no image')
    data = ConversationFiles(root, 'data.jsonl', pipeline=PACK)
    with pytest.raises(BrokenSample, match='b.png is in no image format'):
        data[1]
    data.broken = 'skip'
    batch = data.collate([data[0], data[1]])
    assert batch.keys == ['1'] and 'b.png' in batch.broken[0]


def test_items_and_batch(tmp_path):
    """Images are numbered through the batch; (epoch, index) and the seed come along."""
    rows = [llava('1', ['a.png', 'b.png'], ('<image> <image>', 'cats')), llava('1', None, ('hi', 'hello')),
            llava('3', 'b.png', ('a dog', '<image>'))]
    data = ConversationFiles(write_rows(tmp_path, rows, name='data.json'), 'data.json', pipeline=PACK, seed=5,
                             set='mine')
    batch = data.collate([data[3 + i] for i in (2, 1, 0)])
    assert batch.keys == data.keys[::-1] == ['3', '1#2', '1#1']
    assert batch.sets == ['mine'] * 3 and batch.seed == 5
    assert batch.epoch_index == [(1, 2), (1, 1), (1, 0)]
    assert batch.images.shape == (3, 3, 8, 8)
    assert batch.images[:, 0, 0, 0].tolist() == [20, 10, 20]
    assert [part for talk in batch.conversations for part in talk.parts] == [ImagePart(0, True), ImagePart(1),
                                                                            ImagePart(2)]
    assert data.texts == ['cats', 'hi', 'hello', 'a dog']


def test_key_of_a_fingerprint(tmp_path):
    rows = [llava('1', None, ('hi', 'hello')), llava('2', None, ('hi', 'bye'))]
    root = write_rows(tmp_path, rows)
    data, other = (ConversationFiles(root, 'data.jsonl', limit=n) for n in (None, 1))
    assert data.fingerprint() == ConversationFiles(root, 'data.jsonl').fingerprint() != other.fingerprint()


def test_batches_that_cannot_be(tmp_path):
    root = write_rows(tmp_path, [llava('1', 'a.png', ('<image>', 'cat'))])
    with pytest.raises(InputError, match='End the pipeline with PackImage'):
        data = ConversationFiles(root, 'data.jsonl')
        data.collate([data[0]])
    item = ConversationFiles(root, 'data.jsonl', pipeline=PACK)[0]
    larger = dict(item, conversation=item['conversation'].__class__(
        'k', 'chat', item['conversation'].turns, (torch.zeros(3, 4, 4, dtype=torch.uint8),)))
    with pytest.raises(InputError, match='differ in size'):
        collate_conversations([item, larger])
    bare = dict(item, conversation=item['conversation'].__class__('k', 'chat', item['conversation'].turns))
    with pytest.raises(InputError, match='refers to images and has none'):
        collate_conversations([bare])
    assert len(collate_conversations([])) == 0


def test_check_data_reads_conversations(tmp_path):
    """Missing and damaged images are named; conversations without images are read, too."""
    rows = [llava('1', 'a.png', ('<image> what?', 'cat')), llava('2', None, ('hi', 'hello')),
            llava('3', 'no.png', ('<image>', 'cat')), llava('4', 'b.png', ('<image>', 'cat'))]
    root = write_rows(tmp_path, rows)
    (tmp_path / 'b.png').write_bytes(b'torn')
    data = dict(type='ConversationFiles', data_root=root, file='data.jsonl', broken='skip')
    config = tmp_path / 'config.py'
    config.write_text(f'train_dataloader = dict(batch_size=1, dataset=dict(type="Mixture", datasets=dict(a={data})))')
    found = check_data(str(config), say=lambda line: None)['train']
    assert found['read'] == 3 and len(found['broken']) == len(found['flaws']) == 1
    assert 'b.png' in found['broken'][0] and 'no.png does not exist' in found['flaws'][0]
    assert found['sizes']['median'] == [8, 8] and found['captions']['most'] == 2
