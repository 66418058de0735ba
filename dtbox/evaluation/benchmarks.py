"""Scores of benchmarks with short answers and captions: VQAv2, GQA, CIDEr-D. `benchmark_choices.py` has those with
options."""
from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch

from dtbox import distributed
from dtbox.errors import InputError, closest
from dtbox.evaluation.base import Metric
from dtbox.evaluation.functional import cider_ceilings, cider_d, gqa_match, tokenize_caption, vqa_accuracy
from dtbox.evaluation.functional.short_answers import GQA_RULES, VQA_RULES
from dtbox.evaluation.info import MetricInfo
from dtbox.evaluation.means import describe_mean
from dtbox.mllm_output import Reply
from dtbox.questions import Question
from dtbox.registry import METRICS
from dtbox.structures import Batch


class BenchmarkScore(Metric):
    """Base of scores of the questions of a benchmark.

    A concrete one writes `rate`, what a reply is worth by itself; where its values need more than the mean rate, also
    `describe` and `values`, which read `rows`.

    Args:
        prefix: as in `Metric`.

    Attributes:
        scored: name under which the rates of single samples are kept.
        rows: (category, group, what `describe` returns) of each question so far, of all ranks after `sync`.
    """
    requires = ('replies',)
    scored = ''

    def reset(self) -> None:
        """See Metric."""
        super().reset()
        self.rows: list[tuple[str, str, Any]] = []

    def rate(self, asked: Question, reply: Reply) -> float:
        """Return what a reply is worth, a number in [0, 1]."""
        raise NotImplementedError(f'{type(self).__name__} must write rate(asked, reply).')

    def describe(self, asked: Question, reply: Reply) -> Any:
        """Return what `values` need to know of a reply; by default its rate."""
        return self.rate(asked, reply)

    def update(self, batch: Batch, outputs: Any) -> None:
        """See Metric."""
        found: list[tuple[int, Question, Reply]] = []
        unasked, unknown = 0, 0
        for index, replies in enumerate(outputs.replies):
            reply = next((reply for reply in replies if reply.asked is not None), None)
            if reply is None or reply.asked is None:
                unasked += 1
            elif not reply.asked.answers:
                unknown += 1
            else:
                found.append((index, reply.asked, reply))
        for reason, count in (('images without a question of a benchmark', unasked),
                              ('questions without a right answer in the file', unknown)):
            if count:
                self.leave_out(reason, count)
        self.rows += [(name_category(asked.category), asked.group, self.describe(asked, reply))
                      for _, asked, reply in found]
        if self.scored and found:
            rates = torch.tensor([float(self.rate(asked, reply)) for _, asked, reply in found], dtype=torch.float64)
            self.keep(self.scored, rates, torch.tensor([index for index, *_ in found]))

    def values(self) -> dict[str, float]:
        """See Metric: the mean rate, under the name `scored`, and that of each category."""
        return self.average(self.scored, ((category, rate) for category, _, rate in self.rows))

    def merge(self, other: Any) -> Metric:
        """See Metric."""
        super().merge(other)
        self.rows = self.rows + other.rows
        return self

    def sync(self) -> None:
        """See Metric."""
        if not self.synced:
            super().sync()
            self.rows = [row for part in distributed.gather_objects(self.rows) for row in part]

    def average(self, name: str, rows: Iterable[tuple[str, float]]) -> dict[str, float]:
        """Return the mean of all rates with its standard error, and the mean of each category.

        Args:
            name: of the mean; categories follow after a slash.
            rows: (category, rate).
        """
        parts: dict[str, list[float]] = {}
        for category, rate in rows:
            parts.setdefault(category, []).append(float(rate))
        every = [rate for rates in parts.values() for rate in rates]
        if not every:
            return {}
        values = describe_mean(name, len(every), sum(every), sum(rate * rate for rate in every))
        return {**values, **{f'{name}/{part}': sum(some) / len(some) for part, some in sorted(parts.items()) if part}}


