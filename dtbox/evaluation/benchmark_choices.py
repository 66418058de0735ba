"""Scores of benchmarks with yes or no and with letters: POPE, MME, SEED-Bench, MMBench."""
from __future__ import annotations

from collections.abc import Iterator

from dtbox.errors import InputError
from dtbox.evaluation.benchmarks import BenchmarkScore, check_rule, describe_accuracy
from dtbox.evaluation.functional import circular_hits, find_letter, mme_scores, pope_scores, read_yes_no
from dtbox.evaluation.functional.choices import LETTER_RULES
from dtbox.evaluation.functional.yes_no import COGNITION, PERCEPTION, POPE_RULES
from dtbox.evaluation.info import MetricInfo
from dtbox.mllm_output import Reply
from dtbox.questions import Question
from dtbox.registry import METRICS

POPE_VALUES = dict(accuracy='accuracy', precision='precision', recall='recall', f1='F1', yes_ratio='yes ratio')
LOCAL_JUDGE = 'exact_matching'


@METRICS.register_module()
class POPE(BenchmarkScore):
    """`pope_accuracy`, `pope_precision`, `pope_recall`, `pope_f1` and `pope_yes_ratio`: of each category, and by the
    rule 'llava' the mean of the categories, by 'lmms_eval' of all questions together, as the two publish them.

    Args:
        rule: 'llava' or 'lmms_eval'; see `functional.pope_scores`. Numbers by different rules do not compare.
        prefix: as in `Metric`.
    """
    info = [MetricInfo(f'pope_{name}{part}', f'POPE, {label}', '', '.2%',
                       'none' if name == 'yes_ratio' else 'higher', 'understanding', order=30 + i)
            for i, (name, label) in enumerate(POPE_VALUES.items()) for part in ('', '/{category}')]
    scored = 'pope_accuracy'

    def __init__(self, rule: str = 'llava', prefix: str = '') -> None:
        super().__init__(prefix)
        self.rule = check_rule(rule, POPE_RULES)

    def rate(self, asked: Question, reply: Reply) -> bool:
        """Return whether the reply is right."""
        return read_yes_no(reply.reply, self.rule) == asked.answers[0]

    def describe(self, asked: Question, reply: Reply) -> tuple[str, str]:
        """Return reply and right answer."""
        return reply.reply, asked.answers[0]

    def values(self) -> dict[str, float]:
        """See Metric."""
        parts: dict[str, list[tuple[str, str]]] = {}
        for category, _, pair in self.rows:
            parts.setdefault(category, []).append(pair)
        if not parts:
            return {}
        scores = {part: self._score(pairs) for part, pairs in sorted(parts.items())}
        if self.rule == 'llava':
            whole = {name: sum(score[name] for score in scores.values()) / len(scores) for name in POPE_VALUES}
        else:
            whole = self._score([pair for pairs in parts.values() for pair in pairs])
        values = {f'pope_{name}': value for name, value in whole.items()}
        return {**values, **{f'pope_{name}/{part}': value for part, score in scores.items() if part
                             for name, value in score.items()}}

    def _score(self, pairs: list[tuple[str, str]]) -> dict[str, float]:
        replies, truths = zip(*pairs)
        return pope_scores(list(replies), list(truths), self.rule)


