"""One training step against a direct implementation of DualToken's specification: python tools/benchmark_step.py [--stage 0 1] [--rounds N]"""
import argparse
import statistics
import tempfile

from dtbox.cli.guard import main_guard
from dtbox.errors import InputError


@main_guard
def main(argv=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(description='Time and peak memory of a training step of DualToken at base size (SigLIP 2 B/16, 256 pixels) '
                                                 'with random weights, beside a direct implementation of its specification, each in a process of '
                                                 'its own, in turn. Use an idle machine.')
    parser.add_argument('--stage', type=int, nargs='+', choices=[0, 1], default=[1, 0], help='stages to measure (default: both)')
    parser.add_argument('--rounds', type=int, default=3, help='processes of each (default: 3)')
    parser.add_argument('--steps', type=int, default=2, help='timed steps of a process; one more warms up (default: 2)')
    parser.add_argument('--batch', type=int, default=2, help='pictures (default: 2)')
    args = parser.parse_args(argv)
    if min(args.rounds, args.steps, args.batch) < 1:
        raise InputError('--rounds, --steps and --batch must be at least 1.')
    from dtbox.diagnostics.step_benchmark import measure
    for stage in args.stage:
        with tempfile.TemporaryDirectory() as folder:
            show(stage, measure(folder, stage, args.rounds, args.steps, args.batch))


def show(stage, found):
    """Print ratios to the baseline: of medians of time, of memory; and whether the losses of the first step agree."""
    seconds = {name: statistics.median(s for row in rows for s in row['seconds']) for name, rows in found.items()}
    memory = {name: statistics.median(row['megabytes'] for row in rows) for name, rows in found.items()}
    for name in found:
        apart = max(abs(found[name][0]['first'][k] - v) for k, v in found['baseline'][0]['first'].items())
        print(f'stage {stage}  {name:<13} {seconds[name]:7.2f} s ({seconds[name] / seconds["baseline"]:.2f} x)  {memory[name]:8,.0f} MB '
              f'({memory[name] / memory["baseline"]:.2f} x)  losses of the first step differ by at most {apart:.1e}')


if __name__ == '__main__':
    main()
