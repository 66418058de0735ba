"""Read a data set once before training on it: python tools/check_data.py CONFIG [--cfg-options data_root=PATH]"""
import argparse
import os

from dtbox.cli.guard import main_guard
from dtbox.cli.options import add_config_options
from dtbox.config.options import parse_options


def parse(argv=None):
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description='Read every sample of the data of a config: counts, sizes, broken files, keys that come '
                                                 'again, a sheet of samples. Exit code 1 where something is broken.')
    parser.add_argument('config', help='a recipe, a run folder, or a config of configs/_base_/datasets')
    parser.add_argument('--limit', type=int, metavar='N', help='samples of each part to read, evenly spaced (default: all)')
    parser.add_argument('--workers', type=int, metavar='N', help='processes that read (default: the config\'s num_workers)')
    parser.add_argument('--out', metavar='DIR', help='folder for data.json, data.txt and the sheets (default: work_dirs/check_data/NAME; one that '
                                                     'holds something is left alone, and DIR.1 taken)')
    add_config_options(parser)
    return parser.parse_args(argv)


@main_guard
def main(argv=None):
    """Run the command line."""
    args = parse(argv)
    from dtbox.diagnostics.data_check import check_data, leave, report, sound
    from dtbox.errors import InputError
    from dtbox.files import unused_path
    for name in ('limit', 'workers'):
        if getattr(args, name) is not None and getattr(args, name) < (name == 'limit'):
            raise InputError(f'{getattr(args, name)} is too small.', f'--{name}')
    name = os.path.splitext(os.path.basename(os.path.normpath(args.config)))[0]
    found = check_data(args.config, parse_options(args.cfg_options), args.plugin, args.limit, args.workers)
    print(report(found))
    files = leave(found, unused_path(args.out or os.path.join('work_dirs', 'check_data', name)))
    print('\nwritten to ' + ', '.join(files))
    if not sound(found):
        raise SystemExit(1)


if __name__ == '__main__':
    main()
