"""Whatever a caller hands to a language model, the answer is a result, or an `InputError` that names the argument."""
import pytest
import torch
from PIL import Image

from tests.fuzz_api import Entry, check_finite, check_kind, make_calls

CALLS = 80


def check_drawings(value):
    if isinstance(value, tuple):
        value, codes = value
        assert all(0 <= part.min() <= part.max() < 64 for part in codes.values())
    check_finite(value, ndim=5)


def check_replies(value):
    assert isinstance(value, list) and all(isinstance(text, str) for text in value)


def check_numbers(value):
    assert value.dtype == torch.float64 and (value <= 0).all()


def list_entries(m):
    """Return the methods of a model with valid arguments, by name."""
    image, flag = [lambda: Image.new('RGB', (40, 30)), lambda: torch.zeros(1, 3, 32, 32)], [lambda: True, lambda: False]
    text, none = [lambda: 'a face'], [lambda: None]
    talk = [lambda: [dict(role='user', content='a face')],
            lambda: [dict(role='user', content=[dict(type='image', image=Image.new('RGB', (9, 9))), 'what is it?'])]]
    draw = dict(prompts=[*text, lambda: ['a face', 'yes']], n=[lambda: 1, lambda: 2], scale=[*none, lambda: 1.0],
                temperature=[*none, lambda: 0, lambda: dict(pixel=1, semantic=[0.5, 1])], top_k=[*none, lambda: 3],
                top_p=[*none, lambda: 0.9], interval=[*none, lambda: (0, 4)], seed=[lambda: 0], codes=flag,
                report=[*none, lambda: str])
    reply = dict(max_tokens=[*none, lambda: 3], temperature=[lambda: 0, lambda: 1.5], top_k=[*none, lambda: 2],
                 top_p=[*none, lambda: 0.5], seed=[lambda: 1])
    return dict(draw=Entry(m.draw, draw, check_drawings),
                ask=Entry(m.ask, dict(images=image, question=text, **reply), check_replies),
                caption=Entry(m.caption, dict(images=image, **reply), check_replies),
                chat=Entry(m.chat, dict(messages=talk, may_draw=flag, **reply), check_kind(dict)),
                loglikelihood=Entry(m.loglikelihood, dict(images=image, question=text,
                                                          answers=[*text, lambda: ['yes', 'a face']]), check_numbers))


def test_odd_calls(mllm, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)  # odd values may be taken for relative paths
        outcomes = make_calls(list_entries(mllm), CALLS, seed=0)
    assert [str(outcome) for outcome in outcomes if outcome.fault] == []
    assert sum(bool(outcome.result) for outcome in outcomes) > 5
