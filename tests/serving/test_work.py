"""What requests get: the answers of the Python API, their counts, and what is told while they grow."""
import json

import numpy as np
import pytest
import torch

from dtbox.errors import InputError
from dtbox.serving.answers import CompletionWriter, DrawingsWriter
from dtbox.serving.requests import parse_chat, parse_images
from dtbox.serving.work import Choice, Completion, ContentWriter, Delta, Drawings, Places, Preview, complete, draw
from tests.serving.kit import Listener, make_png, make_reader, make_url, read_url, say, show


@pytest.fixture
def begin_image(mllm, monkeypatch):
    """Lets answers be ` yes`, a drawing, and the end."""
    tokens, words = mllm.model.sequence.tokens, mllm.model.lm.text_logits
    order = [tokens.encode(' yes')[0], tokens.drawn[0], tokens.eos]
    asked = []

    def begin(hidden):
        logits = words(hidden)
        logits[..., order[len(asked) % 3]] = 1e4
        asked.append(None)
        return logits
    monkeypatch.setattr(mllm.model.lm, 'text_logits', begin)


@pytest.fixture
def plain_words(mllm, monkeypatch):
    """Lets answers be of a few words, without bytes that are half a character."""
    tokens, words = mllm.model.sequence.tokens, mllm.model.lm.text_logits
    ids = sorted(set(tokens.encode(' what is it? a red apple')))
    monkeypatch.setattr(mllm.model.lm, 'text_logits', lambda hidden: words(hidden).index_add(
        -1, torch.tensor(ids), torch.full((*hidden.shape[:-1], len(ids)), 1e4)))


def ask(mllm, *messages, **more):
    return parse_chat(dict(messages=list(messages), **more), make_reader(prepare=mllm.tokenizer.prepare))


def test_answers_are_those_of_the_api(mllm, tmp_path):
    (tmp_path / 'a.png').write_bytes(make_png())
    shown = dict(role='user', content=[dict(type='image', image=tmp_path / 'a.png'),
                                       dict(type='text', text='what is it?')])
    result = complete(mllm, ask(mllm, show(), n=3, temperature=1.5, seed=4, max_tokens=6), Listener())
    expected = [mllm.chat([shown], temperature=1.5, seed=seed, max_tokens=6)['content'] for seed in (4, 5, 6)]
    assert [choice.content for choice in result.choices] == expected and len(set(expected)) > 1
    assert complete(mllm, ask(mllm, show()), Listener()).choices[0].content == mllm.chat([shown])['content']


def test_counts(mllm):
    """bos, the marks, 16 places and the words are what was given; a reply that fills `max_tokens` has not ended."""
    words = len(mllm.model.sequence.tokens.encode('what is it?'))
    result = complete(mllm, ask(mllm, show(), max_tokens=2, temperature=1.5), Listener())
    assert result.given == 1 + 16 + 2 + words and result.generated == 2
    assert [choice.ended for choice in result.choices] == [False]


def test_more_tokens_than_the_model_reads(mllm, plain_words):
    """A maximum is one all the same; the reply ends with the context."""
    result = complete(mllm, ask(mllm, say(), max_tokens=4096), Listener())
    assert result == complete(mllm, ask(mllm, say(), max_tokens=96), Listener())
    assert (result.generated, result.choices[0].ended) == (96 - 3, False)


def test_a_reply_that_ends(mllm, monkeypatch):
    words = mllm.model.lm.text_logits
    monkeypatch.setattr(mllm.model.lm, 'text_logits', lambda hidden: torch.zeros_like(words(hidden)).index_fill(
        -1, torch.tensor([mllm.model.sequence.tokens.eos]), 1e4))
    assert complete(mllm, ask(mllm, say()), Listener()) == Completion((Choice('', True),), 3, 0)


def test_a_stream_adds_up_to_the_answer(mllm, plain_words):
    request = ask(mllm, show(), n=2, temperature=1.5, max_tokens=12, stream=True)
    listener = Listener()
    result = complete(mllm, request, listener)
    for i, choice in enumerate(result.choices):
        told = [event.text for event in listener.events if event.choice == i]
        assert ''.join(told) == choice.content and len(told) > 1 and all(told)
    assert complete(mllm, ask(mllm, show(), n=2, temperature=1.5, max_tokens=12), Listener()) == result


def test_an_answer_with_a_drawing(mllm, begin_image):
    listener = Listener()
    result = complete(mllm, ask(mllm, say(), stream=True), listener)
    content = result.choices[0].content
    assert content.startswith('yes![drawing](data:image/png;base64,') and content.endswith(')')
    drawn = mllm.chat([say()])['content'][1]['image']
    assert np.array_equal(read_url(content[:-1]), np.asarray(drawn))
    places = [event for event in listener.events if isinstance(event, Places)]
    assert places == [Places(i, 16) for i in range(1, 17)]
    assert ''.join(event.text for event in listener.events if isinstance(event, Delta)) == content
    assert (result.given, result.generated, result.choices[0].ended) == (3, 2 + 17, True)
    parsed = ask(mllm, say(), say(content, 'assistant'), say('yes'))
    assert torch.equal(parsed.messages[1]['content'][1]['image'], mllm.tokenizer.prepare(drawn)[0])


