"""Names and texts of others in tables that programs open: a cell of a CSV table is never a formula, one of a Markdown
table never markup."""
from __future__ import annotations

import re
from typing import Any

FORMULA = ('=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠')
"""What cells begin with that spreadsheets compute (https://owasp.org/www-community/attacks/CSV_Injection)."""
_EVERYWHERE = r'[\\|`*]|~~|&(?=#?\w+;)|:(?=//)|(?<=www)\.'
"""What ends a cell, code, emphasis, strikes out, characters of HTML, addresses."""
_MARKUP = re.compile(_EVERYWHERE + r'|(?<!\w)_|_(?!\w)|<(?=[A-Za-z/!?])|\](?=[(\[:])', re.IGNORECASE)
_SIGNS = re.compile(_EVERYWHERE + r'|[_<>\[\]]', re.IGNORECASE)
_START = re.compile(r'^(?=(?:#+|[>+-])(?:\s|$))')
"""Headings, quotes and lists, outside of a table."""


def escape_markdown(text: str, plain: bool = True) -> str:
    """Return text in one line that shows as it is in Markdown, inside of a table and outside.

    Args:
        text: name or sentence.
        plain: leave signs alone that mean nothing where they stand (`soft_split`, `PSNR [dB]`), for tables that people
            read as text, too.
    """
    signs = _MARKUP if plain else _SIGNS
    return _START.sub(r'\\', signs.sub(r'\\\g<0>', ' '.join(text.split())))


def escape_csv(value: Any) -> Any:
    """Return a cell of a CSV table; a text that a spreadsheet would compute gets an apostrophe in front, and so does
    one that begins with such an apostrophe. Numbers stay numbers, also as text (`-1.5`)."""
    if not isinstance(value, str) or not value.lstrip("' ").startswith(FORMULA) and not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def unescape_csv(value: Any) -> Any:
    """Undo `escape_csv`."""
    return value[1:] if isinstance(value, str) and value[:1] == "'" and escape_csv(value[1:]) == value else value
