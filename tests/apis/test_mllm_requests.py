"""Many questions at once: as each gets alone, in their order, each with its own settings."""
import numpy as np
import pytest
import torch
from PIL import Image

from dtbox.apis.mllm_requests import Request, answer_requests, cut, score_requests
from dtbox.errors import InputError
from dtbox.mllm.contexts import Context
from dtbox.mllm.text_generation import measure_answers, measure_loglikelihood


def make_messages(i, text='what is it?', images=1):
    rng = np.random.default_rng(i)
    shown = [Image.fromarray(rng.integers(0, 255, (2, 2, 3), dtype=np.uint8)).resize((32, 32)) for _ in range(images)]
    return [dict(role='user', content=[*(dict(type='image', image=image) for image in shown), text])]


def test_images_texts_and_talks_in_one_call(mllm):
    """No image, one, two, a talk: the reply that `chat` gives, whatever stands beside it."""
    talk = [*make_messages(3), dict(role='assistant', content='a face'), dict(role='user', content='yes')]
    asked = [make_messages(0, images=2), talk, make_messages(1, 'a face', images=0), make_messages(2, 'what')]
    wanted = [mllm.chat(messages, may_draw=False, max_tokens=5)['content'] for messages in asked]
    for batch in (1, 3, None):
        assert answer_requests(mllm, [Request(messages, 5) for messages in asked], batch) == wanted
    assert answer_requests(mllm, []) == []


def test_each_request_has_its_own_settings(mllm):
    """Lengths, temperatures and seeds; a drawn reply does not depend on the others."""
    hot = [Request(make_messages(i), 5, temperature=3.0, seed=i % 2) for i in range(3)]
    alone = [answer_requests(mllm, [request])[0] for request in hot]
    mixed = answer_requests(mllm, [hot[2], Request(make_messages(0), 1), hot[0], Request(make_messages(0), 6), hot[1]])
    assert [mixed[2], mixed[4], mixed[0]] == alone
    tokens = mllm.model.sequence.tokens
    assert len(tokens.encode(mixed[1])) <= 1 < len(tokens.encode(mixed[3]))
    assert mixed[3].startswith(mixed[1])


@pytest.mark.parametrize('text, until, left', [
    ('a b. c', ('.',), 'a b'), ('a b. c', ('c', 'b'), 'a'), ('a b', ('x', ''), 'a b'), ('a b', (), 'a b'),
    ('\n\na', ('\n\n',), '')])
def test_ends(text, until, left):
    assert cut(text, until) == left


def test_scores_are_those_of_the_model(mllm):
    """As `loglikelihood` has them, in order; of a talk only the last answer counts."""
    asked = [make_messages(i, 'what is it?' if i else 'what') for i in range(3)]
    answers = ['red apple', 'yes', 'a face']
    found = score_requests(mllm, list(zip(asked, answers)), 2)
    for i, (score, _) in enumerate(found):
        image = asked[i][0]['content'][0]['image']
        wanted = mllm.loglikelihood(image, asked[i][0]['content'][1], [answers[i]])
        assert score == pytest.approx(wanted.item(), abs=1e-4)
    talk = [*asked[0], dict(role='assistant', content='a long face indeed'), dict(role='user', content='yes')]
    score, _ = score_requests(mllm, [(talk, 'yes')])[0]
    assert abs(score) < abs(score_requests(mllm, [(talk, 'a long face indeed yes')])[0][0])


def test_greedy_answers_are_told(mllm):
    """An answer is greedy where every id of it is the largest logit."""
    context = Context.of_text(mllm.model.sequence.tokens.encode('a face'))
    ids = []
    for _ in range(3):
        scores = torch.tensor([measure_loglikelihood(mllm.model, [context], [[*ids, i]])[0]
                               for i in range(mllm.model.sequence.tokens.vocab_size)])
        ids.append(int(scores.argmax()))
    (score, greedy), (_, other) = measure_answers(mllm.model, [context] * 2, [ids, [*ids[:2], (ids[2] + 1) % 40]])
    assert greedy and not other and score == pytest.approx(float(scores.max()), abs=1e-4)


def test_what_is_wrong_is_named(mllm):
    good = make_messages(0)
    with pytest.raises(InputError, match=r'^requests\.1\.0\.image.*none\.png does not exist'):
        answer_requests(mllm, [Request(good), Request([dict(role='user', content=[
            dict(type='image', image='none.png'), 'what?'])])])
    with pytest.raises(InputError, match=r'^requests\.1.*language model reads 96'):
        answer_requests(mllm, [Request(good), Request(make_messages(1, images=7))])
    with pytest.raises(InputError, match=r'^requests\.0.*max_tokens'):
        answer_requests(mllm, [Request(good, 0)])
    with pytest.raises(InputError, match=r'^requests\.0.*a text is empty'):
        score_requests(mllm, [(good, ' ')])
