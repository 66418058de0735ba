"""Results as one plain-text table."""
from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Dict, Optional

from dtbox.evaluation.info import Described, Infos
from dtbox.evaluation.names import ALL, STDERR
from dtbox.evaluation.results import Results

WIDTH = 98
"""Characters of a line."""
_LABEL, _COLUMN = 26, 24  # 26 + 3 * 24 = 98 characters
_NARROW = 18
"""Characters of a column of scores beside labels that would not fit otherwise."""
_SETS, _CODES = 3, 12
Columns = Dict[str, Dict[str, Optional[float]]]


def format_table(results: Results) -> str:
    """Return results as text of at most 98 characters a line.

    Rows are values, by group and order of their `MetricInfo`, with an arrow: ↑ more is better, ↓ less is better.
    Columns are sets, at most three side by side. Teacher and tokens stand next to each other; the values of codebooks
    follow for all images, by vocabulary and depth.
    """
    sets = [name for name in results.counts or results.sets if name != ALL]
    if len(sets) != 1 and ALL in results.sets:
        sets.append(ALL)
    codes = _by_depth(results)
    blocks = []
    for i in range(0, len(sets), _SETS):
        blocks += _score_block({name: results.sets[name] for name in sets[i:i + _SETS]}, results, codes)
    values = results.sets.get(ALL) or (results.sets[sets[0]] if sets else {})
    title = 'all images' if results.sets.get(ALL) else sets[0] if sets else ''
    blocks += _code_block(values, title, results.described, codes)
    if results.skipped:
        lines = [line for label, why in results.skipped.items() for line in _wrap(f'{label}: {why}')]
        blocks += ['not measured, or of note', *lines, '']
    for title, sentences in (('INCOMPLETE: {} samples, shards or masks could not be read', results.missing),
                             ('found with the data, and not used', results.left_out)):
        if sentences:
            blocks += [title.format(len(sentences)), *(line for text in sentences[:5] for line in _wrap(text))]
            blocks += [*([f'  and {len(sentences) - 5} more'] if len(sentences) > 5 else []), '']
    return '\n'.join(line.rstrip() for line in blocks).rstrip('\n')


def _by_depth(results: Results) -> set[str]:
    """Names of the infos of which some value is that of a depth: they have a block of their own."""
    names = dict.fromkeys(name for values in results.sets.values() for name in values)
    described = [results.described.describe(name, has_set=False) for name in names]
    return {d.info.name for d in described if d.name.depth is not None}


def _score_rows(columns: Columns, infos: Infos, codes: set[str]) -> dict[str, tuple[Described, bool]]:
    """Key of each row -> what describes it, and whether teacher and tokens stand side by side in it."""
    rows = {}
    for name in dict.fromkeys(name for values in columns.values() for name in values):
        described = infos.describe(name, has_set=False)
        key = described.name.key
        if described.info.name not in codes and not described.name.is_stderr:
            double = bool(described.name.side or described.info.side) or rows.get(key, (None, False))[1]
            rows[key] = infos.describe(key, has_set=False), double
    return dict(sorted(rows.items(), key=lambda row: row[1][0].sort_key))


def _score_block(columns: Columns, results: Results, codes: set[str]) -> list[str]:
    rows = _score_rows(columns, results.described, codes)
    longest = max([_LABEL, *(len(_name(d)) + 1 for d, _ in rows.values())])
    column = _COLUMN if longest <= WIDTH - _COLUMN * len(columns) else _NARROW
    width = min(longest, WIDTH - column * len(columns))
    lines = [' ' * width + ''.join(f'{name[-column + 2:]:>{column}}' for name in columns)]
    if results.counts:
        lines.append(f'{"images":<{width}}' + ''.join(f'{results.counts.get(name, 0):>{column}}' for name in columns))
    for key, (described, double) in rows.items():
        if not double:
            cells = (_number(described, values.get(key), values.get(f'{key}{STDERR}')) for values in columns.values())
            lines.append(_label(described, width) + ''.join(f'{cell:>{column}}' for cell in cells))
    if any(double for _, double in rows.values()):
        half = column // 2
        lines += ['', ' ' * width + f'{"teacher":>{half}}{"tokens":>{half}}' * len(columns)]
        for key, (described, double) in rows.items():
            if double:
                cells = (cell for values in columns.values() for cell in _sides(described, key, values))
                lines.append(_label(described, width) + ''.join(f'{cell:>{half}}' for cell in cells))
    return [*lines, '']


def _sides(described: Described, key: str, values: dict[str, float | None]) -> Iterator[str]:
    """The cells of teacher and tokens; a value without sides stands alone in the column of the side that its info
    names."""
    for side in ('teacher', 'tokens'):
        if described.info.side:
            yield _number(described, values.get(key)) if side == described.info.side else ''
        else:
            yield _number(described, values.get(f'{key}/{side}'))


def _code_block(values: dict[str, float | None], title: str, infos: Infos, codes: set[str]) -> list[str]:
    """A row for each vocabulary and depth, a column for each info of `codes`; a single depth says the same as its
    vocabulary."""
    described = {name: infos.describe(name, has_set=False) for name in values}
    described = {name: d for name, d in described.items() if d.info.name in codes and not d.name.is_stderr}
    if not described:
        return []
    columns = list(dict.fromkeys(d.info for d in described.values()))
    cells = {(tuple(d.fields.values()), d.name.depth, d.info): _number(d, values[name])
             for name, d in described.items()}
    depths: dict[tuple, dict] = {}  # in the order of the values
    for where, depth, _ in cells:
        depths.setdefault(where, {})[depth] = None
    width = max(_CODES, min(_COLUMN, (WIDTH - _LABEL) // len(columns)))
    lines = [f'{f"codes of {title}"[:_LABEL]:<{_LABEL}}' + ''.join(f'{c.label[:width - 1]:>{width}}' for c in columns)]
    for where, depth in ((where, depth) for where, there in depths.items() for depth in there):
        if depth is not None and len(depths[where].keys() - {None}) < 2:
            continue
        label = ' '.join(where) if depth is None else f'  depth {depth}'
        numbers = (cells.get((where, depth, info), '-') for info in columns)
        lines.append(f'{label[:_LABEL - 1]:<{_LABEL}}' + ''.join(f'{cell:>{width}}' for cell in numbers))
    return [*lines, '']


def _label(described: Described, width: int) -> str:
    """Label of a row, over several lines where it is longer than `width`; the last one is padded for the cells."""
    *lines, last = textwrap.wrap(_name(described), width - 1, subsequent_indent='  ')
    return '\n'.join([*lines, f'{last:<{width}}'])


def _name(described: Described) -> str:
    """Label with the arrow of its direction."""
    return described.label + {True: ' ↓', False: ' ↑', None: ''}[described.lower]


def _number(described: Described, value: float | None, stderr: float | None = None) -> str:
    if value is None:
        return '-'
    spec = described.info.format
    return format(value, spec) + (f' ± {format(stderr, spec)}' if stderr is not None else '')


def _wrap(text: str, width: int = 94) -> list[str]:
    return textwrap.wrap(text, width, initial_indent='  ', subsequent_indent='    ')
