"""Bodies of requests: what is read, and what is refused by name."""
import json

import pytest

from dtbox.errors import InputError
from dtbox.serving.limits import Limits
from dtbox.serving.refusals import Refusal, explain
from dtbox.serving.requests import (
    IMAGE,
    TEXT,
    ChatRequest,
    ImageRequest,
    find_prompt,
    parse_body,
    parse_chat,
    parse_images,
)
from tests.serving.kit import make_reader, make_url, say, show


def chat(reader=None, **body):
    return parse_chat(body, reader or make_reader())


def images(**body):
    return parse_images(body, '32x32', 16, make_reader())


def test_a_chat():
    asked = chat(messages=[say('be brief', 'developer'), show(), say('a cat', 'assistant'), say('sure?')], n=2, seed=7,
                 max_tokens=5, temperature=0.5, top_p=0.9, user='me', stream=True,
                 stream_options=dict(include_usage=True), frequency_penalty=0, tools=[], stop=None)
    assert asked.settings == dict(max_tokens=5, temperature=0.5, top_p=0.9)
    assert (asked.seed, asked.n, asked.stream, asked.include_usage) == (7, 2, True, True)
    assert [message['role'] for message in asked.messages] == ['system', 'user', 'assistant', 'user']
    shown, text = asked.messages[1]['content']
    assert shown['type'] == 'image' and shown['image'].flatten().tolist() == [200, 0, 0]
    assert text == dict(type='text', text='what is it?')
    assert chat(messages=[say()]) == ChatRequest([dict(role='user', content=[dict(type='text', text='a face')])])
    assert chat(messages=[say()], max_completion_tokens=3, max_tokens=3).settings == dict(max_tokens=3)


def test_drawings_come_back_as_they_went_out():
    """The Markdown of an answer is an image of the assistant again; in the words of a user it is text."""
    text = f'here: ![drawing]({make_url()}) and ![other]({make_url()})'
    asked = chat(messages=[say(), say(text, 'assistant'), say(text)])
    assert [part['type'] for part in asked.messages[1]['content']] == ['text', 'image_gen', 'text', 'image_gen']
    assert asked.messages[1]['content'][0]['text'] == 'here: '
    assert [part['type'] for part in asked.messages[2]['content']] == ['text']
    parts = [dict(type='text', text=text)]
    assert len(chat(messages=[say(), say(parts, 'assistant'), say()]).messages[1]['content']) == 4


def test_one_image_as_the_answer():
    asked = chat(messages=[say('red apple')], modalities=['image'])
    assert asked.modalities == {IMAGE} and find_prompt(asked) == 'red apple'
    assert chat(messages=[say()], modalities=['text']).modalities == {TEXT}


def test_drawings():
    assert images(prompt='a face') == ImageRequest('a face')
    asked = images(prompt='a face', n=3, size='32x32', response_format='b64_json', seed=2, scale=2, top_k=5,
                   quality='auto', stream=True, partial_images=3)
    assert asked == ImageRequest('a face', dict(scale=2.0, top_k=5), 2, 3, True, 3)


@pytest.mark.parametrize('body, says', [
    (dict(), 'messages: the request has no messages'), (dict(messages=[]), 'messages: there are no messages'),
    (dict(messages=5), 'messages: got 5; expected a list'), (dict(messages=[5]), 'messages.0: got 5; expected a messa'),
    (dict(messages=[say(role='bot')]), "messages.0.role: a message has the role 'bot'"),
    (dict(messages=[say(role='tool')]), "messages.0.role: a message has the role 'tool'"),
    (dict(messages=[dict(say(role='assistant'), tool_calls=[1])]), 'messages.0.tool_calls: .* does not read'),
    (dict(messages=[say(None)]), 'messages.0.content: got None; expected a text, or a list of parts'),
    (dict(messages=[say([dict(type='video')])]), "messages.0.content.0: a part has the type 'video'"),
    (dict(messages=[say([dict(type='text', text=5)])]), 'messages.0.content.0: the text of a part is 5'),
    (dict(messages=[say(), show('http://a/b.png')]), 'messages.1.content: .*lies on the network'),
    (dict(messages=[say('\ud800')]), 'messages: the text .* is not Unicode'),
    (dict(messages=[say()], n=9), 'n: got 9; expected a whole number from 1 to 8'),
    (dict(messages=[say()], max_tokens=0), 'max_tokens: got 0'), (dict(messages=[say()], seed=-1), 'seed: got -1'),
    (dict(messages=[say()], max_tokens=1, max_completion_tokens=2), 'max_tokens: .* expected one of them'),
    (dict(messages=[say()], temperature=float('nan')), 'temperature: got nan'),
    (dict(messages=[say()], temperature='hot'), "temperature: got 'hot'"),
    (dict(messages=[say()], stream='yes'), 'stream: got .*; expected True or False'),
    (dict(messages=[say()], tools=[dict(type='function')]), 'tools: got .*which this model cannot follow; expected'),
    (dict(messages=[say()], response_format=dict(type='json_object')), "expected {'type': 'text'}. Leave it out"),
    (dict(messages=[say()], stop='.'), 'stop: got'),
    (dict(messages=[say()], temprature=1), 'temprature: there is no such entry. Did you mean `temperature`'),
    (dict(messages=[say()], modalities=['audio']), 'modalities: got'),
    (dict(messages=[say()], modalities=[]), 'modalities: got'),
    (dict(messages=[say()], stream_options=dict(include_usage=3)), 'stream_options.include_usage: got 3'),
    (dict(messages=[show()], modalities=['image']), 'messages: the modality `image` alone draws one text'),
    (dict(messages=[say(), say('b', 'assistant'), say()], modalities=['image']), 'draws one text')])
