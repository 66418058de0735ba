"""Conversations: what they refuse, and their pairs of question and answer."""
import pytest
import torch

from dtbox.conversations import Conversation, ConversationBatch, ImagePart, Turn
from dtbox.errors import InputError
from tests.conversation_data import ask, draw

IMAGE = torch.zeros(3, 2, 2, dtype=torch.uint8)
ASK, ANSWER = Turn('user', ('what?',)), Turn('assistant', ('a cat',))
SHOWN = Turn('user', (ImagePart(0), 'what?'))


@pytest.mark.parametrize('make, message', [
    (lambda: Turn('gpt', ('a',)), "a turn has the role 'gpt'"),
    (lambda: Turn('assistant', (' ',)), 'an answer is empty'),
    (lambda: Turn('user', (ImagePart(0, True),)), 'only the assistant draws'),
    (lambda: Conversation('k', 'drawn', (ASK,)), 'Did you mean `draw`'),
    (lambda: Conversation('k', 'chat', (ANSWER, ASK)), 'turns assistant, user; expected user and assistant in turn'),
    (lambda: Conversation('k', 'chat', ()), 'turns none'),
    (lambda: Conversation('k', 'chat', (ASK, ASK)), 'turns user, user'),
    (lambda: Conversation('k', 'text', (ASK, ANSWER)), 'expected one of the assistant'),
    (lambda: Conversation('k', 'chat', (Turn('user', (ImagePart(1),)), ANSWER), (IMAGE,)), 'image 1, but has 1'),
    (lambda: Conversation('k', 'chat', (SHOWN, ANSWER), (IMAGE, IMAGE)), 'no turn shows image 1'),
    (lambda: Conversation('k', 'chat', (ASK, ANSWER), shared_prefix=True), 'expected one given image'),
    (lambda: Conversation('k', 'chat', (SHOWN, ANSWER, ASK), shared_prefix=True), 'last question has no answer'),
    (lambda: ConversationBatch(IMAGE[None], [draw(image=1)], ['k'], [''], [(0, 0)]), 'image 1 of a batch of 1'),
])
def test_bad_conversations(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_questions_of_a_shared_prefix():
    """Each pair has the image, the system's turn and what stands before the image, and none of the other pairs."""
    system = Turn('system', ('be short',))
    first = Turn('user', ('look', ImagePart(0), 'what?'))
    talk = Conversation('k', 'question', (system, first, ANSWER, Turn('user', ('red?',)), Turn('assistant', ('no',))),
                        (IMAGE,), shared_prefix=True)
    one, two = talk.questions()
    assert [turn.parts for turn in one.turns] == [('be short',), ('look', ImagePart(0), 'what?'), ('a cat',)]
    assert [turn.parts for turn in two.turns] == [('be short',), ('look', ImagePart(0), 'red?'), ('no',)]
    assert not one.shared_prefix and two.images == (IMAGE,)


def test_texts_of_a_batch():
    batch = ConversationBatch(IMAGE[None], [draw('a cat'), ask('q', 0, ('what?', 'cat'))], ['d', 'q'], ['', ''],
                              [(0, 0), (0, 1)])
    assert len(batch) == 2
    assert batch.texts == ['a cat\n', 'what?\ncat']


def test_some_of_a_batch():
    """Their images come along, in order and numbered anew; an image that two show comes once; broken samples stay
    behind."""
    talks = [draw('a', 0, 'd'), ask('q', 2, ('what', 'cat')), ask('r', 1, ('what', 'dog')), ask('s', 1, ('is', 'it'))]
    images = torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(3, 3, 2, 2)
    batch = ConversationBatch(images, talks, list('dqrs'), list('DQRS'), [(0, i) for i in range(4)], 5, ['x'], ['y'])
    some = batch.select([3, 1, 2])
    assert (some.keys, some.sets, some.epoch_index) == (list('sqr'), list('SQR'), [(0, 3), (0, 1), (0, 2)])
    assert some.images[:, 0, 0, 0].tolist() == [1, 2] and len(some) == 3
    assert [talk.parts[0].image for talk in some.conversations] == [0, 1, 0]
    assert (some.seed, some.broken, some.flaws, some.placeholder) == (5, None, None, False)
    assert batch.conversations[1].parts[0].image == 2 and len(batch.select([]).images) == 0
