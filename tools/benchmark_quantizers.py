"""Time quantizers side by side: python tools/benchmark_quantizers.py [--only TEXT] [--out DIR]"""
import argparse
import json
import os
import platform
import sys

from dtbox.cli.guard import main_guard
from dtbox.errors import InputError


@main_guard
def main(argv=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(description='Time dtbox against vector-quantize-pytorch, torch.cdist().argmin() and the rate of a large '
                                                 'matrix product, in alternation. Use an idle machine.')
    parser.add_argument('--only', metavar='TEXT', action='append', help='cases whose name holds TEXT, such as "depth 8" or FSQ; may be repeated')
    parser.add_argument('--rounds', type=int, default=5, help='rounds in which the contenders take turns (default: 5)')
    parser.add_argument('--threads', type=int, help="threads (default: torch's own choice)")
    parser.add_argument('--memory', type=float, default=6, metavar='GB',
                        help='a contender whose distance matrices need more is left out, and the table says so (default: 6)')
    parser.add_argument('--out', metavar='DIR', help='also write benchmark.json, benchmark.md and benchmark.png there')
    args = parser.parse_args(argv)
    import torch

    from dtbox.diagnostics import quantizer_benchmark as benchmark
    from dtbox.drawing.benchmark_plot import draw_benchmark
    from dtbox.files import write_atomic
    if args.threads:
        torch.set_num_threads(args.threads)
    cases = [c for c in benchmark.standard_cases() if not args.only or any(text in str(c) for text in args.only)]
    if not cases:
        raise InputError(f'no case holds {" or ".join(args.only)}. There are: {"; ".join(sorted({str(c) for c in benchmark.standard_cases()}))}.')
    results = []
    for case in cases:
        print(f'{case}, {"training step" if case.training else "evaluation"}', file=sys.stderr, flush=True)
        results.append(benchmark.measure(case, args.rounds, args.memory * 2 ** 30))
    rate = sorted(r.rate for r in results)[len(results) // 2]
    head = (f'{platform.machine()}, {torch.get_num_threads()} thread(s), float32, torch {torch.__version__}, vector-quantize-pytorch '
            f'{version()}; medians of {args.rounds} alternating rounds; a 2,048 x 2,048 matrix product runs at {rate / 1e9:,.0f} GFLOP/s.')
    text = f'{head}\n\n{benchmark.format_table(results)}'
    print(text)
    if args.out:
        os.makedirs(args.out, exist_ok=True)
        rows = [r.to_dict() for r in results]
        write_atomic(os.path.join(args.out, 'benchmark.json'), json.dumps(dict(setting=head, results=rows), indent=1) + '\n')
        write_atomic(os.path.join(args.out, 'benchmark.md'), text + '\n')
        draw_benchmark(rows, os.path.join(args.out, 'benchmark.png'), 'Quantizers on the CPU, medians of alternating rounds')


def version():
    """Return the version of vector-quantize-pytorch."""
    from importlib.metadata import version
    return version('vector-quantize-pytorch')


if __name__ == '__main__':
    main()
