"""How cost grows: images a second and memory over image size, depth, codebook size, batch and threads.

    python tools/benchmarks/scaling.py [CONFIG] [--out DIR] [--image-size 64 128 256] [--threads 1 2]

One value changes at a time, the others stay those of the config, with a batch of 1 and one thread. Every point runs
in a process of its own, with random weights. The dashed curves are the limit: the rate of large matrix products,
measured in turn with the point, over the operations of an image (products, convolutions, attention, search).
"""
from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from measuring import check_counts, run_process

from dtbox.cli.guard import main_guard
from dtbox.cli.options import add_config_options, add_tiny_option, read_config
from dtbox.errors import InputError
from dtbox.files import write_atomic

AXES = dict(image_size='image side [pixels]', depth='depth of the codes', codes='codes of a codebook', batch='batch',
            threads='threads')
"""Axis -> label of its column."""
KEYS = dict(image_size='image_size', depth='quantizer.depth', codes='quantizer.size')
"""Axis -> key of the config that it sets."""
DEFAULTS = dict(image_size=[32, 64, 128, 256], depth=[1, 2, 4, 8, 16], codes=[256, 1024, 4096, 16384, 65536],
                batch=[1, 2, 4, 8, 16], threads=[1, 2])
WORK = 'import json, sys; from scaling import work; print(json.dumps(work(json.loads(sys.argv[1]))))'
JOBS = ('encode', 'decode')


def work(point: dict[str, Any]) -> dict[str, float | None]:
    """Measure one point: what a measuring process does.

    Args:
        point: dict(config, options, plugins, tiny, batch, threads, seconds).

    Returns:
        dict: `encode`, `decode` (images a second), `encode_limit`, `decode_limit`, `megabytes` beyond those of a
            process that has imported all, `rate` (operations a second of a large product).
    """
    import torch

    from dtbox.config import load_config, resolve
    from dtbox.diagnostics.gpu.models import count_flops, draw_codes
    from dtbox.diagnostics.rates import SIDES, make_product, take_medians, time_in_turn
    from dtbox.memory import Peak, measure_resident_megabytes
    from dtbox.registry import TOKENIZERS
    torch.set_num_threads(point['threads'])
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    cfg = resolve(load_config(point['config'], point['options'], point['plugins'], tiny=point['tiny']))
    flops = dict(zip(JOBS, count_flops(cfg)))
    before = 0.0 if device.type == 'cuda' else measure_resident_megabytes()
    with Peak() as peak, torch.no_grad():
        torch.manual_seed(0)
        model: Any = TOKENIZERS.build({'type': 'VisualTokenizer', **cfg.model.tokenizer}).to(device).eval()
        images = torch.rand(point['batch'], 3, *model.image_size, device=device) * 2 - 1
        codes = draw_codes(model.layout, point['batch'], device)
        calls = dict(encode=lambda: model.encode(images), decode=lambda: model.decode(codes))
        for call in calls.values():
            call()
    side = point['side'] or SIDES[device.type]
    calls['product'] = make_product(device, torch.float32, side)
    with torch.no_grad():
        seconds = take_medians(time_in_turn(calls, device, point['seconds'], rounds=3, warm=1))
    rate = 2 * side ** 3 / seconds['product']
    return dict(rate=rate, megabytes=None if peak.megabytes is None else peak.megabytes - before,
                **{job: point['batch'] / seconds[job] for job in JOBS},
                **{f'{job}_limit': rate / flops[job] for job in JOBS})


def list_points(args: argparse.Namespace) -> list[tuple[str, int, dict[str, Any]]]:
    """Return (axis, value, point as `work` takes it) of everything that is measured."""
    from dtbox.cli.options import read_options
    base: dict[str, Any] = dict(config=os.path.abspath(args.config) if os.path.exists(args.config) else args.config,
                                options=read_options(args), plugins=args.plugin, tiny=args.tiny, batch=1, threads=1,
                                seconds=args.seconds, side=args.side)
    points = []
    for axis in AXES:
        for value in getattr(args, axis):
            point = dict(base, options=dict(base['options']))
            if axis in KEYS:
                point['options'][KEYS[axis]] = value
            else:
                point[axis] = value
            points.append((axis, value, point))
    return points


