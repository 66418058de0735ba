"""Time to open and to use a tokenizer of any size, with random weights: python tools/benchmark_inference.py CONFIG [--image FILE] [--batch N]"""
import argparse
import os
import statistics
import tempfile

from dtbox.cli.guard import main_guard
from dtbox.cli.options import add_config_options, add_tiny_option, read_config
from dtbox.errors import InputError


@main_guard
def main(argv=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(description='Make a run folder with random weights and time dtbox.load beside a plain read of its file, and '
                                                 'encoding (all codes, those of one vocabulary), decoding and embedding. Use an idle machine.')
    parser.add_argument('config', help='config file')
    parser.add_argument('--image', metavar='FILE', help='picture to use (default: noise)')
    parser.add_argument('--batch', type=int, default=1, help='pictures at a time (default: 1)')
    parser.add_argument('--rounds', type=int, default=3, help='that count; one more warms up (default: 3)')
    parser.add_argument('--only', choices=['load', 'use'], help='one of the two measurements')
    add_tiny_option(parser)
    add_config_options(parser)
    args = parser.parse_args(argv)
    if args.batch < 1 or args.rounds < 1:
        raise InputError('--batch and --rounds must be at least 1.')
    if args.image and not os.path.isfile(args.image):
        raise InputError(f'{args.image} does not exist.', '--image')
    import torch

    from dtbox.config import resolve
    from dtbox.diagnostics.inference_benchmark import make_run, measure_loading, measure_use
    source = read_config(args)
    cfg = resolve(source)
    with tempfile.TemporaryDirectory() as place:
        folder = os.path.join(place, 'run')
        size = make_run(source, cfg, folder)
        print(f'random weights, {size / 1e9:.2f} GB')
        if args.only != 'use':
            show_loading(measure_loading(folder, args.rounds), size)
        if args.only != 'load':
            image = cfg.model.tokenizer.image_size
            images = [args.image] * args.batch if args.image else torch.rand(args.batch, 3, image, image) * 2 - 1
            show_use(*measure_use(folder, images, args.rounds), args.batch)


def show_loading(found, size):
    """Print what `measure_loading` found."""
    seconds = {k: statistics.median(r['seconds'] for r in rows) for k, rows in found.items()}
    peak = statistics.median(r['megabytes'] for r in found['load'])
    print(f'dtbox.load {seconds["load"]:.2f} s, reading the file {seconds["read"]:.2f} s, ratio {seconds["load"] / seconds["read"]:.2f}; '
          f'peak {peak:,.0f} MB, {peak * 1e6 / size:.2f} x the weights')


def show_use(times, peaks, equal, batch):
    """Print what `measure_use` found."""
    middle = {name: statistics.median(seconds) for name, seconds in times.items()}
    for name, seconds in middle.items():
        memory = f'  peak {peaks[name]:,.0f} MB' if peaks[name] else ''
        print(f'{name:<22} {seconds:8.2f} s  {batch / seconds:8.3f} pictures/s  {middle["encode all"] / seconds:5.2f} x encoding all{memory}')
    for name, shares in equal.items():
        print(f'codes of {name} that bfloat16 leaves as they are, by depth: {", ".join(f"{s:.1%}" for s in shares)}')


if __name__ == '__main__':
    main()
