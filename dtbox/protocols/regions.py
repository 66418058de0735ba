"""Where in a picture a tokenizer fails, by the masks of objects: table and pictures of the worst ones (COCO, LVIS)."""
import os

import numpy as np

from dtbox.drawing.region_sheet import draw_worst
from dtbox.drawing.sheets import to_uint8
from dtbox.files import write_atomic
from dtbox.protocols.base import Protocol
from dtbox.registry import PROTOCOLS

GROUPS = ('objects', 'small', 'medium', 'large', 'rare', 'common', 'frequent', 'background')
COLUMNS = (('region_count', 'objects', ',.0f', 1), ('region_psnr', 'PSNR [dB]', '.2f', 1), ('region_l1', 'L1 in [-1, 1]', '.4f', 1),
           ('region_top1/{}/tokens', 'zero-shot top-1, tokens [%]', '.1f', 100),
           ('region_top1/{}/teacher', 'zero-shot top-1, teacher [%]', '.1f', 100))


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
        for part, values in results.items():
            if part in ('all', 'skipped', 'counts', 'missing', 'protocols') or not values:
                continue
            table = region_table(values)
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


def region_table(values):
    """Return the values of region metrics as Markdown: a row a group, a column a score."""
    def cell(column, group, spec, scale):
        name = column.format(group) if '{}' in column else f'{column}/{group}'
        return format(scale * values[name], spec) if name in values else '–'
    columns = [c for c in COLUMNS if any((c[0].format(g) if '{}' in c[0] else f'{c[0]}/{g}') in values for g in GROUPS)]
    groups = [g for g in GROUPS if f'region_count/{g}' in values or f'region_top1/{g}/tokens' in values]
    lines = ['| inside | ' + ' | '.join(title for _, title, *_ in columns) + ' |', '|---|' + '---:|' * len(columns)]
    return '\n'.join(lines + [f'| {g} | ' + ' | '.join(cell(c, g, spec, scale) for c, _, spec, scale in columns) + ' |' for g in groups])
