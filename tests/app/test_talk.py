"""Chat and drawings: what the model itself gives, place by place; probabilities; blanked streams."""
import threading
import time

import numpy as np
import pytest
import torch

from dtbox.app.functions import certainty, talk
from dtbox.app.functions.images import show_image
from dtbox.errors import InputError


@pytest.fixture(scope='module')
def picture(talking):
    return show_image(talking, np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8))


@pytest.fixture(scope='module')
def steps(talking):
    """A greedy drawing without guidance."""
    return list(talk.draw(talking, 'red apple', scale=1.0, temperature=0.0))


def test_a_drawing_place_by_place(talking, steps):
    """16 places, the last one with what `draw` gives."""
    assert [one.done for one in steps] == list(range(1, 17)) and all(one.codes is None for one in steps[:-1])
    images, codes = talking.model.draw('red apple', scale=1.0, temperature=0.0, report=print, codes=True)
    assert all(torch.equal(steps[-1].codes[name], codes[name][0]) for name in codes)
    assert (steps[0].image[:8, 8:] == 128).all() and not (steps[-1].image[:8, 8:] == 128).all()


def test_a_greedy_code_is_the_most_likely(talking, steps):
    """At every place and depth the code that was drawn comes first."""
    for place in (0, 7, 15):
        found = certainty.measure_place(talking, steps[-1], place, most=64)
        assert [(one.stream, one.depth) for one in found] == [('pixel', 0), ('pixel', 1), ('semantic', 0),
                                                              ('semantic', 1)]
        for one in found:
            assert one.best[0][0] == one.code == int(steps[-1].codes[one.stream][0, place, one.depth])
            assert one.probability == one.best[0][1] and sum(p for _, p in one.best) == pytest.approx(1, abs=1e-5)


def test_work_that_nobody_looks_at_ends():
    """What it tells next raises, so that a drawing does not hold the model for a page that was closed."""
    ended = threading.Event()

    def work(tell):
        try:
            while True:
                tell(1)
                time.sleep(0.001)
        finally:
            ended.set()
    looking = talk.follow(work)
    next(looking)
    assert not ended.is_set()
    looking.close()
    assert ended.wait(20)


def test_what_work_raises_comes_out():
    def work(tell):
        tell(1)
        raise InputError('no.')
    seen = []
    with pytest.raises(InputError, match='no.'):
        for value in talk.follow(work):
            seen.append(value)
    assert seen == [1]


def test_answers_without_a_stream(talking, picture):
    """The first row is what the model says; blanked streams leave no trace."""
    rows = certainty.ask_blanked(talking, picture, 'what is it?')
    answer = talking.model.ask(picture.tensor, 'what is it?')[0]
    assert [row.without for row in rows] == ['', 'pixel', 'semantic'] and rows[0].answer == answer
    if answer:
        nats = [float(talking.model.loglikelihood(picture.tensor, 'what is it?', answer)[0, 0])] * 2
        assert rows[0].nats == nats[0] and rows[1].nats != nats[0]
    assert not talking.model.model.visual_embedding._blanks


def test_a_conversation(talking, picture, monkeypatch):
    said = []
    monkeypatch.setattr(type(talking.model), 'chat', lambda self, messages, **how: said.append((messages, how)) or dict(
        role='assistant', content='an apple'))
    before = []
    after = talk.chat(talking, before, 'what is it?', 'IMAGE', temperature=0.5)
    assert before == [] and after[-1]['content'] == 'an apple' and said[0][1] == dict(temperature=0.5, seed=0)
    assert after[0]['content'] == [dict(type='image', image='IMAGE'), dict(type='text', text='what is it?')]
    assert [one['role'] for one in talk.chat(talking, after, 'sure?')] == ['user', 'assistant'] * 2


@pytest.mark.parametrize('call, says', [
    (lambda one, tiny, drawn: talk.chat(one, [], ' '), 'the question is empty'),
    (lambda one, tiny, drawn: list(talk.draw(one, '')), 'the prompt is empty'),
    (lambda one, tiny, drawn: list(talk.draw(tiny, 'a cat')), 'tiny is a tokenizer; this tab needs a multimodal'),
    (lambda one, tiny, drawn: certainty.measure_place(one, None, 0), 'there is no whole drawing yet'),
    (lambda one, tiny, drawn: certainty.measure_place(one, drawn, 16), 'there is no place 16; the drawing has')])
def test_refusals(talking, opened, steps, call, says):
    with pytest.raises(InputError, match=says):
        call(talking, opened, steps[-1])
