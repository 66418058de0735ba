"""How much faster a grid is with many workers of one thread than with one worker of many threads.

    python tools/benchmarks/grid.py GRID [--cores N]
"""
from __future__ import annotations

import argparse
import os
import tempfile
import time

from measuring import check_counts

from dtbox.cli.guard import main_guard
from dtbox.cli.options import add_config_options, read_options
from dtbox.errors import InputError


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description='Time a grid with N workers of one thread against one worker of N '
                                                 'threads.')
    parser.add_argument('grid', help='config of a grid, or its name')
    parser.add_argument('--cores', type=int, metavar='N', help='default: the cores of this machine')
    parser.add_argument('--only', metavar='PATTERN', help='trials to run, such as "*seed0"; at least two')
    parser.add_argument('--rounds', type=int, default=1, metavar='N', help='turns of each way (default: 1)')
    add_config_options(parser)
    return parser.parse_args(argv)


def run_in_turn(args: argparse.Namespace, workers: int, threads: int) -> tuple[float, float, int]:
    """Run the grid in a new folder; return (wall seconds, bookkeeping over trial seconds, number of trials)."""
    from dtbox.ablation import GridFolder, read_grid, run_grid
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'grid')
        grid = read_grid(args.grid, read_options(args), args.plugin, threads=threads)
        begun = time.monotonic()
        _, rows = run_grid(grid, path, workers=workers, only=args.only)
        seconds, spent = time.monotonic() - begun, GridFolder(path).about()['bookkeeping']
        done = sum(row['status'] == 'done' for row in rows)
        if done < 2 or any(row['status'] not in ('done', 'missing') for row in rows):
            raise InputError(f'{done} trials of {args.grid} finished; a comparison needs at least two, and none that '
                             'fails.')
    return seconds, spent['seconds'] / (spent['trials'] or float('nan')), done


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = parse(argv)
    from dtbox.ablation.machine import count_cores
    n = args.cores or count_cores()
    if n < 2:
        raise InputError(f'{n} leaves nothing to divide; give 2 or more.', '--cores')
    check_counts(rounds=args.rounds)
    times = {(n, 1): [], (1, n): []}
    for _ in range(args.rounds):
        for workers, threads in times:
            seconds, bookkeeping, done = run_in_turn(args, workers, threads)
            times[workers, threads].append(seconds)
            print(f'{workers} worker(s) x {threads} thread(s): {done} trials in {seconds:.1f} s, bookkeeping '
                  f'{bookkeeping:.1%} '
                  "of the trials' time", flush=True)
    many, one = (min(t) for t in times.values())
    print(f'{n} workers of one thread are {one / many:.2f} times as fast as one worker of {n} threads')


if __name__ == '__main__':
    main()
