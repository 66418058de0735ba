"""dtbox check-data: read a data set once before training on it."""
from __future__ import annotations

import argparse
import os

from dtbox.cli.options import add_config_options, read_options
from dtbox.cli.verb import Verb
from dtbox.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('config', metavar='CONFIG', help='a recipe, a run folder, or a config of data such as imagenet')
    parser.add_argument('--limit', type=int, metavar='N',
                        help='samples of each part to read, evenly spaced (default: all)')
    parser.add_argument('--workers', type=int, metavar='N',
                        help="processes that read (default: the config's num_workers)")
    parser.add_argument('--out', metavar='DIR',
                        help='folder for data.json, data.txt and the sheets (default: work_dirs/check_data/NAME; one '
                             'that holds something is left alone, and DIR.1 taken)')
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Read the data and report; returns 1 where something is broken."""
    for name in ('limit', 'workers'):
        value = getattr(args, name)
        if value is not None and value < (name == 'limit'):
            raise InputError(f'{value} is too small.', f'--{name}')
    from dtbox.diagnostics.data_check import check_data, is_sound, leave, report
    from dtbox.files import find_unused_path
    name = os.path.splitext(os.path.basename(os.path.normpath(args.config)))[0]
    result = check_data(args.config, read_options(args), args.plugin, args.limit, args.workers)
    print(report(result))
    files = leave(result, find_unused_path(args.out or os.path.join('work_dirs', 'check_data', name)))
    print('\nwritten to ' + ', '.join(files))
    return 0 if is_sound(result) else 1


VERB = Verb(
    'check-data', 'Read every sample of a data set once, before training on it',
    'Counts, sizes, broken files, keys that come again; exit code 1 where something is broken. A folder with '
    'data.json, data.txt and a sheet of samples for each part.',
    'dtbox check-data imagenet --cfg-options data_root=PATH', add_arguments, run)
