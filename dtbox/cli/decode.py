"""dtbox decode: token shards back into images."""
from __future__ import annotations

import argparse

from dtbox.cli.options import add_model_options
from dtbox.cli.verb import Verb
from dtbox.counts import format_count
from dtbox.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('tokens', metavar='OUT', help='folder of token shards, as `dtbox encode` wrote it')
    parser.add_argument('--out', required=True, metavar='DIR',
                        help='folder for the images; nothing in it is overwritten')
    parser.add_argument('--run', metavar='RUN', help='tokenizer (default: the one that OUT was encoded with)')
    parser.add_argument('--keys', metavar='PATTERN', help='images whose keys match, such as "train-000/*"')
    parser.add_argument('--view', type=int, metavar='N', help='of each image (default: all views)')
    parser.add_argument('--limit', type=int, metavar='N', help='images at most (default: all)')
    add_model_options(parser)


def run(args: argparse.Namespace) -> None:
    """Decode."""
    for name, least in (('view', 0), ('limit', 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise InputError(f'got {value}; expected at least {least}.', f'--{name}')
    from dtbox.tokens.decoding import Choice, decode
    paths = decode(args.tokens, args.out, Choice(args.keys, args.view, args.limit), args.run, args.device,
                   checkpoint=args.checkpoint, plugins=args.plugin)
    print(f'{format_count(sum(1 for _ in paths), "image")} in {args.out}')


VERB = Verb(
    'decode', 'Decode token shards into images',
    'A PNG for each row with codes in DIR, under its key: KEY.png, KEY.view1.png.',
    'dtbox decode tokens --out images --limit 100', add_arguments, run)