@METRICS.register_module()
class MME(BenchmarkScore):
    """`mme_perception` (at most 2000) and `mme_cognition` (800), the sums of the scores of their categories, and of
    each category `mme/CATEGORY` (200), `mme_accuracy/CATEGORY`, `mme_accuracy_plus/CATEGORY`; see
    `functional.mme_scores`.

    A sum is missing where one of its categories is, and an image of which not both questions were asked is left out.
    """
    info = [MetricInfo('mme_perception', 'MME, perception', '', '.1f', 'higher', 'understanding', order=40),
            MetricInfo('mme_cognition', 'MME, cognition', '', '.1f', 'higher', 'understanding', order=41),
            MetricInfo('mme/{category}', 'MME', '', '.1f', 'higher', 'understanding', order=42),
            MetricInfo('mme_accuracy/{category}', 'MME, accuracy', '', '.2%', 'higher', 'understanding', order=43),
            MetricInfo('mme_accuracy_plus/{category}', 'MME, accuracy+', '', '.2%', 'higher', 'understanding',
                       order=44)]
    scored = 'mme_accuracy'

    def rate(self, asked: Question, reply: Reply) -> bool:
        """Return whether the reply is right."""
        return read_yes_no(reply.reply, 'mme') == asked.answers[0]

    def values(self) -> dict[str, float]:
        """See Metric."""
        right = {category: whole for category, images in self._images().items()
                 if (whole := [hits for hits in images if len(hits) == 2])}
        scores = mme_scores(right)
        values: dict[str, float] = {}
        for name, parts in (('mme_perception', PERCEPTION), ('mme_cognition', COGNITION)):
            if set(parts) <= set(scores):
                values[name] = sum(scores[part]['score'] for part in parts)
        for category, score in scores.items():
            values.update({f'mme/{category}': score['score'], f'mme_accuracy/{category}': score['accuracy'],
                           f'mme_accuracy_plus/{category}': score['accuracy_plus']})
        return values

    @property
    def skipped(self) -> str:
        """See Metric; names what is missing in a sum."""
        images = self._images()
        missing = [f'{name} lacks {", ".join(part for part in parts if part not in images)}'
                   for name, parts in (('mme_perception', PERCEPTION), ('mme_cognition', COGNITION))
                   if images and not set(parts) <= set(images)]
        odd = sum(len(hits) != 2 for some in images.values() for hits in some)
        lost = f'images of which not both questions were asked ({odd})' if odd else ''
        return '; '.join(filter(None, (super().skipped, lost, *missing)))

    def _images(self) -> dict[str, list[list[bool]]]:
        """Return category -> for each image whether its answers are right."""
        right: dict[str, dict[str, list[bool]]] = {}
        for category, group, hit in self.rows:
            right.setdefault(category, {}).setdefault(group, []).append(bool(hit))
        return {category: list(groups.values()) for category, groups in sorted(right.items())}


@METRICS.register_module()
class MultipleChoice(BenchmarkScore):
    """`choice_accuracy`: the letter of the reply is the right one, and by category; `letter_found`: fraction of replies
    that choose an option. Of questions whose options are rotated only the first order counts; with `circular` there
    is also `circular_accuracy`, where all rotations must be right (CircularEval of MMBench).

    Args:
        rule: how a letter is found, 'first_character' or 'vlmevalkit'; see `functional.find_letter`.
        circular: whether the questions come with rotations of their options.
        judge: 'exact_matching' finds the letter here. VLMEvalKit's other judges are models behind a network, which
            dtbox does not ask.
        prefix: as in `Metric`.

    Raises:
        InputError: an unknown rule, or another judge.
    """
    info = [*describe_accuracy('choice_accuracy', 'right letter', 50),
            *describe_accuracy('circular_accuracy', 'right letter in all rotations', 52),
            MetricInfo('letter_found', 'replies that choose an option', '', '.2%', 'none', 'understanding', order=54)]
    scored = 'choice_accuracy'

    def __init__(self, rule: str, circular: bool = False, judge: str = LOCAL_JUDGE, prefix: str = '') -> None:
        super().__init__(prefix)
        self.rule, self.circular = check_rule(rule, LETTER_RULES), circular
        if judge != LOCAL_JUDGE:
            raise InputError(f'the judge {judge!r} is a model behind a network, which dtbox does not ask; expected '
                             f'{LOCAL_JUDGE!r}. Measure with that, and give the file of answers to VLMEvalKit where '
                             'its judge is wanted.', 'judge')

    def rate(self, asked: Question, reply: Reply) -> bool:
        """Return whether the letter is right."""
        return find_letter(reply.reply, asked.options, self.rule) == asked.answers[0]

    def describe(self, asked: Question, reply: Reply) -> tuple[bool, bool, bool]:
        """Return whether the letter is right, whether it is an option's, and whether the order is the first."""
        letter = find_letter(reply.reply, asked.options, self.rule)
        return letter == asked.answers[0], letter in asked.options, not asked.group or asked.group == asked.key

    def values(self) -> dict[str, float]:
        """See Metric."""
        if not self.rows:
            return {}
        values = self.average('choice_accuracy', ((category, hit) for category, _, (hit, _, first) in self.rows
                                                  if first))
        if self.circular:
            category_of = {group: category for category, group, (*_, first) in self.rows if first}
            hits = circular_hits((group, hit) for _, group, (hit, *_) in self.rows)
            values.update(self.average('circular_accuracy', _name_groups(hits, category_of)))
        return {**values, 'letter_found': sum(found for *_, (_, found, _) in self.rows) / len(self.rows)}


def _name_groups(hits: dict[str, bool], category_of: dict[str, str]) -> Iterator[tuple[str, bool]]:
    """Yield (category, hit) of each group whose first order is there, as VLMEvalKit counts."""
    yield from ((category_of[group], hit) for group, hit in hits.items() if group in category_of)
