"""Benchmarks of multimodal language models: prompt, decoding, metrics of the replies, format of the answer file."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dtbox.apis.opening import MLLM
from dtbox.arguments import describe
from dtbox.datasets.benchmarks.answers import find_format
from dtbox.errors import InputError, at
from dtbox.protocols.base import Protocol
from dtbox.questions import Prompt
from dtbox.registry import PROTOCOLS
from dtbox.sampling import SamplingRule
from dtbox.values import check_value
from dtbox.values.kinds import Positive, Seed

RULE = ('temperature', 'top_k', 'top_p')
DECODING = ('max_tokens', *RULE, 'seed')


@PROTOCOLS.register_module()
class BenchmarkReplies(Protocol):
    """Ask a language model the questions of a benchmark once, score the replies, and write them as its answer file.

    Args:
        prompt: how a question is worded, see `dtbox.questions.Prompt`; like all other settings it is part of the hash.
        decoding: dict(max_tokens, temperature), and top_k, top_p, seed where the temperature is above 0; the random
            numbers of a reply depend on the seed and the key of its question.
        metrics: as in `Protocol`; () for a benchmark that is judged elsewhere.
        answers: format of the answer file, see `dtbox.datasets.benchmarks.answers`.
        judge: sentence on who judges the replies where dtbox does not; it is shown before the run.

    Raises:
        InputError: settings that are missing or unknown; neither metrics nor a judge.
    """
    use = MLLM
    unhashed = ('answers', 'judge')

    def __init__(self, prompt: Any, decoding: Mapping[str, Any], metrics: Sequence | dict = (), answers: str = 'llava',
                 judge: str = '') -> None:
        super().__init__(metrics)
        self.prompt = Prompt.read(prompt)
        with at('decoding'):
            self.max_tokens, self.rule, self.seed = read_decoding(decoding)
        self.answers, self.judge = answers, judge
        find_format(answers)
        if not metrics and not judge:
            raise InputError('the protocol has no metrics, so nothing would be scored. Give some, or say in `judge` '
                             'who judges the replies.', 'metrics')


def read_decoding(values: Any) -> tuple[int, SamplingRule, int]:
    """Return (most text ids of a reply, how they are drawn, seed) of a config."""
    if not isinstance(values, Mapping) or not {'max_tokens', 'temperature'} <= set(values) <= set(DECODING):
        raise InputError(f'got {describe(values)}; expected a dict of max_tokens and temperature, and of '
                         'top_k, top_p and seed where wanted.')
    check_value(values['max_tokens'], Positive, 'max_tokens')
    check_value(values.get('seed', 0), Seed, 'seed')
    rule = SamplingRule(**{name: values[name] for name in RULE if name in values})
    return values['max_tokens'], rule, values.get('seed', 0)
