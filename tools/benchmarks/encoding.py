"""How fast `dtbox encode` is: two workers against one, and one worker against a bare loop, in turn.

    python tools/benchmarks/encoding.py SHARDS [--run RUN --rounds 3]

The bare loop is what one writes without dtbox encode: tarfile, Pillow, and `Tokenizer.encode` on batches of the same
size, on one thread. It keeps no codes. Both are timed from the moment when the tokenizer is open; with several workers,
when that of the first one is. Give at least four shards, all of about one size, so that two workers end together.
"""
from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile

from measuring import check_counts, run_process
from rich.console import Console

from dtbox.cli.guard import main_guard
from dtbox.errors import InputError

BARE = '''
import io, json, sys, tarfile, time
import torch
from PIL import Image
import dtbox
torch.set_num_threads(1)
run, size, *paths = sys.argv[1:]
tokenizer, batch, count, codes = dtbox.load(run), [], 0, None
begun = time.monotonic()
for path in paths:
    with tarfile.open(path) as tar:
        for member in tar:
            if member.name.lower().endswith(('.jpg', '.jpeg', '.png', '.webp')):
                batch.append(Image.open(io.BytesIO(tar.extractfile(member).read())).convert('RGB'))
            if len(batch) == int(size):
                codes, count, batch = tokenizer.encode(batch), count + len(batch), []
if batch:
    codes, count = tokenizer.encode(batch), count + len(batch)
print(json.dumps(dict(images=count, rate=count / (time.monotonic() - begun))))
'''
"""Program of the bare loop: RUN, images of a batch, tar files."""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description='Time dtbox encode: two workers, one worker, and a bare loop.')
    parser.add_argument('source', metavar='SHARDS', help='folder or pattern of tar files')
    parser.add_argument('--run', default='dtbox://dualtoken-twemoji', help='default: dtbox://dualtoken-twemoji')
    parser.add_argument('--batch', type=int, default=32, metavar='N', help='images of a batch (default: 32)')
    parser.add_argument('--workers', type=int, nargs='+', default=[2, 1], metavar='N', help='default: 2 1')
    parser.add_argument('--rounds', type=int, default=3, metavar='N', help='turns of each way (default: 3)')
    return parser.parse_args(argv)


def time_encode(args: argparse.Namespace, workers: int) -> tuple[int, float]:
    """Encode into a new folder; return (images, images a second)."""
    from dtbox.tokens.encoder import Settings
    from dtbox.tokens.run import Work, encode
    from dtbox.tokens.sources import find_source
    with tempfile.TemporaryDirectory() as folder:
        quiet = Console(file=io.StringIO())
        result = encode(find_source(args.source, 'shards'), os.path.join(folder, 'out'),
                        Settings(args.run, batch=args.batch), Work(workers=workers), quiet)
        if result.failed:
            raise InputError(f'{", ".join(result.failed)} cannot be encoded; give shards that are whole.', 'SHARDS')
        return result.progress.images_done, result.progress.rate()


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = parse(argv)
    check_counts(rounds=args.rounds, batch=args.batch)
    from dtbox.datasets.shards.places import list_places
    paths = [place.path for place in list_places(args.source) if place.path]
    rates: dict[str, list[float]] = {}
    for _ in range(args.rounds):
        for workers in args.workers:
            images, rate = time_encode(args, workers)
            rates.setdefault(f'{workers} workers', []).append(rate)
        found = run_process('the bare loop', BARE, args.run, str(args.batch), *paths)
        if found['images'] != images:
            raise InputError(f'the bare loop found {found["images"]} images, dtbox encode {images}; give shards with '
                             'one image a sample.', 'SHARDS')
        rates.setdefault('bare loop', []).append(found['rate'])
        print('  '.join(f'{name} {values[-1]:,.1f}' for name, values in rates.items()), 'images/s', flush=True)
    middle = {name: statistics.median(values) for name, values in rates.items()}
    for name in middle:
        others = [f'{middle[name] / rate:.2f} of {other}' for other, rate in middle.items() if other != name]
        print(f'{name}: {middle[name]:,.1f} images/s, {", ".join(others)}')


if __name__ == '__main__':
    main()
