"""Questions of benchmarks about images: what a file says of one, and how a prompt words it."""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Tuple, Union

from dtbox.arguments import describe
from dtbox.errors import InputError

GAPS = ('{hint}', '{question}', '{options}')
"""What a prompt may show of a question."""
LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'


@dataclass(frozen=True)
class Question:
    """One question of a benchmark.

    Attributes:
        key: name of the sample.
        id: of the question as the official file has it.
        text: the question.
        answers: right answers; () where the file has none.
        category: part of the benchmark that it counts for, or ''.
        options: letter -> text of the answers to choose from; {} where there are none.
        hint: text that is given beside the question, or ''.
        group: questions that are scored together have the same, such as the two about an image of MME; '' for none.
        image: path of the image below the folder of images; '' where the file holds the image itself.
        row: what an answer file repeats of the official file.
    """
    key: str
    id: Union[int, str]
    text: str
    answers: Tuple[str, ...] = ()
    category: str = ''
    options: Mapping[str, str] = field(default_factory=dict)
    hint: str = ''
    group: str = ''
    image: str = ''
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Prompt:
    """How a question is worded.

    Attributes:
        text: with `{question}`, `{options}` and `{hint}` where the benchmark has them; captions have none of them.
        option: a line of the options, with `{letter}` and `{text}`.
        hint: what stands in the place of `{hint}` where a question has one, with `{text}`.

    Raises:
        InputError: no text, a gap that comes twice, an option without its letter or text.
    """
    text: str
    option: str = '{letter}. {text}\n'
    hint: str = '{text}\n'

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip() or any(self.text.count(gap) > 1 for gap in GAPS):
            raise InputError(f'`text` of the prompt is {self.text!r}; expected a text with {", ".join(GAPS)} in it, '
                             'each once at most.', 'prompt.text')
        for name, gaps in (('option', ('{letter}', '{text}')), ('hint', ('{text}',))):
            value = getattr(self, name)
            if not isinstance(value, str) or any(value.count(gap) != 1 for gap in gaps):
                raise InputError(f'`{name}` of the prompt is {value!r}; expected a text with {" and ".join(gaps)} in '
                                 'it, once.', f'prompt.{name}')

    @classmethod
    def read(cls, value: Any) -> Prompt:
        """Return the Prompt of a config: a text, or a dict of its fields."""
        if isinstance(value, Prompt):
            return value
        settings = dict(text=value) if isinstance(value, str) else value
        names = [f.name for f in fields(cls)]
        if not isinstance(settings, Mapping) or 'text' not in settings or set(settings) - set(names):
            raise InputError(f'the prompt is {describe(value)}; expected a text such as {"{question}"!r}, or a dict of '
                             f'{", ".join(names)}.', 'prompt')
        return cls(**settings)

    def word(self, question: Question) -> str:
        """Return what the model is asked.

        Raises:
            InputError: the prompt does not show the question, its options or its hint; or the question ends with the
                words that the prompt adds, so that they would come twice.
        """
        for gap, value in zip(GAPS, (question.hint, question.text, question.options)):
            if value and gap not in self.text:
                raise InputError(f'the prompt {self.text!r} does not show the {gap[1:-1]} of {question.key}. Put {gap} '
                                 'into it.', 'prompt')
        tail = self.text.partition('{question}')[2].strip()
        if tail and question.text.rstrip().endswith(tail):
            raise InputError(f'the question {question.key} already ends with {tail!r}, which the prompt adds. Take '
                             "prompt='{question}' for a file whose questions have it.", 'prompt')
        options = ''.join(fill(self.option, {'{letter}': letter, '{text}': text})
                          for letter, text in question.options.items())
        hint = fill(self.hint, {'{text}': question.hint}) if question.hint else ''
        return fill(self.text, dict(zip(GAPS, (hint, question.text, options))))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return a text with each gap replaced by its value; gaps within values stay as they are."""
    return re.sub('|'.join(map(re.escape, values)), lambda match: values[match[0]], text)
