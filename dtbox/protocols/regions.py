"""Where in an image a tokenizer fails, by the masks of objects: a table, and the worst objects drawn (COCO, LVIS)."""
from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from dtbox.counts import format_count
from dtbox.drawing.region_sheet import draw_worst
from dtbox.drawing.sheets import to_uint8
from dtbox.evaluation import Results, SetEvaluator
from dtbox.evaluation.info import GROUPS as METRIC_GROUPS
from dtbox.evaluation.info import Infos
from dtbox.files import write_atomic
from dtbox.markup import escape_markdown
from dtbox.protocols.base import Protocol
from dtbox.protocols.subject import Subject
from dtbox.registry import PROTOCOLS

GROUPS = ('objects', 'small', 'medium', 'large', 'rare', 'common', 'frequent', 'background')
"""Rows of the table."""


@PROTOCOLS.register_module()
class RegionScores(Protocol):
    """Metrics over the masks of objects (RegionError, RegionZeroShot); leaves regions.md and worst_objects.png.

    Args:
        metrics: as in Protocol.
        worst: objects that are drawn.
    """

    def __init__(self, metrics: Sequence | dict = (), worst: int = 12) -> None:
        super().__init__(metrics)
        self.worst = worst

    def finish(self, subject: Subject, evaluator: SetEvaluator, results: Results, folder: str) -> list[str]:
        """See Protocol."""
        lines, names = [], subject.loader.dataset.metainfo.get('classes') or ()
        for part in results.held_out:
            if not results.sets[part]:
                continue
            table = format_region_table(results.sets[part], results.described)
            write_atomic(os.path.join(folder, f'regions_{part}.md'), table + '\n')
            lines += ['', *table.splitlines(), '', f'written to {os.path.join(folder, f"regions_{part}.md")}']
            worst = [w for metric in evaluator.columns[part] for w in getattr(metric, 'worst', ())][:self.worst]
            if worst:
                path = os.path.join(folder, f'worst_objects_{part}.png')
                draw_worst([_drawn(w, names) for w in worst], path,
                           f'The {format_count(len(worst), "object")} with the largest squared error')
                lines.append(f'written to {path}')
        return lines


def _drawn(worst: dict[str, Any], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Return (image, reconstruction, mask, caption) of one of the worst objects."""
    image, reconstruction = (to_uint8(worst[side][None])[0] for side in ('image', 'reconstruction'))
    name = names[worst['category']] if worst['category'] < len(names) else str(worst['category'])
    caption = f'{name}, {worst["size"]}, {-10 * np.log10(worst["mse"] + 1e-8):.1f} dB'
    return image, reconstruction, worst['mask'].numpy(), caption


def format_region_table(values: dict[str, float | None], infos: Infos) -> str:
    """Return the values of region metrics as Markdown: a row a group, a column a score.

    Numbers of masks stand first, tokens before the teacher.

    Args:
        values: plain name -> number; those that are not of a group are left out.
        infos: describe them.
    """
    cells, columns = {}, {}
    for name, value in values.items():
        described = infos.describe(name, has_set=False)
        if 'group' in described.fields and value is not None:
            info, side = described.info, described.name.side
            place = METRIC_GROUPS.index(info.group)
            columns[info, side] = info.direction != 'none', place, info.order, side != 'tokens'
            spec = info.format.replace('%', 'f')
            cells[described.fields['group'], info, side] = format(described.factor * value, spec)
    ordered = sorted(columns, key=lambda column: columns[column])
    titles = [escape_markdown(', '.join(filter(None, (info.heading, side))))
              + (' [%]' if info.format.endswith('%') else '')
              for info, side in ordered]
    lines = ['| inside | ' + ' | '.join(titles) + ' |', '|---|' + '---:|' * len(ordered)]
    for group in GROUPS:
        if any((group, *column) in cells for column in ordered):
            row = [cells.get((group, *column), '–') for column in ordered]
            lines.append(f'| {escape_markdown(group)} | ' + ' | '.join(row) + ' |')
    return '\n'.join(lines)
