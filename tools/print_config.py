"""Print a config as training would see it, bases merged: python tools/print_config.py CONFIG [--resolved]"""
import argparse

from dtbox.cli.guard import main_guard
from dtbox.cli.options import add_config_options, add_tiny_option, read_config


@main_guard
def main(argv=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(description='Print a config with its bases merged and overrides applied.')
    parser.add_argument('config', metavar='CONFIG', help='config file or run folder')
    parser.add_argument('--resolved', action='store_true', help="put the values in place of the references '${name}'")
    add_tiny_option(parser)
    add_config_options(parser)
    args = parser.parse_args(argv)
    from dtbox.config import resolve
    from dtbox.config.text import format_config
    cfg = read_config(args)
    print(format_config(resolve(cfg) if args.resolved else cfg), end='')


if __name__ == '__main__':
    main()