def name_category(category: str) -> str:
    """Return a category as a part of the name of a value."""
    return re.sub(r'[^\w.()+-]+', '_', category).strip('_')


def describe_accuracy(name: str, label: str, order: int, headline: int = 0) -> list[MetricInfo]:
    """Return the infos of an accuracy: of all questions, and by category."""
    return [MetricInfo(name, label, '', '.2%', 'higher', 'understanding', order=order, headline=headline),
            MetricInfo(f'{name}/{{category}}', label, '', '.2%', 'higher', 'understanding', order=order + 1)]


def check_rule(rule: str, rules: Iterable[str]) -> str:
    """Return a rule; `InputError` where there is none of that name."""
    known = tuple(rules)
    if rule not in known:
        raise InputError(f'there is no rule {rule!r}.{closest(rule, known)} There are: {", ".join(known)}.', 'rule')
    return rule


@METRICS.register_module()
class VQAAccuracy(BenchmarkScore):
    """`vqa_accuracy` of VQAv2, and by kind of answer.

    Args:
        rule: 'official', 'always' or 'lmms_eval'; see `functional.vqa_accuracy`.
        prefix: as in `Metric`.
    """
    info = describe_accuracy('vqa_accuracy', 'VQA accuracy', 20)
    scored = 'vqa_accuracy'

    def __init__(self, rule: str = 'official', prefix: str = '') -> None:
        super().__init__(prefix)
        self.rule = check_rule(rule, VQA_RULES)

    def rate(self, asked: Question, reply: Reply) -> float:
        """See BenchmarkScore."""
        return vqa_accuracy(reply.reply, list(asked.answers), self.rule)


@METRICS.register_module()
class GQAAccuracy(BenchmarkScore):
    """`gqa_accuracy`: exact match, and by structural type of the question.

    Args:
        rule: 'lmms_eval' or 'llava'; see `functional.gqa_match`.
        prefix: as in `Metric`.
    """
    info = describe_accuracy('gqa_accuracy', 'GQA accuracy', 22)
    scored = 'gqa_accuracy'

    def __init__(self, rule: str = 'lmms_eval', prefix: str = '') -> None:
        super().__init__(prefix)
        self.rule = check_rule(rule, GQA_RULES)

    def rate(self, asked: Question, reply: Reply) -> bool:
        """See BenchmarkScore."""
        return gqa_match(reply.reply, asked.answers[0], self.rule)


@METRICS.register_module()
class CIDErD(BenchmarkScore):
    """`cider_d` of captions in the unit of papers, 100 times `functional.cider_d`, beside what right captions score:
    `cider_d_itself` and `cider_d_leave_one_out`, see `functional.cider_ceilings`.

    Captions and references are tokenized by `functional.tokenize_caption`. Document frequencies are those of the set
    that is scored; with one image every score is 0.
    """
    info = [MetricInfo('cider_d', 'CIDEr-D', 'x 100', '.1f', 'higher', 'understanding', order=24),
            MetricInfo('cider_d_itself', 'CIDEr-D of right captions, by themselves', 'x 100', '.1f', 'none',
                       'understanding', order=25),
            MetricInfo('cider_d_leave_one_out', 'CIDEr-D of right captions, by the others', 'x 100', '.1f', 'none',
                       'understanding', order=26)]

    def describe(self, asked: Question, reply: Reply) -> tuple[str, list[str]]:
        """Return the caption and the right ones, tokenized."""
        return tokenize_caption(reply.reply), [tokenize_caption(text) for text in asked.answers]

    def values(self) -> dict[str, float]:
        """See Metric."""
        if not self.rows:
            return {}
        replies, references = zip(*(rate for *_, rate in self.rows))
        itself, others = cider_ceilings(list(references))
        scores = dict(cider_d=cider_d(list(replies), list(references)), cider_d_itself=itself,
                      cider_d_leave_one_out=others)
        return {name: 100 * sum(some) / len(some) for name, some in scores.items() if some}
