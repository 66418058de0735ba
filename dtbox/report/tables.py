"""A table once, in four languages: HTML, Markdown, CSV, LaTeX (booktabs)."""
from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from typing import Any

from dtbox.markup import escape_csv, escape_markdown

UP, DOWN = '▲', '▼'

_TEX = {'\\': r'\textbackslash{}', '&': r'\&', '%': r'\%', '$': r'\$', '#': r'\#', '_': r'\_', '{': r'\{', '}': r'\}',
        '~': r'\textasciitilde{}', '^': r'\textasciicircum{}', '±': r'$\pm$', '−': r'$-$', '–': '--',
        UP: r'$\blacktriangle$', DOWN: r'$\blacktriangledown$', '↑': r'$\uparrow$', '↓': r'$\downarrow$',
        '→': r'$\rightarrow$', '×': r'$\times$', '<': r'\textless{}', '>': r'\textgreater{}', '|': r'\textbar{}',
        '\u00a0': '~'}


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: as people read it.
        bold: the best of its column.
        better: True or False where it is surely better or worse than the reference; an arrow says so.
        raw: numbers for programs, one for each of the column's `raw` names; '' where there is none.
    """
    text: str
    bold: bool = False
    better: bool | None = None
    raw: tuple = ()

    @property
    def full(self) -> str:
        """The text with its arrow."""
        return self.text if self.better is None else f'{self.text} {UP if self.better else DOWN}'


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        title: as people read it.
        raw: names of its columns in the CSV; a single one that is the title where empty.
        words: whether its cells are words, not numbers.
    """
    title: str
    raw: tuple = ()
    words: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: of its files.
        title: line above it.
        columns, rows: Column and lists of Cell; the first column names the row.
        notes: sentences below it.
    """
    name: str
    title: str
    columns: list[Column]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)

    def html(self) -> str:
        """Return the table as HTML in a box of its own that scrolls."""
        head = ''.join(f'<th scope="col"{" class=words" if c.words else ""}>{escape(c.title)}</th>'
                       for c in self.columns)
        rows = [''.join(self._html(cell, column, first) for first, (cell, column) in _firsts(row, self.columns))
                for row in self.rows]
        body = ''.join(f'<tr>{row}</tr>\n' for row in rows)
        notes = ''.join(f'<p class="note">{escape(note)}</p>' for note in self.notes)
        return (f'<div class="scroll" tabindex="0"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>'
                f'</table></div>{notes}')

    @staticmethod
    def _html(cell: Cell, column: Column, first: bool) -> str:
        text = escape(cell.text)
        if cell.better is not None:
            text += f' <span class="{"up" if cell.better else "down"}">{UP if cell.better else DOWN}</span>'
        text = f'<b>{text}</b>' if cell.bold else text
        if first:
            return f'<th scope="row"><div>{text}</div></th>'
        return f'<td{" class=words" if column.words else ""}>{text}</td>'

    def markdown(self) -> str:
        """Return the table as Markdown, with its title and notes."""
        lines = [f'**{_md(self.title)}**', '', '| ' + ' | '.join(_md(c.title) for c in self.columns) + ' |',
                 '|' + '|'.join('---' if c.words or i == 0 else '---:' for i, c in enumerate(self.columns)) + '|']
        for row in self.rows:
            cells = [f'**{_md(cell.full)}**' if cell.bold else _md(cell.full) for cell in row]
            lines.append('| ' + ' | '.join(cells) + ' |')
        return '\n'.join([*lines, *(f'\n{_md(note)}' for note in self.notes)]) + '\n'

    def csv(self) -> str:
        """Return the table as CSV: numbers in full, intervals and counts in columns of their own."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator='\n')
        writer.writerow([escape_csv(name) for c in self.columns for name in (c.raw or (c.title,))])
        for row in self.rows:
            writer.writerow([escape_csv(_raw(v)) for cell, c in zip(row, self.columns)
                             for v in (cell.raw or ('',) * len(c.raw) if c.raw else (cell.text,))])
        return out.getvalue()

    def latex(self) -> str:
        """Return the table as a LaTeX `table` (packages amssymb, booktabs and graphicx), shrunk to the width of the
        page where it is wider."""
        kinds = ''.join('l' if c.words or i == 0 else 'r' for i, c in enumerate(self.columns))
        rows = [' & '.join(rf'\textbf{{{_tex(cell.full)}}}' if cell.bold else _tex(cell.full) for cell in row) + r' \\'
                for row in self.rows]
        caption = ' '.join([f'{self.title}.', *self.notes])
        return '\n'.join([
            '% needs \\usepackage{amssymb, booktabs, graphicx}', r'\begin{table}', r'\centering',
            rf'\caption{{{_tex(caption)}}}', rf'\label{{tab:{re.sub(r"[^a-z0-9]+", "-", self.name.lower())}}}',
            r'\smallskip', r'\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%',
            rf'\begin{{tabular}}{{{kinds}}}', r'\toprule', ' & '.join(map(_head, self.columns)) + r' \\', r'\midrule',
            *map(_guard, rows), r'\bottomrule', r'\end{tabular}}', r'\end{table}', ''])


def _firsts(row: list[Cell], columns: list[Column]) -> Iterator[tuple[bool, tuple[Cell, Column]]]:
    return ((i == 0, pair) for i, pair in enumerate(zip(row, columns)))


def _md(text: str) -> str:
    return escape_markdown(text, plain=False)


def _tex(text: str) -> str:
    return ''.join(_TEX.get(c, c) for c in text)


def _head(column: Column) -> str:
    """A column's title, broken into short lines that stand on the rule below them."""
    lines = [_guard(_tex(line)) for line in textwrap.wrap(column.title, 18, break_long_words=False)]
    if len(lines) < 2:
        return ''.join(lines)
    return rf'\shortstack[{"l" if column.words else "r"}]{{' + r' \\ '.join(lines) + '}'


def _guard(line: str) -> str:
    r"""A line that LaTeX does not take for an argument of the \\ before it."""
    return f'{{}}{line}' if line.startswith(('[', '*')) else line


def _raw(value: Any) -> Any:
    return '' if value is None else repr(value) if isinstance(value, float) else value
