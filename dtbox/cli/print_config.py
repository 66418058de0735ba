"""dtbox print-config: print a config as training sees it."""
from __future__ import annotations

import argparse

from dtbox.cli.options import add_config_options, add_tiny_option, read_config
from dtbox.cli.table import format_table, get_screen_width
from dtbox.cli.verb import Verb
from dtbox.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('config', nargs='?', metavar='CONFIG', help='config file or its name, or a run folder')
    parser.add_argument('--list', action='store_true', help='list the configs that can be named instead')
    parser.add_argument('--resolved', action='store_true', help="put the values in place of the references '${name}'")
    add_tiny_option(parser)
    add_config_options(parser)


def run(args: argparse.Namespace) -> None:
    """Print a config, or the list of configs."""
    if args.list:
        return list_all()
    if args.config is None:
        raise InputError('no config is given. Name one, such as dualtoken_rq; --list shows which there are.')
    from dtbox.config import resolve
    from dtbox.config.text import format_config
    cfg = read_config(args)
    print(format_config(resolve(cfg) if args.resolved else cfg), end='')


def list_all() -> None:
    """Print the name, kind and summary of each config that can be named."""
    from dtbox.config.find import KINDS, list_configs, read_summary
    rows = [(name, kind, read_summary(path)) for kind in KINDS for name, path in list_configs(kind).items()]
    print(format_table(('name', 'kind', 'what it is'), rows, get_screen_width()))


VERB = Verb(
    'print-config', 'Print a config as training sees it, or list the configs',
    'The config with its bases merged and overrides applied; a config file that loads again. Nothing is written.',
    'dtbox print-config dualtoken_rq --resolved', add_arguments, run)
