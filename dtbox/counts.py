"""Numbers with their nouns in sentences: '1 folder is', '1,200 folders are'."""
from __future__ import annotations

_VERBS = {'is': 'are', 'was': 'were', 'has': 'have', 'matches': 'match'}


def format_count(number: int, noun: str, verb: str = '') -> str:
    """Return a number with its noun and verb, in the plural unless the number is 1.

    Args:
        number: 0 or more.
        noun: in the singular; a word that takes an s in the plural, or ends in y.
        verb: in the singular, such as 'is' or 'lies'; '' for none.
    """
    if number != 1:
        noun = f'{noun[:-1]}ies' if noun.endswith('y') else f'{noun}s'
        verb = _VERBS.get(verb, verb[:-1])
    return f'{number:,} {noun} {verb}'.rstrip()
