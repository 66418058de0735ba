"""The API of a multimodal language model: what depends on what, shapes, and what is refused."""
import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from dtbox.errors import InputError

PROMPTS = ['red apple', 'a face', 'what is it, a red apple or a face?', 'yes']


@pytest.fixture(scope='module')
def image(mllm):
    return mllm.draw_pil('a face')[0][0]


def test_a_drawing_does_not_depend_on_its_batch(mllm):
    """Alone, among prompts of other lengths, in another order, in batches of two."""
    images, codes = mllm.draw(PROMPTS, n=2, seed=3, codes=True)
    assert images.shape == (4, 2, 3, 32, 32) and codes['pixel'].shape == (4, 2, 16, 2)
    alone = mllm.draw('a face', n=2, seed=3, codes=True)[1]
    turned = mllm.draw(PROMPTS[::-1], n=1, seed=3, codes=True)[1]
    for name in codes:
        assert torch.equal(alone[name][0], codes[name][1])
        assert torch.equal(turned[name][2, 0], codes[name][1, 0])
    assert not torch.equal(codes['pixel'][1, 0], codes['pixel'][1, 1])
    assert not torch.equal(mllm.draw('a face', seed=4, codes=True)[1]['pixel'], alone['pixel'][:, :1])


def test_images_are_those_of_the_codes(mllm):
    images, codes = mllm.draw('red apple', codes=True)
    decoded = mllm.tokenizer.decode({name: value[:, 0] for name, value in codes.items()})
    assert torch.equal(decoded, images[:, 0])


def test_no_guidance_runs_no_unconditional_rows(mllm, monkeypatch):
    rows = []
    sample = mllm.model.visual_head.sample
    monkeypatch.setattr(mllm.model.visual_head, 'sample', lambda state, *rest: rows.append(len(state)) or
                        sample(state, *rest))
    mllm.draw('yes', scale=1)
    assert set(rows) == {1}
    rows.clear()
    mllm.draw('yes', scale=dict(pixel=3, semantic=1), interval=(0, 4))
    assert rows == [2] * 4 + [1] * 12


def test_images_appear_place_by_place(mllm):
    """What is done is the decoded image, what is not is grey; two batches are counted together."""
    seen = []
    mllm.generation = type(mllm.generation)(batch=2)
    try:
        final = mllm.draw(PROMPTS[:3], report=lambda progress: seen.append((progress.done, progress.images())))
    finally:
        mllm.generation = type(mllm.generation)(scale=2.0, temperature=0.7, max_tokens=6)
    assert [done for done, _ in seen] == [*range(2, 33, 2), *range(33, 49)]
    first = seen[0][1]
    assert first.shape == (3, 1, 3, 32, 32) and (first[:2, 0, :, :8, :8] != 0).any()
    assert (first[:, :, :, :, 8:] == 0).all() and (first[2] == 0).all()
    assert torch.equal(seen[-1][1], final)


def test_questions_are_asked_image_by_image(mllm, image):
    other = Image.new('RGB', (50, 40), (250, 0, 0))
    replies = mllm.ask([image, other], 'what is it?')
    assert replies == [mllm.ask(image, 'what is it?')[0], mllm.ask(other, 'what is it?')[0]]
    assert mllm.caption([image, other]) == replies  # the same words, as the template has none of its own for captions
    free = [mllm.ask(image, 'what is it?', temperature=5.0, seed=seed)[0] for seed in (0, 0, 1)]
    assert free[0] == free[1] != free[2]
    assert len(mllm.model.sequence.tokens.encode(mllm.ask(image, 'yes?', max_tokens=1)[0])) <= 2


def test_an_array_is_an_image(mllm, image):
    """As a PIL image is one, for the tokenizer and the language model alike."""
    array = np.asarray(image)
    want = mllm.caption(image)
    assert mllm.caption(array) == want and mllm.ask([array, image], 'what is it?') == want * 2
    part = dict(type='image', image=array)
    assert mllm.chat([dict(role='user', content=[part, 'what is it?'])])['content'] == want[0]
    codes, expected = mllm.tokenizer.encode(array[::-1]), mllm.tokenizer.encode(Image.fromarray(array[::-1].copy()))
    assert all(torch.equal(codes[name], expected[name]) for name in expected)


