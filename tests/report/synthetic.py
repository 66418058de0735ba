"""A grid's folder with made-up results, as a grid leaves it, and how long its report takes:

    python -m tests.report.synthetic FOLDER [--variants 20 --seeds 5]
"""
import argparse
import csv
import itertools
import json
import math
import time
from pathlib import Path

import numpy as np

FIRST = ('trial', 'folder', 'status', 'reason')
FACTS = ('seed', 'overrides', 'iterations', 'seconds', 'peak_mb', 'parameters', 'tokens', 'bits', 'bits_per_pixel',
         'threads', 'config_hash', 'code_hash', 'plugin_hash', 'data_hash', 'identity')
SETS = ('concepts', 'variants')


def write_grid(folder, axes, seeds, images=40, tile=32, metrics=(), reference=None, failed=(), sheets=True,
               quality=None):
    """Write a grid's folder.

    Args:
        folder: Path, new.
        axes: dict axis -> labels.
        seeds: list of seeds.
        images: held-out images of each of the two sets.
        tile: side of the images in heldout.png.
        metrics, reference: as in grid.json.
        failed: numbers of the trials that fail.
        sheets: whether there are images and curves.
        quality: function variant number -> PSNR in dB; the default rises from variant to variant.

    Returns:
        list of rows as results.csv has them.
    """
    quality = quality or (lambda v: 20 + 0.3 * v)
    variants = list(itertools.product(*axes.values()))
    inputs = np.random.default_rng(0).integers(0, 256, (8, tile, tile, 3), dtype=np.uint8)
    rows = []
    for v, seed in itertools.product(range(len(variants)), seeds):
        name = '__'.join([*variants[v], f'seed{seed}'])
        run = folder / 'trials' / name
        run.mkdir(parents=True)
        row = dict(trial=name, folder=f'trials/{name}', status='done', reason='', **dict(zip(axes, variants[v])),
                   seed=seed, threads=1, overrides=json.dumps(dict(recipe='made_up.py',
                                                                   **{f'model.{a}': label
                                                                      for a, label in zip(axes, variants[v])})),
                   config_hash=f'{v:08x}{seed:08x}', code_hash='c0de' * 4, data_hash='da7a' * 4)
        if len(rows) in failed:
            row.update(status='diverged', reason='at iteration 7, the term l2 is NaN.')
            (run / 'log.txt').write_text('\x1b[31mstart\x1b[0m\n' + ''.join(f'line {i}\n' for i in range(40))
                                         + 'stopped: the term l2 is NaN. <b>\n')
        else:
            row.update(_facts(v, seed), **_scores(run, v, seed, quality(v), images))
            _write_run(run, v, seed, inputs, sheets)
        rows.append(row)
    columns = [*FIRST, *axes, *FACTS]
    _write_rows(folder, rows, columns + sorted({k for row in rows for k in row} - set(columns)))
    about = dict(format=1, name='made-up', title='A made-up grid', description='Numbers that nobody '
                                                                               'measured.',
                 config='configs/ablations/made_up.py', command='python tools/ablate.py configs/ablations/made_up.py',
                 axes={k: list(v) for k, v in axes.items()}, seeds=list(seeds), metrics=list(metrics),
                 reference=reference, started='2025-01-01 12:00:00', machine=dict(processor='CPU', cores=2, gpus=[]),
                 versions=dict(dtbox='0', torch='0'), seconds=3723.0, workers=2, threads=1)
    (folder / 'grid.json').write_text(json.dumps(about))
    return rows


def edit_rows(folder, change):
    """Have a function change the rows of a results.csv, a list of dicts of text."""
    with open(folder / 'results.csv', newline='') as f:
        reader = csv.DictReader(f)
        rows, columns = list(reader), reader.fieldnames
    change(rows)
    _write_rows(folder, rows, columns)


def _write_rows(folder, rows, columns):
    with open(folder / 'results.csv', 'w', newline='') as f:
        writer = csv.DictWriter(f, columns, restval='', lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)


def _facts(v, seed):
    return dict(iterations=300, seconds=200 + v + seed, peak_mb=900 + v, parameters=3_000_000 + 1000 * v, tokens=1024,
                bits=10240, bits_per_pixel=2.5)


