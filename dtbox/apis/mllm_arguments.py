"""Readers of the arguments of a multimodal language model."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dtbox.apis.mllm_settings import Generation
from dtbox.arguments import allow_none, iterate, read_arguments, read_count, read_number, refuse
from dtbox.counts import format_count
from dtbox.errors import ArgumentError, InputError, at, closest
from dtbox.sampling import SamplingRule

LONGEST = 10 ** 6
"""Characters of a text."""


def read_text(value: Any, what: str) -> str:
    """Return a text that is not blank, as a string."""
    if not isinstance(value, str):
        raise refuse(value, what)
    if not value.strip() or len(value) > LONGEST:
        size = f'{format_count(len(value), "character")} long' if value.strip() else 'empty'
        raise InputError(f'a text is {size}; expected {what}.')
    return str(value)


def read_prompts(value: Any) -> list[str]:
    """Return one text, or several, as a list of strings, at least one; none is blank."""
    if isinstance(value, (Mapping, set, frozenset)):
        raise refuse(value, 'a text or a list of texts')
    found = [value] if isinstance(value, str) else list(iterate(value, 'a text or a list of texts'))
    if not found:
        raise InputError('there are no texts; expected at least one.')
    return [read_text(one, 'a text or a list of texts') for one in found]


def read_question(value: Any) -> str:
    """Return a question as a string."""
    return read_text(value, 'a question')


def read_report(value: Any) -> Callable:
    """Return what is called with the progress of drawings."""
    if not callable(value):
        raise refuse(value, 'a function of one argument, a Progress')
    return value


def check_rule(settings: Generation, depths: Mapping[str, int]) -> None:
    """Raise `InputError` unless settings fit the streams of a visual head, stream -> number of depths."""
    settings.rule.check(depths)
    if isinstance(settings.scale, Mapping):
        for name in settings.scale:
            if name not in depths:
                raise InputError(f'`scale` names the stream `{name}`, which is not drawn.{closest(name, depths)} There '
                                 f'are: {", ".join(depths)}.', 'scale')


@dataclass(frozen=True)
class ReplySettings:
    """How a reply is generated.

    Attributes:
        max_tokens: most text ids.
        rule: how ids are drawn.
        seed: of the random numbers.
    """
    max_tokens: int
    rule: SamplingRule
    seed: int = 0

    @property
    def greedy(self) -> bool:
        """Whether the most likely id is taken, so that no random numbers are needed."""
        return self.rule.resolve('text').greedy


@read_arguments(max_tokens=read_count(), seed=read_count(0), temperature=read_number(0),
                top_k=allow_none(read_count()), top_p=allow_none(read_number(0, 1, above=True)))
def make_reply_settings(max_tokens: int, temperature: float = 0.0, top_k: Any = None, top_p: Any = None,
                        seed: int = 0) -> ReplySettings:
    """Return ReplySettings; InputError for values that cannot be."""
    return ReplySettings(max_tokens, SamplingRule(dict(text=temperature), *(
        None if value is None else dict(text=value) for value in (top_k, top_p))), seed)


NAMES = ('max_tokens', 'temperature', 'top_k', 'top_p', 'seed')


def read_settings(model: Any, **given: Any) -> ReplySettings:
    """Return the ReplySettings of what a caller says; `max_tokens` of the defaults where nothing is said.

    Args:
        model: MultimodalModel; a reply is no longer than its language model reads.
        given: the caller's settings; None says nothing.

    Raises:
        ArgumentError: a setting that there is not.
        InputError: values that cannot be.
    """
    for name in given:
        if name not in NAMES:
            raise ArgumentError(f'there is no such setting.{closest(name, NAMES)} There are: {", ".join(NAMES)}.', name)
    if given.get('max_tokens') is not None:
        with at('max_tokens'):
            given['max_tokens'] = read_count(1, model.model.lm.context_length)(given['max_tokens'])
    return make_reply_settings(**{'max_tokens': model.generation.max_tokens,
                                  **{name: value for name, value in given.items() if value is not None}})
