"""How fast codes come from token shards: from Parquet in order, from the cache in random order, and as samples of
`TokenShards`, on one core.

    python tools/benchmarks/token_cache.py [--folder OUT]

Without --folder it writes shards of random codes, 256 places of 4 codes below 1,024 each, and beside the cache it times
numpy alone, which copies the same rows from one array in memory.
"""
from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
from measuring import check_counts

from dtbox.cli.guard import main_guard
from dtbox.datasets import CursorBatchSampler, TokenShards, collate_conversations
from dtbox.layout import CodeLayout, Grid, StreamLayout
from dtbox.token_shards.cache import TokenCache
from dtbox.token_shards.fingerprint import Fingerprint
from dtbox.token_shards.format import ShardMeta, make_streams
from dtbox.token_shards.reading import list_shards, open_shard
from dtbox.token_shards.writing import Row, write_shard

BATCH = 256


def write_random(folder: str, count: int, shards: int = 8) -> None:
    """Write token shards of random codes [256, 4] with a short text each."""
    layout = CodeLayout((StreamLayout('pixel', Grid(16, 16), (1024,) * 4),))
    meta = ShardMeta(Fingerprint('0' * 16, '', '', 'float32', 'cpu', ''), make_streams(layout), layout.to_dict())
    rng = np.random.default_rng(0)
    for shard in range(shards):
        rows = (Row(f'{i:07d}', i, rng.bytes(16), 256, 256, texts=[f'image number {i}'],
                    codes=dict(pixel=rng.integers(0, 1024, (256, 4)))) for i in range(count // shards))
        write_shard(folder, f'shard-{shard}', rows, meta)


def time_parts(run: Callable[[], Iterator[int]], seconds: float) -> tuple[float, float]:
    """Return images a second, and a second of this process's CPU time (of which other processes take nothing), of an
    iterator that yields numbers of images; the first part is not counted."""
    parts = run()
    next(parts)
    done, begun = 0, time.perf_counter()
    cpu = time.process_time()
    for count in parts:
        done += count
        if time.perf_counter() - begun > seconds:
            break
    return done / (time.perf_counter() - begun), done / (time.process_time() - cpu)


def measure(folder: str, rounds: int = 5, seconds: float = 1.0, say: Callable[[str], None] = print) -> dict[str, float]:
    """Time all ways of reading in turn.

    Args:
        folder: of token shards; its cache is built where it is not there.
        rounds: turns of each.
        seconds: of a turn.
        say: called with lines of text.

    Returns:
        name -> median images a second of CPU time.
    """
    begun = time.perf_counter()
    cache = TokenCache(folder)
    say(f'opened a cache of {len(cache):,} images in {time.perf_counter() - begun:.1f} s')
    dataset = TokenShards(folder, task='image')
    names = [stream.name for stream in cache.meta.streams]
    orders = [np.random.default_rng(r).permutation(len(cache)) for r in range(rounds)]
    array = {name: cache.read(name, np.arange(len(cache))) for name in names}

    def read_parquet(_: int) -> Iterator[int]:
        for path in itertools.cycle(list_shards(folder)):
            shard = open_shard(path)
            yield max(len(shard.codes(name)) for name in names)

    def read_rows(read: Callable[[str, np.ndarray], np.ndarray]) -> Callable[[int], Iterator[int]]:
        def run(turn: int) -> Iterator[int]:
            for first in itertools.cycle(range(0, len(cache), BATCH)):
                rows = orders[turn][first:first + BATCH]
                yield max(len(read(name, rows)) for name in names)
        return run

    def read_samples(turn: int) -> Iterator[int]:
        sampler = CursorBatchSampler(len(dataset), min(BATCH, len(dataset)), turn, last='carry', order=dataset.order)
        for positions in sampler:
            yield len(collate_conversations([dataset[position] for position in positions]))
    ways = {'Parquet, in order, verified': read_parquet, 'cache, random order': read_rows(cache.read),
            'numpy array in memory': read_rows(lambda name, rows: array[name][rows]),
            'samples of TokenShards': read_samples}
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name, run in list(ways.items())[::1 if turn % 2 else -1]:
            rates[name].append(time_parts(lambda run=run, turn=turn: run(turn), seconds))
    size = sum(codes[0].nbytes for codes in array.values())
    medians = {}
    for name, found in rates.items():
        wall, medians[name] = (statistics.median(one) for one in zip(*found))
        say(f'{name}: {wall:,.0f} images/s, {medians[name]:,.0f} a second of CPU time '
            f'({medians[name] * size / 1e6:,.0f} MB)')
    return medians


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description='Images a second from token shards on one core: Parquet, the memory-mapped cache, samples of a '
                    'language model. Use an idle machine.')
    parser.add_argument('--folder', metavar='OUT', help='token shards of your own (default: random codes of 256 x 4)')
    parser.add_argument('--count', type=int, default=65536, metavar='N', help='images to write (default: 65536)')
    parser.add_argument('--rounds', type=int, default=5, metavar='N', help='turns of each way (default: 5)')
    args = parser.parse_args(argv)
    check_counts(count=args.count, rounds=args.rounds)
    with tempfile.TemporaryDirectory() as place:
        if args.folder is None:
            write_random(place, max(8, args.count))
        measure(os.path.expanduser(args.folder or place), args.rounds)


if __name__ == '__main__':
    main()
