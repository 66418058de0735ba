"""Prompts: how a question of a benchmark is worded."""
import pytest

from dtbox.errors import InputError
from dtbox.questions import Prompt, Question

ASKED = Question('1', 1, 'What is {options}?', options=dict(A='{question}', B='b'), hint='Look.')


def test_words_of_a_question():
    """Options a line each, a hint where there is one; braces of the question stay as they are."""
    prompt = Prompt('{hint}Q: {question}\n{options}Choose.', '({letter}) {text};', 'Hint: {text} ')
    assert prompt.word(ASKED) == 'Hint: Look. Q: What is {options}?\n(A) {question};(B) b;Choose.'
    assert prompt.word(Question('2', 2, 'Is it?')) == 'Q: Is it?\nChoose.'
    assert Prompt('Name it.').word(Question('3', 3, '')) == 'Name it.'
    assert Prompt.read('{question}!') == Prompt('{question}!') == Prompt.read(dict(text='{question}!'))


@pytest.mark.parametrize('value, says', [
    (' ', 'expected a text with {hint}, {question}, {options} in it'), ('{question}{question}', 'each once at most'),
    (dict(text='{question}', option='{letter}'), '`option` .* expected a text with {letter} and {text}'),
    (dict(text='{question}', hint='Hint'), '`hint` of the prompt'), (3, 'the prompt is 3'),
    (dict(text='{question}', post='!'), 'a dict of text, option, hint')])
def test_prompts_that_are_none(value, says):
    with pytest.raises(InputError, match=says):
        Prompt.read(value)


def test_what_a_prompt_would_lose():
    with pytest.raises(InputError, match='does not show the options of 1. Put {options} into it'):
        Prompt('{hint}{question}').word(ASKED)
    with pytest.raises(InputError, match='does not show the hint of 1'):
        Prompt('{question}{options}').word(ASKED)
    with pytest.raises(InputError, match='does not show the question of 2'):
        Prompt('Name it.').word(Question('2', 2, 'Is it?'))
    with pytest.raises(InputError, match="already ends with 'Yes or no.*', which the prompt adds"):
        Prompt('{question}\nYes or no?').word(Question('2', 2, 'Is it?\nYes or no?'))
