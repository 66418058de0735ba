"""How fast token shards are written, read and checked on one core, and their size beside the entropy of the codes.

    python tools/benchmarks/token_shards.py [--images 16384 --positions 256 --depth 4 --size 1024]
    python tools/benchmarks/token_shards.py --codes codes.npy        # [M, N, Q], those of a tokenizer

Without --codes, codes are drawn so that the code of rank r comes with a probability proportional to r to the power of
minus --skew. Times are the median of --rounds, each of which opens the files anew; files come from the page cache of
the system. pyarrow computes on one thread, so that on a busy machine the rate by CPU time is that of an idle core.
"""
from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
from measuring import check_counts

from dtbox.cli.guard import main_guard
from dtbox.errors import InputError
from dtbox.token_shards.fingerprint import Fingerprint
from dtbox.token_shards.format import ShardMeta, Stream
from dtbox.token_shards.reading import open_folder
from dtbox.token_shards.writing import Row, write_shard
from dtbox.tokens.checking import check_folder

FILE = 8192
"""Images of a token shard."""


def draw_codes(images: int, stream: Stream, skew: float) -> np.ndarray:
    """Return codes [M, N, Q]; each depth has an order of its own in which codes are frequent."""
    rng = np.random.default_rng(0)
    chance = np.arange(1, stream.size + 1.0) ** -skew
    ends = np.cumsum(chance / chance.sum())
    ends[-1] = 1
    shape = images, stream.positions
    return np.stack([rng.permutation(stream.size)[np.searchsorted(ends, rng.random(shape))]
                     for _ in range(stream.depth)], -1)


def make_rows(codes: np.ndarray, stream: Stream) -> Iterator[Row]:
    """Yield the rows of codes [M, N, Q]."""
    for index, value in enumerate(codes):
        yield Row(f'{index:09d}', index, index.to_bytes(16, 'big'), 256, 256, codes={stream.name: value})


def measure(work: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Return the medians of the seconds of some rounds: by the clock, and of the CPU."""
    seconds = []
    for _ in range(rounds):
        start, busy = time.perf_counter(), time.process_time()
        work()
        seconds.append((time.perf_counter() - start, time.process_time() - busy))
    return statistics.median(clock for clock, _ in seconds), statistics.median(cpu for _, cpu in seconds)


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (('images', 16384), ('positions', 256), ('depth', 4), ('size', 1024), ('rounds', 5)):
        parser.add_argument(f'--{name}', type=int, default=default)
    parser.add_argument('--skew', type=float, default=0.6)
    parser.add_argument('--codes', help='.npy file')
    args = parser.parse_args(argv)
    check_counts(images=args.images, rounds=args.rounds)
    import pyarrow as pa
    pa.set_cpu_count(1)
    codes = np.load(args.codes) if args.codes else None
    if codes is not None and (codes.ndim != 3 or codes.dtype.kind not in 'iu' or not codes.size):
        raise InputError(f'{args.codes} holds {codes.dtype} {list(codes.shape)}; expected integers [M, N, Q].',
                         '--codes')
    shape = (args.positions, args.depth) if codes is None else codes.shape[1:]
    stream = Stream('pixel', *shape, args.size if codes is None else int(codes.max()) + 1)
    codes = draw_codes(args.images, stream, args.skew) if codes is None else codes
    meta = ShardMeta(Fingerprint('-', '-', '-', 'float32', 'cpu', '-'), (stream,))
    with tempfile.TemporaryDirectory() as folder:
        def write() -> None:
            for first in range(0, len(codes), FILE):
                write_shard(folder, f'{first}', make_rows(codes[first:first + FILE], stream), meta)

        def read(verify: bool) -> None:
            count = sum(len(shard.codes(stream.name)) for shard in open_folder(folder, verify=verify))
            assert count == len(codes)
        print(f'{len(codes):,} images of {stream.positions} x {stream.depth} codes in [0, {stream.size:,})')
        for name, work, rounds in (('write', write, 1), ('read', lambda: read(True), args.rounds),
                                   ('read, nothing verified', lambda: read(False), args.rounds),
                                   ('check', lambda: check_folder(folder), 1)):
            clock, cpu = measure(work, rounds)
            print(f'{name:24} {len(codes) / clock:10,.0f} images/s, {len(codes) / cpu:10,.0f} a second of the CPU')
        check = check_folder(folder)
        size, bound = check.usage.bytes['pixel'], check.usage.bound('pixel')
        print(f'column of codes {size / 1e6:.2f} MB, files {check.bytes / 1e6:.2f} MB; entropy of the codes '
              f'{bound / 1e6:.2f} MB ({size / bound - 1:+.1%}), of each depth '
              f'{check.usage.bound("pixel", by_depth=True) / 1e6:.2f} MB; int64 {codes.size * 8 / 1e6:.2f} MB')


if __name__ == '__main__':
    main()
