"""Short answers to questions about images: VQAv2's accuracy and GQA's exact match, each by named published rules.

VQA: Antol et al., arXiv 1505.00468; Goyal et al., arXiv 1612.00837. GQA: Hudson and Manning, arXiv 1902.09506.
"""
from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Any

from dtbox.arguments import read_arguments, read_choice, read_kind, read_strings
from dtbox.errors import InputError

VQA_RULES = ('official', 'always', 'lmms_eval')
GQA_RULES = ('lmms_eval', 'llava')
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
PERIODS = 32
"""Periods of a text that are removed at most: the official code hands `re.UNICODE`, which is 32, over as the count."""
NUMBERS = dict(none='0', zero='0', one='1', two='2', three='3', four='4', five='5', six='6', seven='7', eight='8',
               nine='9', ten='10')
ARTICLES = ('a', 'an', 'the')
SHORT_FORMS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock
oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's
where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've
y'all y'all'll y'all'd've you'd you'd've you'll you're you've
""".split()
"""Contractions of the official list, which finds them where one apostrophe is missing."""


def _list_contractions() -> dict[str, str]:
    """Return word with one apostrophe missing -> contraction."""
    found = {word[:at] + word[at + 1:]: word for word in SHORT_FORMS for at, mark in enumerate(word) if mark == "'"}
    return {**found, "somebody'd": 'somebodyd'}  # the one exception of the official list


CONTRACTIONS = _list_contractions()
_read_text = read_kind(str, what='a text')


@read_arguments(text=_read_text)
def normalize_vqa(text: str) -> str:
    """Normalise an answer as the official VQA evaluation does a reply (GT-Vision-Lab/VQA, vqaEval.py).

    Line breaks and tabs become spaces; each punctuation mark disappears where it stands beside a space anywhere in the
    text or the text has a comma between digits, and becomes a space otherwise; periods disappear that no digit follows,
    the first 32; lower case; number words up to ten become digits ("none" 0); a, an and the disappear; contractions get
    a missing apostrophe.
    """
    return _map_words(_drop_marks(text.replace('\n', ' ').replace('\t', ' ').strip()))


@read_arguments(reply=_read_text, answers=read_strings, rule=read_choice(*VQA_RULES))
def vqa_accuracy(reply: str, answers: Sequence[str], rule: str = 'official') -> float:
    """Return the accuracy of a reply, in [0, 1]: the mean over the answers, each left out in turn, of
    min(1, equal ones among the others / 3).

    Args:
        reply: text of the model.
        answers: of people, ten in VQAv2.
        rule: 'official' (GT-Vision-Lab/VQA, the code of 2015): the reply is normalised, and of answers that are not all
            the same the punctuation alone. 'always': reply and answers are normalised. 'lmms_eval'
            (lmms_eval/tasks/vqav2): commas and question marks of the reply disappear and a space comes before 's, then
            it is normalised; answers are normalised where they are not all the same.

    Raises:
        InputError: no answers.
    """
    if not answers:
        raise InputError('there are no answers; expected those of people, ten in VQAv2.', 'answers')
    differ = len({_tidy(answer) for answer in answers} if rule == 'lmms_eval' else set(answers)) > 1
    if rule == 'always':
        reply, answers = normalize_vqa(reply), [normalize_vqa(answer) for answer in answers]
    elif rule == 'official':
        reply, answers = normalize_vqa(reply), [_drop_marks(a) if differ else a for a in answers]
    else:
        apart = reply.lower().replace(',', '').replace('?', '').replace("'s", " 's")
        reply = _map_words(_drop_marks(_tidy(apart), r'\d,+\d'))
        answers = [_tidy(answer) for answer in answers]
        if differ:
            reply, *answers = (_map_words(_drop_marks(text, r'\d,+\d')) for text in (reply, *answers))
    equal = sum(answer == reply for answer in answers)
    return sum(min(1.0, (equal - (answer == reply)) / 3) for answer in answers) / len(answers)


@read_arguments(reply=_read_text, answer=_read_text, rule=read_choice(*GQA_RULES))
def gqa_match(reply: str, answer: str, rule: str = 'lmms_eval') -> bool:
    """Whether a reply equals the answer of GQA.

    Args:
        reply: text of the model.
        answer: the right one.
        rule: 'lmms_eval': both in lower case and without ASCII punctuation. 'llava' (scripts/convert_gqa_for_eval.py
            and the official evaluation): the reply in lower case, periods at its end removed; the answer as it is.
    """
    if rule == 'llava':
        return reply.rstrip('.').lower() == answer
    table = str.maketrans('', '', string.punctuation)
    return reply.lower().translate(table) == answer.lower().translate(table)


def _tidy(text: Any) -> str:
    return text.replace('\n', ' ').replace('\t', ' ').strip()


def _drop_marks(text: str, comma: str = r'\d,\d') -> str:
    number, found = re.search(comma, text), text
    for mark in PUNCTUATION:
        found = found.replace(mark, '' if number or f'{mark} ' in text or f' {mark}' in text else ' ')
    # the official expression means to spare periods after digits, too, and does not: its look-behind is misspelt
    return re.sub(r'\.(?!\d)', '', found, count=PERIODS)


def _map_words(text: str) -> str:
    words = [NUMBERS.get(word, word) for word in text.lower().split()]
    return ' '.join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)
