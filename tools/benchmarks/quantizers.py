"""Quantizers side by side: dtbox, vector-quantize-pytorch and `torch.cdist().argmin()`; the matrix-product rate is the
limit.

    python tools/benchmarks/quantizers.py [--only TEXT] [--out DIR]

All contenders of a case take turns in one process, so that a machine that slows down slows down all.
"""
from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from importlib.metadata import version
from typing import Callable

import torch
from measuring import check_counts

from dtbox.cli.guard import main_guard
from dtbox.diagnostics import quantizer_cases
from dtbox.diagnostics.profiles import silence_stderr
from dtbox.diagnostics.quantizer_cases import Case, Result, prepare_contenders
from dtbox.errors import InputError

SIDE = 2048
"""Side of the square product that gives the limit."""
LEAST = 0.03
"""Seconds that a contender runs at least in a round; quick ones are called several times."""


def measure(case: Case, rounds: int = 5, memory: float = 6 * 2 ** 30) -> Result:
    """Time a case.

    Args:
        case: Case.
        rounds: rounds in which the contenders take turns, in changing order, after two calls to warm up.
        memory: bytes that a contender may need for its distance matrices; one that needs more is left out.

    Returns:
        Result.
    """
    if rounds < 1:
        raise InputError(f'{rounds} rounds; expected at least 1.')
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1, case.count, case.dim, generator=generator).requires_grad_(case.training)
    torch.manual_seed(0)
    calls, left_out = prepare_contenders(case, z, memory)
    a, b = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    calls['limit'] = lambda: a @ b
    times = {name: [] for name in calls}
    extra = {name: measure_extra(call) for name, call in calls.items()}  # also warms up
    repeats = {name: min(100, math.ceil(LEAST / time_calls(call, 1))) for name, call in calls.items()}
    for number in range(rounds):
        names = list(calls)
        for name in names[number % len(names):] + names[:number % len(names)]:
            times[name].append(time_calls(calls[name], repeats[name]))
    limit = times.pop('limit')
    extra.pop('limit')
    seconds = {name: statistics.median(t) for name, t in times.items()}
    return Result(case, seconds, times, extra, 2 * SIDE ** 3 / statistics.median(limit), left_out)


def time_calls(call: Callable, repeats: int) -> float:
    """Return the seconds of a call, the mean of so many in a row."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def measure_extra(call: Callable) -> int:
    """Return the most bytes that torch's CPU allocator held during a call, beyond what it held before."""
    from torch.profiler import ProfilerActivity, profile
    with silence_stderr(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        call()
    held = peak = 0
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == '[memory]']
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def format_table(results: list[Result]) -> str:
    """Return results as a Markdown table."""
    lines = ['| | dtbox [ms] | times faster than vector-quantize-pytorch | than cdist | fraction of the matmul rate '
             '| extra MB: dtbox | package |',
             '|---|---|---|---|---|---|---|']
    for training in (False, True):
        part = [r for r in results if r.case.training is training]
        if part:
            lines.append(f'| **{"training step" if training else "evaluation"}** | | | | | | |')
        for r in part:
            peers = ('vector-quantize-pytorch', 'cdist')
            cell = {peer: f'{ratio:.1f}' if (ratio := r.ratio(peer)) else '' for peer in peers}
            memory = {n: f'{b / 2 ** 20:,.0f}' for n, b in r.extra_bytes.items()}
            fraction = f'{100 * r.fraction:.0f} %' if r.fraction else ''
            theirs = cell['vector-quantize-pytorch'] or 'too large'
            lines.append(f'| {r.case} | {1000 * r.seconds["dtbox"]:,.1f} | {theirs} | {cell["cdist"]} | {fraction} '
                         f'| {memory["dtbox"]} | {memory.get("vector-quantize-pytorch", "")} |')
    return '\n'.join(lines)


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description='Time dtbox against vector-quantize-pytorch, torch.cdist().argmin() and the rate of a large matrix '
                    'product, in turn. Use an idle machine.')
    parser.add_argument('--only', metavar='TEXT', action='append',
                        help='cases whose name holds TEXT, such as "depth 8" or FSQ; may be repeated')
    parser.add_argument('--rounds', type=int, default=5, metavar='N',
                        help='rounds in which the contenders take turns (default: 5)')
    parser.add_argument('--threads', type=int, metavar='N', help="threads (default: torch's own choice)")
    parser.add_argument('--memory', type=float, default=6, metavar='GB',
                        help='a contender whose distance matrices need more is left out, and the table says so '
                             '(default: 6)')
    parser.add_argument('--out', metavar='DIR', help='also write benchmark.json, benchmark.md and benchmark.png there')
    args = parser.parse_args(argv)
    check_counts(rounds=args.rounds)
    if args.threads:
        torch.set_num_threads(args.threads)
    known = quantizer_cases.standard_cases()
    cases = [case for case in known if not args.only or any(text in str(case) for text in args.only)]
    if not cases:
        names = sorted({str(case) for case in known})
        raise InputError(f'no case holds {" or ".join(args.only)}. There are: {"; ".join(names)}.')
    results = []
    for case in cases:
        print(f'{case}, {"training step" if case.training else "evaluation"}', file=sys.stderr, flush=True)
        results.append(measure(case, args.rounds, args.memory * 2 ** 30))
    report(results, args.rounds, args.out)


def report(results: list[Result], rounds: int, out: str | None = None) -> None:
    """Print the table; with `out`, write benchmark.json, benchmark.md and benchmark.png to that folder."""
    rate = sorted(result.rate for result in results)[len(results) // 2]
    head = (f'{platform.machine()}, {torch.get_num_threads()} thread(s), float32, torch {torch.__version__}, '
            f'vector-quantize-pytorch {version("vector-quantize-pytorch")}; medians of {rounds} alternating rounds; a '
            f'2,048 x 2,048 matrix product runs at {rate / 1e9:,.0f} GFLOP/s.')
    text = f'{head}\n\n{format_table(results)}'
    print(text)
    if out:
        from dtbox.drawing.benchmark_plot import draw_benchmark
        from dtbox.files import write_atomic
        os.makedirs(out, exist_ok=True)
        rows = [result.to_dict() for result in results]
        write_atomic(os.path.join(out, 'benchmark.json'), json.dumps(dict(setting=head, results=rows), indent=1) + '\n')
        write_atomic(os.path.join(out, 'benchmark.md'), text + '\n')
        draw_benchmark(rows, os.path.join(out, 'benchmark.png'), 'Quantizers on the CPU, medians of alternating rounds')


if __name__ == '__main__':
    main()
