"""dtbox diagnose gpu: is every path right on this card, and how fast is it? Importing this module imports no torch."""
from __future__ import annotations

import argparse
import sys

from dtbox.cli.table import format_table, get_screen_width
from dtbox.diagnostics.gpu.parts import LIMIT, PARTS, choose_parts, find_requirements
from dtbox.errors import InputError

HELP = 'is every path of dtbox right on this GPU, and how fast is it?'
DESCRIPTION = ('Runs every path on the GPU beside the CPU, and measures its speed; needs no data and no hub. A part '
               'that fails keeps none of the others from running, and the report is written after each. Exit code 1 '
               'where something does not hold.')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    names = ', '.join(part.name for part in PARTS)
    parser.add_argument('--out', metavar='DIR',
                        help='folder for gpu.json and gpu.md (default: work_dirs/diagnostics/gpu); one that holds '
                             'something is left alone, and DIR.1 taken')
    parser.add_argument('--only', nargs='+', action='extend', metavar='PART', help=f'run these parts alone: {names}')
    parser.add_argument('--skip', nargs='+', action='extend', default=[], metavar='PART', help='leave these parts out')
    parser.add_argument('--gpu', type=int, default=0, metavar='N', help='number of the GPU (default: 0)')
    parser.add_argument('--cpu', action='store_true', help='run everything at a small size on the CPU, without a GPU')
    parser.add_argument('--seconds', type=float, default=1.0, metavar='S',
                        help='that the timing of one contender may take (default: 1)')
    parser.add_argument('--limit', type=float, metavar='S',
                        help=f'that all parts may take together (default: {LIMIT:.0f}; more on a CPU)')
    parser.add_argument('--list', action='store_true', help='list the parts, and leave')
    parser.add_argument('--requirements', action='store_true',
                        help='print the packages that this machine lacks, as pip takes them, and leave')


def run(args: argparse.Namespace) -> int:
    """Run the check; returns the exit code."""
    parts = choose_parts(args.only, args.skip)
    if not args.seconds > 0 or args.limit is not None and not args.limit > 0:
        raise InputError('--seconds and --limit must be above 0.')
    if args.requirements:
        missing = find_requirements()
        print('\n'.join(missing) if missing else 'nothing is missing', file=sys.stdout if missing else sys.stderr)
        return 0
    if args.list:
        rows = [(part.name, f'{part.seconds:.0f} s', part.question) for part in parts]
        print(format_table(('part', 'at most', 'question'), rows, get_screen_width()))
        return 0
    return _check(args, parts)


def _check(args: argparse.Namespace, parts: list) -> int:
    from dtbox.diagnostics.gpu.machine import describe_machine, prepare_settings
    from dtbox.diagnostics.gpu.results import list_lines
    from dtbox.diagnostics.gpu.runner import Checker
    from dtbox.diagnostics.output_folder import choose_result_folder
    folder = choose_result_folder('', 'gpu', args.out or 'work_dirs/diagnostics/gpu')
    settings = prepare_settings(args.cpu, args.gpu, args.seconds)
    machine = describe_machine(settings)
    checker = Checker(settings, machine, folder, print_progress, args.limit)
    try:
        checker.run(parts)
    finally:
        shown = {name: value for name, value in machine.items() if value not in (None, '')}
        print('\n'.join(f'{name}: {value}' for name, value in shown.items()), end='\n\n')
        print(format_table(('part', 'status', 'value', 'detail'), list_lines(checker.results), get_screen_width()))
        print(f'\nwritten to {folder}')
    return int(any(result.bad for result in checker.results))


def print_progress(line: str) -> None:
    """Print a line of progress on stderr."""
    print(line, file=sys.stderr, flush=True)