def test_no_drawing_where_text_alone_is_wanted(mllm, begin_image):
    assert 'drawing' not in complete(mllm, ask(mllm, say(), modalities=['text']), Listener()).choices[0].content


def test_the_answer_is_one_drawing(mllm):
    listener = Listener()
    result = complete(mllm, ask(mllm, say('red apple'), modalities=['image'], n=2, seed=3, stream=True), listener)
    expected = mllm.draw_pil('red apple', 2, seed=3)[0]
    for choice, image in zip(result.choices, expected):
        assert np.array_equal(read_url(choice.content[:-1]), np.asarray(image))
    assert [event.choice for event in listener.events if isinstance(event, Delta)] == [0, 1]
    assert listener.events[:16] == [Places(i, 32) for i in range(2, 33, 2)]
    assert (result.given, result.generated) == (len(mllm.model.sequence.prompt_for_drawing('red apple')), 32)


@pytest.mark.parametrize('partial, previews', [(None, 15), (0, 0), (3, 3), (15, 15)])
def test_drawings_and_their_previews(mllm, partial, previews):
    body = dict(prompt='a face', n=2, seed=5, temperature=0.9, stream=True, partial_images=partial)
    request, listener = parse_images(body, '32x32', 16, make_reader()), Listener()
    result = draw(mllm, request, listener)
    expected = [np.asarray(image) for image in mllm.draw_pil('a face', 2, seed=5, temperature=0.9)[0]]
    found = [read_url(make_url(png)) for png in result.images]
    assert all(map(np.array_equal, found, expected)) and result.generated == 32
    assert [(event.image, event.number) for event in listener.events] == [
        (image, number) for number in range(previews) for image in (0, 1)]
    assert listener.checks > 16
    if previews == 15:  # the first place is there, the last is grey
        first = read_url(make_url(listener.events[0].png))
        assert (first[-8:, -8:] == 128).all() and not (first[:8, :8] == 128).all()


def test_work_ends_where_nobody_waits(mllm, begin_image):
    """At a token, at a place of a drawing in an answer, at a place of a drawing."""
    for stop in (1, 5):
        with pytest.raises(StopIteration):
            complete(mllm, ask(mllm, say()), Listener(stop))
    listener = Listener(3)
    with pytest.raises(StopIteration):
        draw(mllm, parse_images(dict(prompt='a'), '32x32', 16, make_reader()), listener)
    assert listener.checks == 4


def test_what_the_model_refuses(mllm):
    with pytest.raises(InputError, match='the language model reads 96'):
        complete(mllm, ask(mllm, say('a face ' * 200)), Listener())
    with pytest.raises(InputError, match='the language model reads 96'):
        draw(mllm, parse_images(dict(prompt='a face ' * 200), '32x32', 16, make_reader()), Listener())


def test_half_a_character_waits():
    writer = ContentWriter(None)
    assert [writer.more([text]) for text in (' ', ' a', ' a\N{REPLACEMENT CHARACTER}', ' aé', ' aé ', ' aé b')] == [
        '', 'a', '', 'é', '', ' b']
    assert writer.rest('aé b\N{REPLACEMENT CHARACTER}') == '\N{REPLACEMENT CHARACTER}'
    with pytest.raises(RuntimeError, match='was sent, and the whole answer is'):
        writer.rest('b')


def test_events_of_a_chat():
    writer = CompletionWriter('m', 1, True)
    result = Completion((Choice('hi', False),), 4, 2)
    text = writer.begin() + writer.tell(Places(1, 2)) + writer.tell(Delta(0, 'hi')) + writer.end(result)
    lines = text.split('\n\n')
    assert lines[1] == ': place 1 of 2' and lines[-2:] == ['data: [DONE]', '']
    chunks = [json.loads(line[6:]) for line in (lines[0], *lines[2:-2])]
    deltas = [chunk['choices'][0]['delta'] for chunk in chunks[:3]]
    assert deltas == [dict(role='assistant', content=''), dict(content='hi'), {}]
    assert chunks[2]['choices'][0]['finish_reason'] == 'length' and chunks[3]['choices'] == []
    assert chunks[3]['usage'] == dict(prompt_tokens=4, completion_tokens=2, total_tokens=6)
    assert len({chunk['id'] for chunk in chunks}) == 1
    whole = writer.write(result)
    assert whole['choices'][0]['message']['content'] == 'hi' and whole['usage'] == chunks[3]['usage']


def test_events_of_drawings():
    writer = DrawingsWriter('32x32')
    text = writer.begin() + writer.tell(Preview(1, 2, b'p')) + writer.end(Drawings((b'a', b'b'), 3, 32))
    events = [dict(line.split(': ', 1) for line in part.split('\n')) for part in text.strip().split('\n\n')]
    assert [event.get('event') for event in events] == ['image_generation.partial_image',
                                                        *['image_generation.completed'] * 2, None]
    first, last = json.loads(events[0]['data']), json.loads(events[2]['data'])
    assert (first['partial_image_index'], first['image_index'], first['b64_json']) == (2, 1, 'cA==')
    assert (last['b64_json'], last['image_index'], last['usage']['total_tokens']) == ('Yg==', 1, 35)