def measure(args: argparse.Namespace, folder: str) -> list[dict[str, Any]]:
    """Measure every point, and write the rows after each; returns them."""
    rows: list[dict[str, Any]] = []
    points = list_points(args)
    for number, (axis, value, point) in enumerate(points, 1):
        rows.append(dict(axis=axis, value=value, **run_process(f'{axis} {value}', WORK, json.dumps(point))))
        print(f'{number} of {len(points)}: {axis} {value:,}: {rows[-1]["encode"]:.3g} and {rows[-1]["decode"]:.3g} '
              'images/s', file=sys.stderr, flush=True)
        write(rows, args, folder)
    return rows


def write(rows: list[dict[str, Any]], args: argparse.Namespace, folder: str) -> None:
    """Write scaling.json and scaling.md."""
    import torch
    os.makedirs(folder, exist_ok=True)
    setting = dict(config=args.config, options=args.cfg_options, torch=str(torch.__version__), cores=os.cpu_count())
    write_atomic(os.path.join(folder, 'scaling.json'), json.dumps(dict(setting=setting, rows=rows), indent=1) + '\n')
    write_atomic(os.path.join(folder, 'scaling.md'), format_markdown(rows, args.config))


def format_markdown(rows: list[dict[str, Any]], config: str) -> str:
    """Return the rows as a page."""
    lines = [f'# How cost grows: {config}', '',
             '| | encode [images/s] | of the matrix rate | decode [images/s] | of the matrix rate | memory [MB] |',
             '|---|---|---|---|---|---|']
    for axis in dict.fromkeys(row['axis'] for row in rows):
        lines.append(f'| **{AXES[axis]}** | | | | | |')
        for row in (row for row in rows if row['axis'] == axis):
            rates = ' | '.join(f'{row[job]:,.4g} | {100 * row[job] / row[f"{job}_limit"]:.0f} %' for job in JOBS)
            memory = '' if row['megabytes'] is None else f'{row["megabytes"]:,.0f}'
            lines.append(f'| {row["value"]:,} | {rates} | {memory} |')
    return '\n'.join(lines) + '\n'


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description='Measure how images a second and memory of a tokenizer grow with image size, depth, codebook size, '
                    'batch and threads, beside the limit of the machine. Use an idle machine.')
    parser.add_argument('config', nargs='?', default='dualtoken_rq', metavar='CONFIG',
                        help='config of a recipe with `image_size` and a residual `quantizer` (default: dualtoken_rq)')
    for axis, label in AXES.items():
        parser.add_argument(f'--{axis.replace("_", "-")}', type=int, nargs='*', default=DEFAULTS[axis], metavar='N',
                            help=f'{label} (default: {" ".join(map(str, DEFAULTS[axis]))}); no number leaves it out')
    parser.add_argument('--seconds', type=float, default=1.0, metavar='S', help='of the timing of a job (default: 1)')
    parser.add_argument('--side', type=int, metavar='N', help='side of the product that gives the limit')
    parser.add_argument('--out', default='work_dirs/benchmarks/scaling', metavar='DIR',
                        help='folder for scaling.json, .md and .png (default: work_dirs/benchmarks/scaling)')
    add_tiny_option(parser)
    add_config_options(parser)
    args = parser.parse_args(argv)
    check_counts(**{axis: value for axis in AXES for value in getattr(args, axis)[:1]})
    if any(value < 1 for axis in AXES for value in getattr(args, axis)):
        raise InputError('a value below 1 came; expected counts of at least 1.')
    read_config(args)  # a config that is wrong is told before anything is measured
    from dtbox.drawing.scaling_plot import draw_scaling
    rows = measure(args, args.out)
    if not rows:
        raise InputError('every axis was left out; nothing is to be measured.')
    draw_scaling(rows, AXES, os.path.join(args.out, 'scaling.png'), f'How cost grows: {args.config}')
    print(format_markdown(rows, args.config), end='')
    print(f'\nwritten to {args.out}')


if __name__ == '__main__':
    main()
