"""dtbox check-tokens: verify a folder of token shards."""
from __future__ import annotations

import argparse
import re
import shlex
from typing import TYPE_CHECKING

from dtbox.cli.encode import add_source_options, open_source
from dtbox.cli.options import add_config_options
from dtbox.cli.verb import Verb
from dtbox.errors import InputError

if TYPE_CHECKING:
    from dtbox.tokens.checking import FolderCheck

SHOWN = 20
"""Findings that are printed; all files that are to be deleted are."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('folder', metavar='OUT', help='folder of token shards')
    what = parser.add_argument_group('the data set, as `dtbox encode` took it')
    what.add_argument('--source', metavar='SRC', help='also compare with it: files that lack, numbers of images')
    add_source_options(what)
    how = parser.add_argument_group('encoding again')
    how.add_argument('--sample', metavar='P%',
                     help='encode so many images of SRC again, such as 0.1%% or a number of images: the codes must '
                          'be the same, bit by bit')
    how.add_argument('--run', metavar='RUN', help='the tokenizer (default: the one that OUT names)')
    how.add_argument('--device', help='cpu or cuda (default: that which OUT was made on)')
    add_config_options(parser)


def read_sample(text: str) -> float:
    """Return the fraction (below 1) or number of images (from 1 on) of --sample."""
    match = re.fullmatch(r'(\d+(?:\.\d+)?)(%?)', text)
    value = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    if match and match[2] and 0 < value < 1 or match and not match[2] and value >= 1 and value.is_integer():
        return value
    if text == '100%':
        return float(2 ** 62)
    raise InputError(f'got {text!r}; expected a percentage of the images such as 0.1%, or their number.', '--sample')


def run(args: argparse.Namespace) -> int:
    """Check; returns 1 where something is wrong."""
    sample = None if args.sample is None else read_sample(args.sample)
    if args.source is None and (args.sample is not None or args.run is not None):
        raise InputError('images are encoded again from their source. Name it with --source.', '--sample')
    from dtbox.tokens.checking import check_folder
    source = None if args.source is None else open_source(args)
    check = check_folder(args.folder)
    compared = None
    if source is not None:
        from dtbox.tokens.checking_input import check_input, check_sample, list_input, open_encoder
        shards = list_input(check, source)
        check_input(check, shards)
        if sample is not None and check.meta is not None:
            encoder = open_encoder(args.folder, check.meta.fingerprint, args.run, device=args.device,
                                   plugins=tuple(args.plugin) or None, trusted=args.trust_remote_code)
            compared = check_sample(check, shards, encoder, sample)
    print('\n'.join(report(check, compared)))
    return 0 if check.is_sound else 1


def report(check: FolderCheck, compared: int | None = None) -> list[str]:
    """Return what was found, as lines.

    Args:
        check: FolderCheck.
        compared: images that were encoded again; None where none were asked for.
    """
    from dtbox.counts import format_count
    lines = [f'{format_count(len(check.images), "sound shard")}, {format_count(sum(check.images.values()), "image")}, '
             f'{format_count(check.rows, "row")} ({check.broken:,} broken), {check.bytes / 1e6:,.1f} MB']
    if check.meta is not None:
        lines += [f'fingerprint {check.meta.fingerprint.digest}', '', *_tabulate_usage(check), '']
    if compared is not None:
        lines.append(f'{format_count(compared, "image")} encoded again')
    lines += [f'note: {note}' for note in check.notes]
    lines += [f'{finding.file}: {finding.what}' for finding in check.findings[:SHOWN]]
    if len(check.findings) > SHOWN:
        lines.append(f'... and {len(check.findings) - SHOWN:,} more')
    if check.is_sound:
        return [*lines, 'everything is sound']
    if check.delete:
        lines += ['', f'delete {format_count(len(check.delete), "file")}:',
                  *(f'rm {shlex.quote(str(check.folder / name))}' for name in check.delete)]
    return [*lines, '', 'then run the command `dtbox encode` of this folder again: it encodes what lacks']


def _tabulate_usage(check: FolderCheck) -> list[str]:
    """Return a table of usage and entropy, and what the codes take beside their entropy."""
    if check.usage is None:
        return []
    rows = [('stream', 'depth', 'codes', 'used', 'entropy (bits)')]
    for row in check.usage.measure():
        used = '-' if row.used is None else f'{row.used:,} ({row.used / row.size:.1%})'
        rows.append((row.stream, str(row.depth), f'{row.size:,}', used,
                     '-' if row.entropy is None else f'{row.entropy:.3f}'))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ['  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    for stream, size in check.usage.bytes.items():
        bound, by_depth = check.usage.bound(stream), check.usage.bound(stream, by_depth=True)
        if bound and by_depth:
            lines.append(f'{stream}: {size / 1e6:,.3f} MB in the files, {size / bound - 1:+.1%} beside the entropy of '
                         f'its codes, {size / by_depth - 1:+.1%} beside that of each depth')
    return lines


VERB = Verb(
    'check-tokens', 'Verify a folder of token shards',
    'Usage and entropy of the codes, what is wrong, and which files to delete; exit code 1 where something is wrong. '
    'Every byte is verified, rows, keys, ranges of codes and the fingerprint; with --source also that nothing lacks.',
    'dtbox check-tokens tokens --source photos --sample 0.1%', add_arguments, run)
