"""What a tokenizer of any size takes to open and to use, with random weights, since times do not depend on them.

    python tools/benchmarks/inference.py CONFIG [--image FILE] [--batch N]
"""
from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from typing import TYPE_CHECKING, Callable

import torch
from measuring import check_counts, run_process

from dtbox.apis.loading import load
from dtbox.cli.guard import main_guard
from dtbox.cli.options import add_config_options, add_tiny_option, read_config
from dtbox.config import resolve
from dtbox.config.text import dump_config
from dtbox.errors import InputError
from dtbox.memory import Peak
from dtbox.registry import TOKENIZERS
from dtbox.runs import RunFolder
from dtbox.training import checkpoint

if TYPE_CHECKING:
    from mmengine.config import Config

    from dtbox.apis.tokenizer import Tokenizer

Say = Callable[[str], None]

MEASURE = '''
import json, sys, time
import torch
import dtbox, dtbox.apis.loading, dtbox.registry
import timm, open_clip
from dtbox.memory import Peak, measure_resident_megabytes
from dtbox.runs import RunFolder
what, path, size = sys.argv[1:]
def read():
    with open(RunFolder(path).checkpoint, 'rb', buffering=0) as f:
        data, done = bytearray(int(size)), 0
        view = memoryview(data)
        while done < len(view):
            done += f.readinto(view[done:done + (1 << 24)])
        return data
dtbox.apis.loading.open_config(path)
before, begun = measure_resident_megabytes(), time.perf_counter()
with Peak() as peak:
    kept = read() if what == 'read' else dtbox.load(path)
seconds = time.perf_counter() - begun
print(json.dumps(dict(seconds=seconds, megabytes=peak.megabytes - before)))
'''


def make_run(source: Config, cfg: Config, folder: str) -> int:
    """Write a run folder with random weights for a config.

    Args:
        source: Config as `load_config` returns it.
        cfg: the same, resolved.
        folder: new folder.

    Returns:
        bytes of its checkpoint.
    """
    run = RunFolder(folder)
    os.makedirs(folder)
    tokenizer = TOKENIZERS.build({'type': 'VisualTokenizer', **cfg.model.tokenizer}, where='model.tokenizer')
    dump_config(source, run.config, header='Random weights, for a benchmark.')
    state = {f'tokenizer.{k}': v for k, v in tokenizer.state_dict().items()}
    checkpoint.save(dict(meta={}, state_dict=state), run.checkpoint)
    run.write_origin()
    return os.path.getsize(run.checkpoint)


def measure_loading(folder: str, rounds: int = 3) -> dict[str, list[dict]]:
    """Time `dtbox.load` and a plain read of the checkpoint, in turn, each in a process of its own; the file is in the
    cache.

    Returns:
        dict: `load` and `read`, lists of dict(seconds, megabytes).
    """
    size = os.path.getsize(RunFolder(folder).checkpoint)
    results = dict(read=[], load=[])
    for _ in range(rounds):
        for what in results:
            results[what].append(run_process(what, MEASURE, what, folder, str(size)))
    return results


def measure_use(folder: str, images: object, rounds: int = 3, say: Say = print) -> tuple[dict, dict, dict]:
    """Time encoding, decoding and embedding, alternating within each round; the first round warms up.

    Args:
        folder: run folder.
        images: tensor [B,3,H,W] in [-1,1], or anything else that `Tokenizer` takes.
        rounds: that count.
        say: called with lines of progress.

    Returns:
        tuple: dict name -> list of seconds; dict name -> 10^6 bytes of the process at its peak, weights included, or
            None where that is unknown; dict vocabulary -> fraction of bfloat16's codes that equal float32's at each
            depth.
    """
    images, codes, times, peaks = _use(load(folder), images, rounds, say)
    half = load(folder, dtype='bfloat16')
    prepared = half.prepare(images.to(half.dtype))
    other = half.encode(prepared)
    equal = {n: (codes[n] == other[n]).float().mean(dim=(0, 1)).tolist() for n in codes}
    more = _time_jobs({'encode all, bfloat16': lambda: half.encode(prepared)}, rounds, say)
    return {**times, **more[0]}, {**peaks, **more[1]}, equal


