"""dtbox convert: turn published weights into a run folder."""
from __future__ import annotations

import argparse

from dtbox.cli.verb import Verb
from dtbox.converters.kinds import KINDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a subcommand for each kind of published weights."""
    kinds = parser.add_subparsers(dest='kind', required=True, metavar='KIND')
    for name, kind in KINDS.items():
        one = kinds.add_parser(name, help=kind.help)
        one.add_argument('src', metavar='SRC', help=kind.source)
        one.add_argument('dst', metavar='DST', help='run folder to write')
        one.add_argument('--weights', metavar='ENTRY',
                         help='which of several sets of weights in the file to take, such as model or ema (default: '
                              'the average, where there is one; the log says so)')
        for option in kind.options:
            one.add_argument(option.flag, help=option.help, **option.settings)


def run(args: argparse.Namespace) -> None:
    """Convert."""
    from dtbox.converters.run_folder import convert
    options = {option.name: getattr(args, option.name) for option in KINDS[args.kind].options}
    count = convert(args.kind, args.src, args.dst, args.weights, **options)
    print(f'{args.dst}: {count / 1e6:.2f} M parameters; open it with dtbox.load({args.dst!r})')


VERB = Verb(
    'convert', 'Turn published weights into a run folder that dtbox opens',
    'The run folder DST with config.py and checkpoint.pth, and the number of parameters.',
    'dtbox convert vqgan vqgan_imagenet_f16.ckpt work_dirs/vqgan_f16', add_arguments, run)