def test_loglikelihood_is_that_of_the_ids(mllm, image):
    """Hand-made: the sum of log-softmax over the ids of the answer and its end, after the image and the question."""
    found = mllm.loglikelihood([image, image], 'what is it?', ['yes', 'a face'])
    assert found.shape == (2, 2) and torch.allclose(found[0], found[1], atol=1e-5)
    model, tokens = mllm.model, mllm.model.sequence.tokens
    codes = mllm.tokenizer.encode(image)
    ids = [tokens.bos, tokens.given[0], *[tokens.image] * 16, tokens.given[1], *tokens.encode(' what is it?')]
    answer = [*tokens.encode(' yes'), tokens.eos]
    x = model.lm.embed(torch.tensor([ids + answer]))
    x[:, 2:18] = model.visual_embedding(codes)
    with torch.no_grad():
        logits = model.lm.text_logits(model.lm(x, torch.arange(x.shape[1])[None]))[0]
    expected = sum(logits.log_softmax(-1)[len(ids) - 1 + i, number].item() for i, number in enumerate(answer))
    assert float(found[0, 0]) == pytest.approx(expected, abs=1e-4)


def test_chat_takes_images_of_every_kind(mllm, image, tmp_path):
    image.save(tmp_path / 'face.png')
    buffer = io.BytesIO()
    image.save(buffer, 'PNG')
    url = 'data:image/png;base64,' + base64.b64encode(buffer.getvalue()).decode()
    parts = [dict(type='image', image=image), dict(type='image', image=tmp_path / 'face.png'),
             dict(type='image_url', image_url=dict(url=url)),
             dict(type='image_url', image_url=str(tmp_path / 'face.png')),
             dict(type='image', image=mllm.tokenizer.prepare(image)[0])]
    answers = [mllm.chat([dict(role='user', content=[part, dict(type='text', text='what is it?')])]) for part in parts]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0] == dict(role='assistant', content=mllm.ask(image, 'what is it?')[0])
    talk = [dict(role='user', content='yes'), dict(role='assistant', content=[dict(type='image_gen', image=image)]),
            dict(role='user', content='what is it?')]
    assert isinstance(mllm.chat(talk)['content'], (str, list))


def test_an_answer_may_hold_a_drawing(mllm, monkeypatch):
    """Where the text head begins an image, the visual head fills it, and the text continues after its end."""
    tokens = mllm.model.sequence.tokens
    words = mllm.model.lm.text_logits
    asked = []

    def begin(hidden):
        logits = words(hidden)
        asked.append(None)
        wanted = {1: tokens.encode(' yes')[0], 2: tokens.drawn[0], 3: tokens.eos}[len(asked)]
        logits[..., wanted] = 1e4
        return logits
    monkeypatch.setattr(mllm.model.lm, 'text_logits', begin)
    answer = mllm.chat([dict(role='user', content='a face')])
    kinds = [part['type'] for part in answer['content']]
    assert kinds == ['text', 'image_gen'] and answer['content'][1]['image'].size == (32, 32)
    asked.clear()
    assert isinstance(mllm.chat([dict(role='user', content='a face')], may_draw=False)['content'], str)


def ask(content, role='user'):
    return [dict(role=role, content=content)]


@pytest.mark.parametrize('messages, says', [
    (ask('hi', 'bot'), r'messages.0: a message has the role \'bot\'.* Roles are: system, user, assistant'),
    (ask(' '), 'messages.0: the message of the role \'user\' is empty'),
    (ask([]), 'messages.0: the message of the role \'user\' is empty'),
    (ask([dict(type='video')]), 'messages.0: a part of a message has the type \'video\''),
    (ask([dict(type='image', image='no/such.png')]), 'messages.0.image.images: .*no/such.png does not exist'),
    (ask([dict(type='image_url', image_url='https://x/y.png')]), 'lies on the network'),
    (ask('a') + ask('b'), 'has the turns user, user; expected user and assistant in turn'),
    (ask('a') + ask('b', 'assistant'), 'the last message is the assistant\'s'),
    (ask('a face ' * 200),
     r'messages: the conversation of these messages has [\d,]+ places; the language model reads 96'),
    ([], 'has the turns none'), (5, 'messages: got 5; expected a list of messages')])
