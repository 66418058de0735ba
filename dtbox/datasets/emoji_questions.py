"""Questions about an emoji whose answers stand in its name, and those about how it was placed on its canvas.

A question has a kind, one wording, and a list of possible answers, so that the score of always giving the most
frequent answer can be computed. Yes/no questions are asked of as many emoji with the answer yes as with the answer no:
asked of all emoji, "is it a flag?" is answered right 94 times of 100 by "no".
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Tuple

from dtbox.datasets.base import hash_fraction

CAPTION = 'caption'
CAPTION_QUESTION = 'what is it?'
YES = 'yes'
NO = 'no'


class Question(NamedTuple):
    """A kind of question.

    Attributes:
        text: its wording.
        answers: all possible answers.
    """
    text: str
    answers: Tuple[str, ...]


TONES = ('light', 'medium-light', 'medium', 'medium-dark', 'dark')
COLOURS = ('red', 'orange', 'yellow', 'green', 'blue', 'light blue', 'purple', 'brown', 'black', 'white', 'grey',
           'pink')
NAME_QUESTIONS = dict(
    skin_tone=Question('what is the skin tone?', TONES),
    gender=Question('man, woman or person?', ('man', 'woman', 'person')),
    people=Question('one person or two?', ('one', 'two')),
    colour=Question('what colour is it?', COLOURS),
    faces_right=Question('does it face right?', (YES, NO)),
    flag=Question('is it a flag?', (YES, NO)))
"""Kind -> question whose answer stands in the name."""

BACKGROUNDS = dict(white=(255, 255, 255), black=(0, 0, 0), grey=(128, 128, 128), red=(221, 46, 68),
                   green=(60, 160, 70), blue=(50, 100, 220), yellow=(255, 215, 60), purple=(150, 70, 190))
"""Name of a background -> its colour, three values in [0, 255]."""
PLACES = dict(centre=(0, 0), left=(-1, 0), right=(1, 0), up=(0, -1), down=(0, 1))
"""Name of a place -> direction of the shift from the centre, (to the right, down)."""
SIZES = dict(small=(0.72, 0.78), large=(0.92, 0.98))
"""Name of a size -> range of the emoji's longer side, as a fraction of the canvas."""
VIEW_QUESTIONS = dict(
    background=Question('what is the background?', tuple(BACKGROUNDS)),
    place=Question('where is it?', tuple(PLACES)),
    size=Question('is it small or large?', tuple(SIZES)))
"""Kind -> question about the view: its answer stands in no name."""

QUESTIONS = {**NAME_QUESTIONS, **VIEW_QUESTIONS}
"""Kind -> question."""

_TONE = re.compile(rf'\b({"|".join(sorted(TONES, key=len, reverse=True))}) skin tone')
_COLOURED = re.compile(rf'({"|".join(sorted(COLOURS, key=len, reverse=True))})'
                       r'( (large|medium|medium-small|small))? (heart|circle|square|book)|'
                       r'(large|small) (orange|blue) diamond')
_ONE = dict(man='man', woman='woman', person='person')
_SEVERAL = dict(men='man', women='woman', people='person')
_COUPLE = re.compile(r'kiss\b(?! mark)|couple with heart')
_RIGHT = ' facing right'


def answer_from_name(name: str) -> dict[str, str]:
    """Return kind -> answer of the questions that a name answers alone; yes/no questions are not among them.

    Args:
        name: of an emoji in words, such as 'woman farmer medium skin tone'.
    """
    name = name.lower()
    answers = dict(skin_tone=_find_tone(name), gender=_find_gender(name), people=_count_people(name),
                   colour=_find_colour(name))
    return {kind: answer for kind, answer in answers.items() if answer}


def _find_tone(name: str) -> str:
    """The skin tone; '' where there is none, or where two people have different ones."""
    tones = set(_TONE.findall(name))
    return tones.pop() if len(tones) == 1 else ''


def _find_gender(name: str) -> str:
    """'man', 'woman' or 'person', of one or of two people; '' where the name says none or several, and of families."""
    words = name.split()
    said = {gender for word, gender in {**_ONE, **_SEVERAL}.items() if word in words}
    return said.pop() if len(said) == 1 and 'family' not in words else ''


def _count_people(name: str) -> str:
    """'one', 'two', or '' where the name does not say it, and of families."""
    words = name.split()
    if 'family' in words:
        return ''
    singles = sum(word in _ONE for word in words)
    if any(word in _SEVERAL for word in words) or _COUPLE.match(name) or singles == 2:
        return 'two'
    return 'one' if singles == 1 else ''


def _find_colour(name: str) -> str:
    """The colour of a plain heart, circle, square, book or diamond."""
    match = _COLOURED.fullmatch(name)
    return (match[1] or match[6]) if match else ''


def choose_yes_no(names: Mapping[str, str], known: Iterable[str] = ()) -> dict[str, dict[str, str]]:
    """Choose which emoji of a set are asked the yes/no questions: as many with the answer yes as with the answer no.

    The choice depends on the keys alone. An emoji faces left where its twin is called "facing right".

    Args:
        names: key -> name of the emoji of the set.
        known: names of all emoji, for the twins; those of the set are among them.

    Returns:
        kind -> key -> answer, for the emoji that are asked.
    """
    known = {*known, *names.values()}
    answers = dict(faces_right={key: _faces_right(name, known) for key, name in names.items()},
                   flag={key: _is_flag(name) for key, name in names.items()})
    return {kind: _balance(kind, found) for kind, found in answers.items()}


def _faces_right(name: str, known: set[str]) -> str:
    if _RIGHT in name:
        return YES
    person = _TONE.split(name)[0].strip()  # "man running facing right light skin tone" has the tone at its end
    return NO if f'{person}{_RIGHT}{name[len(person):]}' in known else ''


def _is_flag(name: str) -> str:
    """'' for what holds a flag and is none, such as a mailbox."""
    words = name.lower().split()
    if 'mailbox' in words or 'hole' in words:
        return ''
    return YES if 'flag' in words or 'flags' in words else NO


def _balance(kind: str, answers: Mapping[str, str]) -> dict[str, str]:
    sides = {answer: sorted((key for key, found in answers.items() if found == answer),
                            key=lambda key: (hash_fraction(kind, key), key)) for answer in (YES, NO)}
    most = min(map(len, sides.values()))
    return {key: answer for answer, keys in sides.items() for key in keys[:most]}
