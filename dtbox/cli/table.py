"""Tables of text, as wide as the terminal."""
from __future__ import annotations

import shutil
import textwrap
from typing import Sequence


def get_screen_width() -> int:
    """Return the width of the terminal in characters, at least 40."""
    return max(shutil.get_terminal_size((120, 24)).columns, 40)


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """Return rows of texts as aligned lines of at most `width` characters.

    The last column takes the space that the others leave, wrapped; where that is too little it stands below its row.
    """
    lengths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header) - 1)]
    most = 32
    while sum(min(size, most) + 2 for size in lengths) > width + 2 and most > 8:
        most -= 1
    widths = [min(size, most) for size in lengths]
    rest = width - sum(widths) - 2 * len(widths)
    below = rest < 30
    lines = []
    for row in [header, *rows]:
        cells = [textwrap.wrap(text, size) or [''] for text, size in zip(row, widths)]
        if not below:
            cells.append(textwrap.wrap(row[-1], rest) or [''])
        for i in range(max(map(len, cells))):
            texts = ((cell[i] if i < len(cell) else '').ljust(size) for cell, size in zip(cells, [*widths, rest]))
            lines.append('  '.join(texts).rstrip())
        if below and row is not header and row[-1]:
            lines += textwrap.wrap(row[-1], width, initial_indent='    ', subsequent_indent='    ')
    return '\n'.join(lines)
