"""Texts in lines that fit a width in pixels, as the typeface measures them."""
from __future__ import annotations

from collections.abc import Iterator

from PIL import ImageFont


def wrap_text(text: str, width: float, font: ImageFont.FreeTypeFont) -> list[str]:
    """Break a text into lines of at most `width` pixels; nothing is cut.

    A line ends at a space, within a word only where the word alone is wider. A single character may be wider than the
    line. Spaces and line ends count as one space.

    Args:
        text: to break.
        width: of a line, in pixels.
        font: of the text.

    Returns:
        the lines; [] of a text without words.
    """
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f'{lines[-1]} {word}') <= width:
            lines[-1] = f'{lines[-1]} {word}'
        else:
            lines += _break_word(word, width, font)
    return lines


def _break_word(word: str, width: float, font: ImageFont.FreeTypeFont) -> Iterator[str]:
    """Yield pieces of a word, each as long as fits."""
    while word:
        size = len(word)
        while size > 1 and font.getlength(word[:size]) > width:
            size -= 1
        yield word[:size]
        word = word[size:]


def measure_line(font: ImageFont.FreeTypeFont) -> int:
    """Return the pixels from one line to the next."""
    return round(1.35 * font.size)
