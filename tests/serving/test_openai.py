"""OpenAI's own client against a server on a free port: it works unchanged, and no answer is mixed up."""
import base64
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from dtbox.serving.access import Access
from dtbox.serving.limits import Limits
from dtbox.serving.server import make_server, open_socket
from dtbox.serving.service import Service
from tests.serving.kit import make_png, make_url, say, show

openai = pytest.importorskip('openai')
pytest.importorskip('fastapi')
pytest.importorskip('uvicorn')
COLOURS = ((200, 0, 0), (0, 200, 0), (30, 30, 220), (250, 250, 0))


@pytest.fixture(scope='module')
def client(mllm):
    """A client of a server with the tiny model."""
    with open_socket('127.0.0.1', 0) as listening:
        port = listening.getsockname()[1]
        server = make_server(Service(mllm, 'tiny', Limits(images=4), Access('secret')))
        thread = threading.Thread(target=server.run, kwargs=dict(sockets=[listening]), daemon=True)
        thread.start()
        with openai.OpenAI(base_url=f'http://127.0.0.1:{port}/v1', api_key='secret', max_retries=0, timeout=60) as made:
            yield made
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def read(drawing):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(drawing.b64_json))))


def test_models(client):
    assert [model.id for model in client.models.list()] == ['tiny'] and client.models.retrieve('tiny').id == 'tiny'


def test_chat(client, mllm):
    expected = mllm.ask(Image.open(io.BytesIO(make_png())), 'what is it?', max_tokens=6)
    found = client.chat.completions.create(model='tiny', messages=[show()], max_tokens=6)
    assert found.choices[0].message.content == expected[0] and found.usage.total_tokens > 18
    chunks = list(client.chat.completions.create(model='tiny', messages=[show()], max_tokens=6, stream=True,
                                                 stream_options=dict(include_usage=True)))
    texts = [chunk.choices[0].delta.content or '' for chunk in chunks[:-1]]
    assert ''.join(texts) == expected[0] and chunks[-1].usage == found.usage
    assert chunks[-2].choices[0].finish_reason == found.choices[0].finish_reason


def test_drawings(client, mllm):
    expected = [np.asarray(image) for image in mllm.draw_pil('a face', 2, seed=3)[0]]
    found = client.images.generate(model='tiny', prompt='a face', n=2, size='32x32', response_format='b64_json',
                                   extra_body=dict(seed=3))
    assert all(map(np.array_equal, map(read, found.data), expected)) and found.usage.output_tokens == 32
    events = list(client.images.generate(model='tiny', prompt='a face', stream=True, partial_images=3,
                                         extra_body=dict(seed=3)))
    assert [event.type for event in events] == [*['image_generation.partial_image'] * 3, 'image_generation.completed']
    assert np.array_equal(read(events[-1]), expected[0])
    message = client.chat.completions.create(model='tiny', messages=[say('a face')],
                                             extra_body=dict(modalities=['image'], seed=3)).choices[0].message
    assert message.content.startswith('![drawing](data:image/png;base64,')


@pytest.mark.parametrize('kind, body, says', [
    ('BadRequestError', dict(messages=[say()] * 2), 'has the turns user, user'),
    ('BadRequestError', dict(messages=[dict(role='user', content=show()['content'] * 100)]), 'there are 100 images'),
    ('BadRequestError', dict(messages=[show('https://example.com/a.png')]), 'lies on the network'),
    ('NotFoundError', dict(messages=[say()], model='gpt'), "no model 'gpt'"),
    ('APIStatusError', dict(messages=[show(make_url(b'a' * 37_500_000))]), 'more than 20,000,000 bytes')])
def test_refusals(client, kind, body, says):
    """Among them a hundred images, and 50 megabytes."""
    with pytest.raises(getattr(openai, kind), match=says):
        client.chat.completions.create(**{'model': 'tiny', **body})


def test_a_wrong_token(client):
    with pytest.raises(openai.AuthenticationError, match='the token is missing or wrong'):
        client.with_options(api_key='other').models.list()


def test_many_clients_at_a_time(client, mllm):
    """Each gets the answer to its own question, some by streams, while others hang up."""
    def ask(i):
        colour = COLOURS[i % len(COLOURS)]
        if i % 3 == 0:
            with client.images.generate(model='tiny', prompt='yes', stream=True) as stream:
                next(iter(stream))
            return None
        if i % 3 == 1:
            found = client.chat.completions.create(
                model='tiny', messages=[show(make_url(make_png(colour)))], temperature=1.5, seed=i, max_tokens=8,
                extra_body=dict(modalities=['text']))  # as `ask`, which draws nothing
            return found.choices[0].message.content
        return read(client.images.generate(model='tiny', prompt='a face', extra_body=dict(seed=i)).data[0])
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(24)))
    for i, answer in enumerate(found):
        image = Image.open(io.BytesIO(make_png(COLOURS[i % len(COLOURS)])))
        if i % 3 == 1:
            assert answer == mllm.ask(image, 'what is it?', temperature=1.5, seed=i, max_tokens=8)[0]
        elif i % 3 == 2:
            assert np.array_equal(answer, np.asarray(mllm.draw_pil('a face', seed=i)[0][0]))