def test_refused_chats(body, says):
    with pytest.raises(InputError, match=says):
        chat(**body)


@pytest.mark.parametrize('body, says', [
    (dict(), 'prompt: the prompt is None'), (dict(prompt=' '), "prompt: the prompt is ' '"),
    (dict(prompt='a', size='1024x1024'), 'size: got .*Expected one of auto, 32x32'),
    (dict(prompt='a', response_format='url'), "response_format: got 'url', .*expected 'b64_json'"),
    (dict(prompt='a', partial_images=16), 'partial_images: got 16; expected a whole number from 0 to 15'),
    (dict(prompt='a', style='vivid'), "style: got 'vivid', which this model cannot follow. Leave it out"),
    (dict(prompt='a' * 32_001), 'prompt: the texts have 32,001 characters; this server takes 32,000'),
    (dict(prompt='a', messages=[]), 'messages: there is no such entry')])
def test_refused_drawings(body, says):
    with pytest.raises(InputError, match=says):
        images(**body)


def test_a_hundred_images_are_refused_before_one_is_read():
    def read(image):
        raise AssertionError('an image was read')
    part = dict(type='image_url', image_url=make_url())
    with pytest.raises(InputError, match='messages: there are 100 images; this server takes 16 of a request'):
        chat(make_reader(prepare=read), messages=[say([part] * 60), say([part] * 40)])


def test_texts_are_counted_together():
    with pytest.raises(InputError, match='the texts have 12 characters; this server takes 11'):
        chat(make_reader(characters=11), messages=[say('a face'), say('a face')])


@pytest.mark.parametrize('content, says', [
    (b'', 'the request is not JSON'), (b'{"a": 1', 'not JSON'), (b'[]', 'expected a JSON object'),
    (b'\xff', 'not JSON'), (b'{"a": 1, "a": 2}', "the name 'a' comes twice"), (b'[' * 100_000, 'nested too deeply'),
    (b'{"seed": ' + b'9' * 5000 + b'}', 'not JSON')])
def test_bodies_that_are_no_json(content, says):
    with pytest.raises(InputError, match=says):
        parse_body(content, 'm')


def test_the_model_is_checked():
    assert parse_body(json.dumps(dict(model='m', n=1)).encode(), 'm') == dict(model='m', n=1)
    with pytest.raises(Refusal, match="this server has no model 'gpt'; it has 'm'") as error:
        parse_body(b'{"model": "gpt"}', 'm')
    assert error.value.status == 404 and error.value.to_json()['error']['code'] == 'model_not_found'


def test_what_is_said_of_errors():
    refusal = explain(InputError('too long', 'messages'))
    assert refusal.status == 400 and refusal.to_json() == dict(error=dict(
        message='messages: too long', type='invalid_request_error', param='messages', code=None))
    fault = explain(RuntimeError('secret'))
    assert fault.status == 500 and 'secret' not in json.dumps(fault.to_json())
    assert explain(Refusal(429, 'x')).headers == {'Retry-After': '1'}


@pytest.mark.parametrize('name', ['images', 'pixels', 'characters', 'choices', 'seconds'])
def test_limits_that_cannot_be(name):
    with pytest.raises(InputError, match=f'{name}: got 0'):
        Limits(**{name: 0})