def _use(tokenizer: Tokenizer, images: object, rounds: int, say: Say) -> tuple:
    """Return (prepared images, their codes, seconds and peak of each job); the tokenizer is freed afterwards."""
    images = tokenizer.prepare(images)
    jobs = {'encode all': lambda: tokenizer.encode(images)}
    for name in tokenizer.streams:
        jobs[f'encode {name}'] = lambda name=name: tokenizer.encode(images, [name])
    codes = tokenizer.encode(images)
    if tokenizer.model.decoder is not None:
        jobs['decode'] = lambda: tokenizer.decode(codes)
    if tokenizer.model.head is not None:
        jobs['embed'] = lambda: tokenizer.embed_image(images)
    return images, codes, *_time_jobs(jobs, rounds, say)


def _time_jobs(jobs: dict[str, Callable], rounds: int, say: Say) -> tuple[dict, dict]:
    """Return the seconds of each job in each round, and its peak in the first, which warms up."""
    times, peaks = {name: [] for name in jobs}, {}
    for i in range(rounds + 1):
        for name, job in jobs.items():
            begun = time.perf_counter()
            with torch.no_grad(), contextlib.nullcontext() if i else Peak() as peak:
                job()
            if i:
                times[name].append(time.perf_counter() - begun)
            else:
                peaks[name] = peak.megabytes
        say(f'round {i} of {rounds}')
    return times, peaks


def show_loading(results: dict[str, list[dict]], size: int) -> None:
    """Print the results of `measure_loading`."""
    seconds = {k: statistics.median(r['seconds'] for r in rows) for k, rows in results.items()}
    peak = statistics.median(r['megabytes'] for r in results['load'])
    print(f'dtbox.load {seconds["load"]:.2f} s, reading the file {seconds["read"]:.2f} s, ratio '
          f'{seconds["load"] / seconds["read"]:.2f}; peak {peak:,.0f} MB, {peak * 1e6 / size:.2f} x the weights')


def show_use(times: dict, peaks: dict, equal: dict, batch: int) -> None:
    """Print the results of `measure_use`."""
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    for name, seconds in medians.items():
        memory = f'  peak {peaks[name]:,.0f} MB' if peaks[name] else ''
        print(f'{name:<22} {seconds:8.2f} s  {batch / seconds:8.3f} images/s  {medians["encode all"] / seconds:5.2f} x '
              f'encoding all{memory}')
    for name, fractions in equal.items():
        listed = ', '.join(f'{f:.1%}' for f in fractions)
        print(f'codes of {name} that bfloat16 leaves as they are, by depth: {listed}')


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description='Make a run folder with random weights and time dtbox.load beside a plain read of its file, and '
                    'encoding (all codes, those of one vocabulary), decoding and embedding. Use an idle machine.')
    parser.add_argument('config', help='config file or its name')
    parser.add_argument('--image', metavar='FILE', help='image to use (default: noise)')
    parser.add_argument('--batch', type=int, default=1, metavar='N', help='images at a time (default: 1)')
    parser.add_argument('--rounds', type=int, default=3, metavar='N', help='that count; one more warms up (default: 3)')
    parser.add_argument('--only', choices=['load', 'use'], help='one of the two measurements')
    add_tiny_option(parser)
    add_config_options(parser)
    args = parser.parse_args(argv)
    check_counts(batch=args.batch, rounds=args.rounds)
    if args.image and not os.path.isfile(args.image):
        raise InputError(f'{args.image} does not exist.', '--image')
    source = read_config(args)
    cfg = resolve(source)
    with tempfile.TemporaryDirectory() as place:
        folder = os.path.join(place, 'run')
        size = make_run(source, cfg, folder)
        print(f'random weights, {size / 1e9:.2f} GB')
        if args.only != 'use':
            show_loading(measure_loading(folder, args.rounds), size)
        if args.only != 'load':
            side = cfg.model.tokenizer.image_size
            images = [args.image] * args.batch if args.image else torch.rand(args.batch, 3, side, side) * 2 - 1
            show_use(*measure_use(folder, images, args.rounds), args.batch)


if __name__ == '__main__':
    main()
