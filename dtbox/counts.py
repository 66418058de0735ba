"""Numbers with their nouns in sentences: '1 folder is', '1,200 folders are'."""
from __future__ import annotations

import re

_VERBS = {'is': 'are', 'was': 'were', 'has': 'have', 'matches': 'match'}


def format_count(number: int, noun: str, verb: str = '') -> str:
    """Return a number with its noun and verb, in the plural unless the number is 1.

    Args:
        number: 0 or more.
        noun: in the singular; a word that takes an s in the plural, or ends in a consonant and y, in s, x, ch or sh.
        verb: in the singular, such as 'is' or 'lies'; '' for none.
    """
    if number != 1:
        ending = 'es' if noun.endswith(('s', 'x', 'ch', 'sh')) else 's'
        noun = f'{noun[:-1]}ies' if re.search('[^aeiou]y$', noun) else f'{noun}{ending}'
        verb = _VERBS.get(verb, verb[:-1])
    return f'{number:,} {noun} {verb}'.rstrip()
