"""dtbox diagnose time: where does the time of a training step go? Importing this module imports no torch."""
from __future__ import annotations

import argparse
import os

from dtbox.cli.options import add_config_options, add_tiny_option, read_config
from dtbox.errors import InputError

HELP = 'where does the time of a training step go?'
DESCRIPTION = ('Trains a few steps of a recipe with the profiler: seconds by part of the model and by kind of '
               'operator, beside the rate of large matrix products measured in the same run. Weights are random, and '
               'nothing is kept. The data of the recipe is loaded before; loading it is not measured.')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('config', metavar='CONFIG', help='config file of a recipe or its name, or a run folder')
    parser.add_argument('--out', metavar='DIR',
                        help='folder for time.md and time.json (default: work_dirs/diagnostics/NAME_time); one that '
                             'holds something is left alone, and DIR.1 taken')
    parser.add_argument('--steps', type=int, default=5, metavar='N', help='steps that are profiled (default: 5)')
    parser.add_argument('--batch', type=int, metavar='N', help="images of a step (default: the config's)")
    parser.add_argument('--random', action='store_true',
                        help='random images in the place of the data of the config, and random weights of LPIPS: '
                             'needs no files')
    parser.add_argument('--device', metavar='DEVICE', help='torch device (default: cuda where there is one, else cpu)')
    parser.add_argument('--threads', type=int, metavar='N',
                        help="threads on a CPU (default: the config's, else torch's own choice)")
    add_tiny_option(parser)
    add_config_options(parser)


def run(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    for option in ('steps', 'batch', 'threads'):
        value = getattr(args, option)
        if value is not None and value < 1:
            raise InputError(f'{value} came; expected at least 1.', f'--{option}')
    from dtbox.config import resolve
    from dtbox.diagnostics import step_report, step_time
    from dtbox.diagnostics.output_folder import choose_result_folder
    folder = choose_result_folder(args.config, 'time', args.out)
    result = step_time.measure_step(resolve(read_config(args)), args.steps, args.batch, args.random, args.device,
                                    args.threads)
    name = os.path.basename(os.path.normpath(args.config)).removesuffix('.py')
    step_report.write_result(result, name, folder)
    print(step_report.format_terminal(result))
    print(f'\nwritten to {folder}')
