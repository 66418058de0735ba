"""What the layer finder leaves: layers.json, a table and a figure."""
from __future__ import annotations

import json
import os

import numpy as np

from dtbox.counts import format_count
from dtbox.drawing.layers_plot import draw_layers
from dtbox.evaluation import to_json
from dtbox.files import write_atomic
from dtbox.markup import escape_markdown


def write_result(result: dict, folder: str) -> None:
    """Write layers.json, layers.md and layers.png into a folder."""
    os.makedirs(folder, exist_ok=True)
    to_json(result, os.path.join(folder, 'layers.json'))
    write_atomic(os.path.join(folder, 'layers.md'), format_table(result) + '\n')
    rows = result['layers']
    settings = result['settings']
    proposal = result['proposal']

    def curve(key, scale=1.0, half=None):
        return [(row['layer'], scale * row[key], scale * (row[half] if half and np.isfinite(row[half]) else 0))
                for row in rows]
    best = {key: max(row[key] for row in rows if row['layer'] or len(rows) == 1) for key in ('psnr', 'r1')
            if key in rows[0]}
    panels = [dict(title='reconstruction by a small decoder', label='PSNR [dB]',
                   curves={'PSNR': curve('psnr', half='psnr_ci95')},
                   bound=(f'best block - {settings["within_db"]:g} dB', best['psnr'] - settings['within_db']))]
    if 'ssim' in rows[0]:
        panels.append(dict(title='reconstruction by a small decoder', label='SSIM', curves={'SSIM': curve('ssim')}))
    if 'r1' in rows[0]:
        curves = {'text to image R@1': curve('t2i_r1', 100), 'image to text R@1': curve('i2t_r1', 100),
                  'mean of both': curve('r1', 100)}
        curves.update({f'zero-shot top-{k}': curve(f'zeroshot_top{k}', 100) for k in (5,)
                       if f'zeroshot_top{k}' in rows[0]})
        panels.append(dict(title='semantics by an attention pool', label='%', curves=curves,
                           bound=(f'best block\'s mean - {settings["within_points"]:g} points', 100
                                  * best['r1'] - settings['within_points'])))
    marks = {name: layer for name, layer in proposal.items() if layer is not None}
    title = (f'{os.path.basename(os.path.normpath(settings["source"]))}, encoder `{settings["encoder"]}`: probes on '
             f'frozen features, {format_count(settings["iters"], "step")} of '
             f'{format_count(settings["batch_size"], "image")}; {settings["heldout_images"]:,} held-out images')
    draw_layers(panels, os.path.join(folder, 'layers.png'), title, marks)


def format_table(result: dict) -> str:
    """Return the result of `probe_layers` as Markdown: a row a layer, the proposal, the rule and the remarks."""
    rows, settings = result['layers'], result['settings']
    spec = {'layer': '', 'tokens': ',', 'psnr': '.2f', 'psnr_loss': '.2f', 'ssim': '.3f', 't2i_r1': '.1%',
            'i2t_r1': '.1%', 'r1': '.1%', 'r1_loss': '.1f', 'zeroshot_top1': '.1%', 'zeroshot_top5': '.1%'}
    names = dict(psnr='PSNR [dB]', psnr_loss='below the best block [dB]', ssim='SSIM', t2i_r1='text to image R@1',
                 i2t_r1='image to text R@1', r1='mean R@1', r1_loss='below the best block [points]',
                 zeroshot_top1='zero-shot top-1', zeroshot_top5='top-5')
    columns = [key for key in spec if key in rows[0]]
    lines = [f'| {" | ".join(names.get(key, key) for key in columns)} | good for |', '|' + '---|' * (len(columns) + 1)]
    for row in rows:
        cells = []
        for key in columns:
            scale = 100 if key == 'r1_loss' else 1
            half = row.get(f'{key}_ci95') if key.endswith('_loss') else None
            cells.append(format(scale * row[key], spec[key])
                         + (f' +- {format(scale * half, spec[key])}' if half else ''))
        good = [name for name in ('pixels', 'semantics') if row.get(f'good_for_{name}')]
        lines.append(f'| {" | ".join(cells)} | {", ".join(good)} |')
    pair = result['proposal']
    semantic = f', semantic layer {pair["semantic"]}' if pair['semantic'] is not None else ''
    lines += ['', f'Proposed: pixel layer {pair["pixel"]}{semantic}.',
              f'Good for pixels: shown to lose at most {settings["within_db"]:g} dB against the best layer; for '
              f'semantics: at most {settings["within_points"]:g} points of mean R@1 (upper ends of 95 % intervals, '
              'paired over the held-out images). The pixel layer is the deepest good one up to the semantic layer, '
              'the semantic layer the shallowest good one. Layer 0, the embedding, is no candidate.']
    lines += [f'Note: {escape_markdown(remark)}.' for remark in result['remarks']]
    lines.append(f'{settings["seconds"]:.0f} s; '
                 f'{json.dumps({k: settings[k] for k in ("iters", "batch_size", "seed")})}')
    return '\n'.join(lines)
