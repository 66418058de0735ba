"""dtbox export-tokens: token shards in the layouts of other tools."""
from __future__ import annotations

import argparse

from dtbox.cli.verb import Verb
from dtbox.counts import format_count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('folder', metavar='OUT', help='folder of token shards')
    parser.add_argument('--to', required=True, choices=['bin', 'webdataset'],
                        help='flat ids with an index, as datatrove and nanotron read them; tar files of .npy members')
    parser.add_argument('--out', required=True, metavar='DIR', help='new folder for the files')
    parser.add_argument('--order', choices=['stream', 'slice', 'token'], default='stream',
                        help='of flat ids: stream after stream, or the streams of each scale or token in turn '
                             '(default: stream)')
    parser.add_argument('--end', action='store_true', help='of flat ids: end each image with an id of its own')
    parser.add_argument('--shuffle', type=int, metavar='SEED',
                        help='shuffle the images within each file (default: as in the shards)')


def run(args: argparse.Namespace) -> None:
    """Export, and say what came of it."""
    from dtbox.errors import InputError
    from dtbox.tokens.export import export_tokens
    if args.to != 'bin' and (args.end or args.order != 'stream'):
        raise InputError('--order and --end are of flat ids; give them with --to bin.', '--to')
    if args.shuffle is not None and args.shuffle < 0:
        raise InputError(f'{args.shuffle} came; expected a number of 0 or more.', '--shuffle')
    counts = export_tokens(args.folder, args.to, args.out, args.order, args.end, args.shuffle)
    ids = f', {format_count(counts["ids"], "id")}' if 'ids' in counts else ''
    left = f'; {format_count(counts["left_out"], "row", "is")} left out: broken images' if counts['left_out'] else ''
    print(f'{args.out}: {format_count(counts["images"], "image")} in {format_count(counts["shards"], "file")}'
          f'{ids}{left}')


VERB = Verb(
    'export-tokens', 'Write token shards in the layout of other tools',
    'A line for each file. DIR gets, for each shard, NAME.ds with NAME.ds.index, NAME.ds.metadata and '
    'NAME.ds.keys.jsonl, or NAME.tar; and layout.json, which says how ids are made of codes.',
    'dtbox export-tokens OUT --to bin --out flat', add_arguments, run)
