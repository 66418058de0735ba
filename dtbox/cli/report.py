"""dtbox report: tables, plots and a page of a grid or of runs."""
from __future__ import annotations

import argparse

from dtbox.cli.verb import Verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('folders', nargs='+', metavar='FOLDER',
                        help='folder of a grid, or run folders (NAME-seedN are seeds of one variant)')
    parser.add_argument('--out', metavar='DIR',
                        help="folder of the report (default: report/ in the grid's folder); an earlier report is "
                             'replaced')
    parser.add_argument('--metrics', nargs='+', default=[], metavar='SET/METRIC',
                        help='headline metrics, such as all/psnr variants/t2i_r1/tokens (default: those of the grid, '
                             'or the usual ones)')
    parser.add_argument('--reference', metavar='NAME',
                        help='variant that others are compared with (default: that of the grid, or the first run)')
    parser.add_argument('--mixed-protocols', action='store_true',
                        help='put numbers that were measured with different settings or on different data into one '
                             'column all the same')


def run(args: argparse.Namespace) -> None:
    """Build the report."""
    from dtbox.report import build
    print(f'written to {build(args.folders, args.out, args.metrics, args.reference, args.mixed_protocols)}')


VERB = Verb(
    'report', 'Build tables, plots and one HTML page of a grid or of runs',
    "The folder report/ in the grid's folder (or DIR) with index.html, CSV and LaTeX tables, and figures.",
    'dtbox report work_dirs/ablations/decoupling', add_arguments, run, detail='It reads what they left; no model runs.')
