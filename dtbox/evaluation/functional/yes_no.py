"""Questions with yes or no: POPE by both published rules, MME.

POPE: Li et al., arXiv 2305.10355. MME: Fu et al., arXiv 2306.13394.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dtbox.arguments import iterate, read_arguments, read_choice, read_flag, read_kind, read_strings
from dtbox.arguments.plain import read_mapping
from dtbox.counts import format_count
from dtbox.errors import InputError

POPE_RULES = ('llava', 'lmms_eval')
PERCEPTION = ('existence', 'count', 'position', 'color', 'posters', 'celebrity', 'scene', 'landmark', 'artwork', 'OCR')
COGNITION = ('commonsense_reasoning', 'numerical_calculation', 'text_translation', 'code_reasoning')
_read_text = read_kind(str, what='a text')


@read_arguments(reply=_read_text, rule=read_choice(*POPE_RULES, 'mme'))
def read_yes_no(reply: str, rule: str) -> str:
    """Return 'yes', 'no', or '' for a reply that is neither.

    Args:
        reply: text of the model.
        rule: 'llava' (llava/eval/eval_pope.py): of the first sentence, commas removed, divided at single spaces: 'no'
            where a word is No, no or not, otherwise 'yes'. 'lmms_eval' (lmms_eval/tasks/pope): the whole reply in lower
            case, without spaces around it, must be yes or no. 'mme' (the official calculation.py): the first four
            characters in lower case: 'yes' where they hold yes, or else 'no' where they hold no.
    """
    return _classify(reply, rule)


def _classify(reply: str, rule: str) -> str:
    if rule == 'llava':
        words = reply.split('.')[0].replace(',', '').split(' ')
        return 'no' if {'No', 'not', 'no'} & set(words) else 'yes'
    if rule == 'lmms_eval':
        word = reply.lower().strip()
        return word if word in ('yes', 'no') else ''
    start = reply.lower()[:4]
    return 'yes' if 'yes' in start else 'no' if 'no' in start else ''


def _read_truths(value: Any) -> list[str]:
    words = read_strings(value)
    wrong = [word for word in words if word not in ('yes', 'no')]
    if wrong:
        raise InputError(f'the right answer is {wrong[0]!r}; expected yes or no.')
    return words


@read_arguments(replies=read_strings, truths=_read_truths, rule=read_choice(*POPE_RULES))
def pope_scores(replies: Sequence[str], truths: Sequence[str], rule: str) -> dict[str, float]:
    """Return accuracy, precision, recall, f1 and yes_ratio; yes is the positive class.

    The two rules do not compare. By 'lmms_eval' a reply that is neither yes nor no is wrong, but counts in neither
    precision nor recall, and yes_ratio is that of the right answers; by 'llava' it is that of the replies. A precision,
    recall or f1 without anything to count is 0 (LLaVA's code stops there).

    Args:
        replies: of the model.
        truths: 'yes' or 'no'.
        rule: see `read_yes_no`.

    Raises:
        InputError: no replies, or not as many as right answers.
    """
    if not replies or len(replies) != len(truths):
        raise InputError(f'{format_count(len(replies), "reply")} came to '
                         f'{format_count(len(truths), "question")}; expected one each.', 'replies')
    said = [_classify(reply, rule) for reply in replies]
    pairs = list(zip(said, truths))
    positive, missed = pairs.count(('yes', 'yes')), pairs.count(('no', 'yes'))
    precision = _divide(positive, positive + pairs.count(('yes', 'no')))
    recall = _divide(positive, positive + missed)
    counted = said if rule == 'llava' else list(truths)
    return dict(accuracy=sum(a == b for a, b in pairs) / len(pairs), precision=precision, recall=recall,
                f1=_divide(2 * precision * recall, precision + recall), yes_ratio=counted.count('yes') / len(counted))


def _read_pairs(value: Any) -> dict[str, list[tuple[bool, ...]]]:
    pairs = {name: [tuple(map(read_flag, iterate(pair, 'a pair of bools'))) for pair in iterate(some, 'pairs')]
             for name, some in read_mapping(value, 'a dict category -> pairs, one for each image').items()}
    for name, some in pairs.items():
        odd = [len(pair) for pair in some if len(pair) != 2]
        if odd or not some:
            found = f'an image with {format_count(odd[0], "question")}' if odd else 'no images'
            raise InputError(f'the category {name} has {found}; MME asks two questions about each image.')
    return pairs


@read_arguments(right=_read_pairs)
def mme_scores(right: Mapping[str, Sequence[Sequence[bool]]]) -> dict[str, dict[str, float]]:
    """Return category -> dict(accuracy, accuracy_plus, score) of MME.

    `accuracy` is the fraction of right answers, `accuracy_plus` that of images with two right ones, both in [0, 1];
    `score` is 100 times their sum, at most 200. The sum of the scores of `PERCEPTION` is at most 2000, that of
    `COGNITION` 800.

    Args:
        right: category -> for each image whether the answers to its two questions are right.

    Raises:
        InputError: an image that does not have two answers, a category without images.
    """
    scores = {}
    for category, images in right.items():
        accuracy = sum(sum(pair) for pair in images) / (2 * len(images))
        plus = sum(all(pair) for pair in images) / len(images)
        scores[category] = dict(accuracy=accuracy, accuracy_plus=plus, score=100 * (accuracy + plus))
    return scores


def _divide(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
