"""Where in a picture a tokenizer fails, by the masks of objects: table and pictures of the worst ones (COCO, LVIS)."""
from __future__ import annotations

import os

import numpy as np

from dtbox.drawing.region_sheet import draw_worst
from dtbox.drawing.sheets import to_uint8
from dtbox.evaluation.info import GROUPS as EVERY_GROUP
from dtbox.evaluation.info import Infos
from dtbox.files import write_atomic
from dtbox.protocols.base import Protocol
from dtbox.registry import PROTOCOLS

GROUPS = ('objects', 'small', 'medium', 'large', 'rare', 'common', 'frequent', 'background')
"""Rows of the table."""


@PROTOCOLS.register_module()
class RegionScores(Protocol):
    """Metrics over the masks of objects (RegionError, RegionZeroShot); leaves regions.md and worst_objects.png.

    Args:
        metrics: as in Protocol.
        worst: objects on the picture.
    """

    def __init__(self, metrics=(), worst=12):
        super().__init__(metrics)
        self.worst = worst

    def finish(self, subject, evaluator, results, folder):
        """See Protocol."""
        lines, names = [], subject.loader.dataset.metainfo.get('classes') or ()
        for part in results.held_out:
            if not results.sets[part]:
                continue
            table = region_table(results.sets[part], results.described)
            write_atomic(os.path.join(folder, f'regions_{part}.md'), table + '\n')
            lines += ['', *table.splitlines(), '', f'written to {os.path.join(folder, f"regions_{part}.md")}']
            worst = [w for metric in evaluator.columns[part] for w in getattr(metric, 'worst', ())][:self.worst]
            if worst:
                path = os.path.join(folder, f'worst_objects_{part}.png')
                objects = [(to_uint8(w['image'][None])[0], to_uint8(w['made'][None])[0], w['mask'].numpy(), _caption(w, names)) for w in worst]
                draw_worst(objects, path, f'The {len(worst)} objects with the largest squared error')
                lines.append(f'written to {path}')
        return lines


def _caption(worst, names):
    name = names[worst['category']] if worst['category'] < len(names) else str(worst['category'])
    return f'{name}, {worst["size"]}, {-10 * np.log10(worst["mse"] + 1e-8):.1f} dB'


def region_table(values: dict[str, float], infos: Infos) -> str:
    """Return the values of region metrics as Markdown: a row a group, a column a score; numbers of masks first, tokens before the teacher.

    Args:
        values: plain name -> number; those that are not of a group are left out.
        infos: describe them.
    """
    cells, columns = {}, {}
    for name, value in values.items():
        described = infos.describe(name, has_set=False)
        if 'group' in described.fields and value is not None:
            info, side = described.info, described.name.side
            columns[info, side] = info.direction != 'none', EVERY_GROUP.index(info.group), info.order, side != 'tokens'
            spec = info.format.replace('%', 'f')
            cells[described.fields['group'], info, side] = format(described.factor * value, spec)
    ordered = sorted(columns, key=lambda column: columns[column])
    titles = [', '.join(filter(None, (info.heading, side))) + (' [%]' if info.format.endswith('%') else '') for info, side in ordered]
    lines = ['| inside | ' + ' | '.join(titles) + ' |', '|---|' + '---:|' * len(ordered)]
    for group in GROUPS:
        if any((group, *column) in cells for column in ordered):
            lines.append(f'| {group} | ' + ' | '.join(cells.get((group, *column), '–') for column in ordered) + ' |')
    return '\n'.join(lines)