def _scores(run, v, seed, level, images):
    """Write metrics.json and samples.npz of a run that fit together; returns SET/METRIC -> number."""
    from dtbox.evaluation import write_samples
    content, rng = np.random.default_rng(1), np.random.default_rng(1000 * v + seed)
    n = images * len(SETS)
    samples = dict(keys=np.array([f'{i:04d}' for i in range(images)] * len(SETS)), sets=np.repeat(SETS, images))
    base, easy = content.normal(0, 3, n), content.uniform(0, 1, n)
    samples['psnr'] = level + base + rng.normal(0, 0.1) + rng.normal(0, 0.3, n)
    samples['ssim'] = 1 / (1 + np.exp(-samples['psnr'] / 10 + 2))
    samples['token_cosine'] = 0.95 - 0.004 * v - 0.02 * easy + rng.normal(0, 0.002) + rng.normal(0, 0.005, n)
    samples['pooled_cosine'] = samples['token_cosine'] + 0.01
    for way in ('t2i', 'i2t'):
        samples[f'{way}/keys'], samples[f'{way}/sets'] = samples['keys'], samples['sets']
        for side in ('teacher', 'tokens'):
            noise = 0 if side == 'teacher' else rng.normal(0.005 * v, 0.2, n)
            samples[f'{way}/{side}'] = np.floor(5 * np.clip(easy + noise, 0, 3) ** 2)
    write_samples(samples, run / 'samples.npz')
    results = {}
    for part in (*SETS, 'all'):
        mine = (samples['sets'] == part) | (part == 'all')
        results[part] = {k: float(samples[k][mine].mean()) for k in ('psnr', 'ssim', 'token_cosine', 'pooled_cosine')}
        results[part]['psnr/stderr'] = float(samples['psnr'][mine].std() / math.sqrt(mine.sum()))
        results[part].update({'frechet_teacher': 0.1 + 0.01 * v, 'usage/pixel': 0.9 - 0.001 * v, 'dead/pixel': 100.0
                              + v, 'perplexity/pixel': 400.0 - v, 'usage/pixel/depth0': 0.5})
        if part != 'all':
            results[part].update({f'{way}_r{k}/{side}': float((samples[f'{way}/{side}'][mine] < k).mean())
                                  for way in ('t2i', 'i2t') for k in (1, 5) for side in ('teacher', 'tokens')})
    (run / 'metrics.json').write_text(json.dumps(dict(results, skipped={}, counts=dict(all=n), iteration=300)))
    return {f'{part}/{k}': value for part, values in results.items() for k, value in values.items()}


def _write_run(run, v, seed, inputs, sheets):
    (run / 'config.py').write_text(f'model = dict()\nseed = {seed}\nthreads = 1\n')
    (run / 'log.txt').write_text('all is well\n')
    if not sheets:
        return
    from dtbox.drawing.strips import write_strip
    rng = np.random.default_rng(seed)
    made = np.clip(inputs + rng.normal(0, 10 + 2 * v, inputs.shape), 0, 255).astype(np.uint8)
    write_strip(inputs, made, run / 'heldout.png', [('concepts', f'{i}') for i in range(len(inputs))])
    with open(run / 'history.jsonl', 'w') as f, open(run / 'codebooks.jsonl', 'w') as g:
        for i in range(20, 301, 20):
            decay = math.exp(-i / 100)
            f.write(json.dumps(dict(iteration=i, seconds=i / 2, total=20 * decay + v + seed / 10, l2=decay,
                                    semantic_tokens=2 * decay - v / 50, generator_lr=1e-3 * decay)) + '\n')
            g.write(json.dumps({'iteration': i, 'usage_pixel_0': 1 - decay, 'usage_pixel_1': 1 - decay / 2,
                                'perplexity_pixel_0': 300 * (1 - decay), 'dead_pixel_0': 3, 'restarts_pixel': 10,
                                'spread_pixel': 0.1}) + '\n')


def main(argv=None):
    """Write a grid, build its report, print time and size."""
    parser = argparse.ArgumentParser(description='Build the report of a made-up grid; print time and size.')
    parser.add_argument('folder', type=Path, help='new folder')
    parser.add_argument('--variants', type=int, default=20)
    parser.add_argument('--seeds', type=int, default=5)
    parser.add_argument('--images', type=int, default=290, help='held-out images of each of two sets')
    args = parser.parse_args(argv)
    args.folder.mkdir(parents=True)
    from dtbox.report import build
    axes = dict(codebooks=[f'codebook {i}' for i in range(args.variants)])
    write_grid(args.folder, axes, range(args.seeds), args.images, tile=64, reference=dict(codebooks='codebook 0'),
               failed=(3, 7))
    start = time.time()
    page = Path(build(args.folder))
    print(f'{args.variants * args.seeds} trials: {time.time() - start:.1f} s, page {page.stat().st_size / 1e6:.2f} MB')


if __name__ == '__main__':
    main()
