"""Predictions of scale as text and files: tables, what they assume, a CSV file and a figure."""
from __future__ import annotations

import os
import shlex
from collections.abc import Container, Sequence

from mmengine.config import Config

from dtbox.counts import format_count
from dtbox.markup import escape_markdown
from dtbox.sizing import scale, scale_check, scale_tables


def align_columns(lines: Sequence[Sequence[str]], left: Container[int] = (0,)) -> str:
    """Return lists of texts as columns; those of the numbers `left` (the first) are aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    return '\n'.join('  '.join(text.ljust(width) if i in left else text.rjust(width)
                               for i, (text, width) in enumerate(zip(line, widths))).rstrip() for line in lines)


def format_markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return lists of texts, the head first, as a table in Markdown."""
    head, *rest = lines
    rows = [head, ['---'] + ['---:'] * (len(head) - 1), *rest]
    return '\n'.join('| ' + ' | '.join(map(escape_markdown, row)) + ' |' for row in rows)


def report_scale(cfg: Config, setting: scale.Setting, name: str, out: str | None = None) -> str:
    """Predict training of a config at scale; return the prediction as text.

    Args:
        cfg: resolved config of a recipe.
        setting: machine and batch.
        name: of the recipe, for titles.
        out: folder for scale.md, scale.csv and scale.png; None writes nothing.
    """
    description, _, rows = scale.scale(cfg, setting)
    images = (f'{format_count(setting.whole or 0, "image")} in all' if setting.batch is None
              else f'{format_count(setting.batch, "image")} a GPU')
    title = f'{name}, {images}, {setting.parallel}'
    tables = [scale_tables.make_step_table(rows), scale_tables.make_sent_table(rows, setting.parallel)]
    listed = '\n'.join(f'- {sentence}' for sentence in scale_tables.list_assumptions(setting, description))
    if out:
        page = [f'# {escape_markdown(title)}', *map(format_markdown, tables), listed]
        write_scale(out, title, rows, '\n\n'.join(page) + '\n')
    return '\n\n'.join([title, *map(align_columns, tables), listed])


def write_scale(out: str, title: str, rows: Sequence[scale.Row], page: str) -> None:
    """Write scale.md, scale.csv and scale.png to the folder `out`."""
    from dtbox.drawing.scale_plot import draw_scale
    from dtbox.files import write_atomic
    os.makedirs(out, exist_ok=True)
    write_atomic(os.path.join(out, 'scale.md'), page)
    write_atomic(os.path.join(out, 'scale.csv'), scale_tables.format_csv(rows))
    points = [dict(gpus=row.gpus, efficiency=row.efficiency, compute=row.compute, exposed=row.exposed,
                   sent=row.communication) for row in rows if row.fits]
    too_small = ', '.join(f'{row.gpus:,}' for row in rows if not row.fits)
    note = f'; does not fit on {too_small} GPUs' if too_small else ''
    draw_scale(points, os.path.join(out, 'scale.png'), f'{title}: predicted{note}')


def report_check(result: scale_check.CheckResult, command: Sequence[str], out: str | None = None) -> str:
    """Return predicted and measured steps as text.

    Args:
        result: of `scale_check.check`.
        command: words of the command line, for the page.
        out: folder for check.md; None writes nothing.
    """
    if out:
        from dtbox.files import write_atomic
        os.makedirs(out, exist_ok=True)
        pages = [f'# Predicted and measured steps of {escape_markdown(result.name)}', f'`{shlex.join(command)}`',
                 scale_check.format_check(result, format_markdown)]
        write_atomic(os.path.join(out, 'check.md'), '\n\n'.join(pages) + '\n')
    return scale_check.format_check(result, align_columns)
