"""Questions with options: the letter that a reply chooses, by named published rules; CircularEval.

SEED-Bench: Li et al., arXiv 2307.16125. MMBench and CircularEval: Liu et al., arXiv 2307.06281.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dtbox.arguments import iterate, read_arguments, read_choice, read_flag, read_kind, refuse
from dtbox.arguments.plain import read_mapping
from dtbox.errors import InputError
from dtbox.questions import LETTERS

LETTER_RULES = ('first_character', 'vlmevalkit')
NONE = 'Z'
"""What VLMEvalKit calls the choice of none of the options."""
REFUSALS = ("Sorry, I can't help with images of people yet.", "I can't process this file.",
            "I'm sorry, but without the image provided", 'Cannot determine the answer')
FAILED = 'Failed to obtain answer via API'
MARKS = '.()[],:;!*#{}'
LAST = 4
"""A letter counts among the last so many words of a reply."""
_read_text = read_kind(str, what='a text')


def _read_options(value: Any) -> dict[str, str]:
    options = read_mapping(value, 'a dict letter -> text of the option')
    wrong = [letter for letter in options if len(letter) != 1 or letter not in LETTERS]
    if wrong or not options:
        raise InputError(f'the options are {", ".join(options) or "none"}; expected letters from A to Z.')
    return {letter: _read_text(text) for letter, text in options.items()}


@read_arguments(reply=_read_text, options=_read_options, rule=read_choice(*LETTER_RULES))
def find_letter(reply: str, options: Mapping[str, str], rule: str) -> str:
    """Return the letter that a reply chooses: '' where none can be told, 'Z' for the choice of none.

    Args:
        reply: text of the model.
        options: letter -> text.
        rule: 'first_character' (SEED-Bench in lmms-eval): the first character of the reply without spaces around it,
            whatever it is. 'vlmevalkit' (VLMEvalKit's `can_infer`, its `exact_matching` judge), in this order:

            1. A reply with "Failed to obtain answer via API" goes to step 4. One with a refusal of `REFUSALS` is 'Z'.
            2. Each of . ( ) [ ] , : ; ! * # { } becomes a space; words are what spaces divide, and case counts. Where
               exactly one option's letter is a word, and its first occurrence is among the last four words, it is that.
            3. Where no option's letter is a word and Z is one, it is 'Z'.
            4. In lower case: where the reply is no longer than twice all options' texts together and holds the text of
               exactly one option, it is that option; otherwise ''.

            An "A" that is an article is a letter in step 2, as it is there.
    """
    if rule == 'first_character':
        return reply.strip()[:1]
    if FAILED not in reply:
        if any(refusal in reply for refusal in REFUSALS):
            return NONE
        words = reply.translate(str.maketrans(MARKS, ' ' * len(MARKS))).split()
        named = [letter for letter in options if letter in words]
        if len(named) == 1 and words.index(named[0]) >= len(words) - LAST:
            return named[0]
        if not named and NONE in words:
            return NONE
    lower = reply.lower()
    if len(lower) > 2 * sum(map(len, options.values())):
        return ''
    held = [letter for letter, text in options.items() if text.lower() in lower]
    return held[0] if len(held) == 1 else ''


def _read_hits(value: Any) -> list[tuple[str, bool]]:
    pairs = [tuple(iterate(pair, 'a pair of a group and a bool')) for pair in iterate(value, 'pairs')]
    wrong = [pair for pair in pairs if len(pair) != 2 or not isinstance(pair[0], str)]
    if wrong:
        raise refuse(wrong[0], 'a pair of the name of a group and a bool')
    return [(group, read_flag(hit)) for group, hit in pairs]


@read_arguments(right=_read_hits)
def circular_hits(right: Iterable[tuple[str, bool]]) -> dict[str, bool]:
    """Return group -> whether all its rotations are answered rightly (CircularEval).

    Args:
        right: (group, whether the reply to a rotation is right) of each rotation.
    """
    hits: dict[str, bool] = {}
    for group, hit in right:
        hits[group] = hits.get(group, True) and hit
    return hits