def test_refused_messages(mllm, messages, says):
    with pytest.raises(InputError, match=says):
        mllm.chat(messages)


@pytest.mark.parametrize('call, says', [
    (lambda m: m.draw([]), 'prompts: there are no texts'),
    (lambda m: m.draw(''), 'prompts: a text is empty'),
    (lambda m: m.draw('a face ' * 200), 'prompts: the conversation of the prompt .* has'),
    (lambda m: m.draw('a', n=0), 'n: got 0; expected a whole number from 1 to 1000'),
    (lambda m: m.draw('a', temperature=-1), 'temperature: got -1'),
    (lambda m: m.draw('a', scale=-1), 'scale: got -1; expected a finite number from 0'),
    (lambda m: m.draw('a', scale=dict(pixel=-1, semantic=1)), r'scale\.pixel: got -1'),
    (lambda m: m.draw('a', scale=float('nan')), 'scale: got nan'),
    (lambda m: m.draw('a', top_p=0), 'top_p: got 0'), (lambda m: m.draw('a', top_p=1.5), 'top_p: got 1.5'),
    (lambda m: m.draw('a', scal=2), 'scal: there is no such argument. Did you mean `scale`'),
    (lambda m: m.draw_pil('a', scal=2), 'scal: there is no such argument. Did you mean `scale`'),
    (lambda m: m.draw('a', scale=dict(pixels=2)), 'scale: `scale` names the stream `pixels`.*Did you mean `pixel`'),
    (lambda m: m.draw('a', top_k=[1, 2, 3]), 'top_k: `top_k` has 3 values for `pixel`, which has 2 depths'),
    (lambda m: m.draw('a', report=3), 'report: got 3'),
    (lambda m: m.ask('no/such.png', 'what?'), 'images: .*no/such.png does not exist'),
    (lambda m: m.ask(Image.new('RGB', (9, 9)), ''), 'question: a text is empty'),
    (lambda m: m.ask(Image.new('RGB', (9, 9)), 'a', max_token=3), 'max_token: .*Did you mean `max_tokens`'),
    (lambda m: m.ask(Image.new('RGB', (9, 9)), questoin='a'), 'questoin: .*Did you mean `question`'),
    (lambda m: m.caption(image=Image.new('RGB', (9, 9))), 'image: .*Did you mean `images`'),
    (lambda m: m.caption(Image.new('RGB', (9, 9)), max_tokens=97), 'max_tokens: got 97; .* from 1 to 96'),
    (lambda m: m.caption(Image.new('RGB', (9, 9)), top_p=2), '^top_p: got 2; expected a finite number above 0 up to 1'),
    (lambda m: m.chat([dict(role='user', content='a')], temperature=-1), '^temperature: got -1'),
    (lambda m: m.caption(np.zeros((3, 9, 9), np.uint8)), r'images: got an array uint8 \[3, 9, 9\]; expected an array '
                                                         r'uint8 \[H,W,3\] of one image'),
    (lambda m: m.caption(np.zeros((9, 9, 3))), r'images: got an array float64 \[9, 9, 3\]'),
    (lambda m: m.loglikelihood(Image.new('RGB', (9, 9)), 'a', []), 'answers: there are no texts')])
def test_refused_arguments(mllm, call, says):
    with pytest.raises(InputError, match=says):
        call(mllm)


def test_what_a_model_cannot_do(mllm, monkeypatch):
    monkeypatch.setattr(mllm.model.sequence, 'drop', 0.0)
    with pytest.raises(InputError, match='scale: guidance compares .* this model was trained without dropped prompts'):
        mllm.draw('a', scale=2)
    monkeypatch.setitem(mllm.model._modules, 'visual_head', None)
    with pytest.raises(InputError, match='the model has no visual head: it reads images, and draws none'):
        mllm.draw('a')
