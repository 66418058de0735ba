"""dtbox convert: turn published weights into a run folder."""
from __future__ import annotations

import argparse

from dtbox.cli.table import format_table, get_screen_width
from dtbox.cli.verb import Verb
from dtbox.converters.kinds import KINDS
from dtbox.converters.projects import PROJECTS
from dtbox.errors import InputError

HEADER = ('kind', 'project', 'licence of the code', 'licence of the weights', 'published, and how the converter was '
          'tested')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a subcommand for each kind of published weights."""
    parser.add_argument('--list', action='store_true',
                        help='print the projects whose weights can be converted: licences of code and weights, what is '
                             'published, how the converter was tested')
    kinds = parser.add_subparsers(dest='kind', metavar='KIND')
    for name, kind in KINDS.items():
        one = kinds.add_parser(name, help=kind.help)
        one.add_argument('src', metavar='SRC', help=kind.source)
        one.add_argument('dst', metavar='DST', help='run folder to write')
        one.add_argument('--weights', metavar='ENTRY',
                         help='which of several sets of weights in the file to take, such as model or ema (default: '
                              'the average, where there is one; the log says so)')
        for option in kind.options:
            one.add_argument(option.flag, help=option.help, **option.settings)


def format_projects(width: int) -> str:
    """Return the table of the projects that can be converted, with lines of at most `width` characters."""
    rows = [(project.kind, project.name, project.code, project.weights,
             f'{project.sizes}. Tested: {project.verified}.{f" {project.remark}" if project.remark else ""}')
            for kind in KINDS for project in PROJECTS if project.kind == kind]
    return (f'{format_table(HEADER, rows, width)}\n\nThe licence that comes with a file counts. No full-size file was '
            'at hand to run.')


def run(args: argparse.Namespace) -> None:
    """Convert, or print the table."""
    if args.list:
        print(format_projects(get_screen_width()))
        return
    if args.kind is None:
        raise InputError(f'the command lacks KIND, the layout of the weights: {", ".join(KINDS)}. `dtbox convert '
                         '--list` shows what they are.')
    from dtbox.converters.run_folder import choose_projects, convert
    options = {option.name: getattr(args, option.name) for option in KINDS[args.kind].options}
    count = convert(args.kind, args.src, args.dst, args.weights, **options)
    print(f'{args.dst}: {count / 1e6:.2f} M parameters; open it with dtbox.load({args.dst!r})')
    projects = choose_projects(args.kind, args.src)
    print('\n'.join((['Its names are those of several projects:'] if projects[1:] else [])
                    + [project.tell_licence() for project in projects]))


VERB = Verb(
    'convert', 'Turn published weights into a run folder that dtbox opens',
    'The run folder DST with config.py and checkpoint.pth, the number of parameters and the licences. --list: a table.',
    'dtbox convert vqgan vqgan_imagenet_f16.ckpt work_dirs/vqgan_f16', add_arguments, run)
