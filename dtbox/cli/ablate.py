"""dtbox ablate: run a grid of recipes x seeds."""
from __future__ import annotations

import argparse
import os
import shlex
import sys

from dtbox.cli.options import add_config_options, read_options
from dtbox.cli.verb import Verb
from dtbox.counts import format_count
from dtbox.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('grid', metavar='GRID',
                        help='config of a grid or its name, or the folder of a grid that was started')
    parser.add_argument('--work-dir', metavar='DIR',
                        help='folder of the grid (default: work_dirs/ablations/NAME of the config)')
    parser.add_argument('--workers', type=int, metavar='N',
                        help='trials at a time (default: one a GPU, or cores / threads)')
    parser.add_argument('--threads', type=int, metavar='N', help="CPU threads of a trial (default: the grid's, or 1)")
    parser.add_argument('--engine', choices=['local', 'ray'], default='local',
                        help='processes of this machine, or of a Ray cluster')
    parser.add_argument('--address', help='of the Ray cluster (default: RAY_ADDRESS, or one on this machine)')
    parser.add_argument('--resume', action='store_true',
                        help='resume the grid in its folder: only what is missing runs')
    parser.add_argument('--accept-code-change', action='store_true',
                        help='with --resume: keep results of other code than this one')
    parser.add_argument('--only', metavar='PATTERN', help='run the trials whose names match, such as "rq__*"')
    parser.add_argument('--seeds', type=int, nargs='+', metavar='N', help="in place of the grid's")
    parser.add_argument('--dry-run', action='store_true',
                        help='check the grid and list its trials; nothing is started or written')
    parser.add_argument('--records', metavar='FILE',
                        help='with --resume: first add finished trials from a file of --pack, those that the folder '
                             'does not have')
    parser.add_argument('--pack', metavar='FILE',
                        help='run nothing: write the records of finished trials, without weights, to a small file')
    parser.add_argument('--no-report', action='store_true', help='do not build the report at the end')
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the grid; returns 0 where all trials that were asked for are done, else 1."""
    if args.accept_code_change and not args.resume:
        raise InputError('--accept-code-change goes with --resume: a new grid has no earlier results.')
    from dtbox.ablation import read_grid, run_grid
    from dtbox.ablation.closing import format_closing, is_all_done
    from dtbox.ablation.start import find_grid, merge_settings
    if args.records:
        add_records(args)
    path, work_dir, about = find_grid(args.grid, args.work_dir, args.resume or args.pack is not None)
    settings = merge_settings(read_options(args), args.plugin, args.seeds, args.threads,
                              about if args.resume or args.pack else None)
    grid = read_grid(path, settings['options'], settings['plugins'] or (), settings['seeds'], settings['threads'])
    if args.pack:
        from dtbox.ablation.records import pack_records
        count = pack_records(grid, work_dir, args.pack)
        print(f'{format_count(count, "finished trial")} written to {args.pack}.')
        return 0
    record = dict(command=shlex.join(['dtbox', 'ablate', *args.typed]),
                  options={k: repr(v) for k, v in settings.pop('options').items()}, given=settings)
    try:
        plan, rows = run_grid(grid, work_dir, args.engine, args.workers, args.address, args.resume, args.only,
                              args.accept_code_change, args.dry_run, record)
    except KeyboardInterrupt:
        again = args.typed if args.resume else [*args.typed, '--resume']
        print(f'\nTo resume the grid: dtbox ablate {shlex.join(again)}', file=sys.stderr)
        raise
    if rows is None:
        from dtbox.ablation.plan import format_plan
        print('\n'.join([*format_plan(plan), f'{format_count(len(plan), "trial")}; nothing was started.']))
        return 0
    print('\n' + '\n'.join(format_closing(grid, work_dir, rows)))
    if not args.no_report and any(row['status'] == 'done' for row in rows):
        from dtbox.report import build
        print(f'Report: {build(os.fspath(work_dir))}')
    return 0 if is_all_done(grid, rows, args.only) else 1


def add_records(args: argparse.Namespace) -> None:
    """Add the finished trials of --records to the grid's folder."""
    from dtbox.ablation.records import tell_unpacked, unpack_records
    from dtbox.ablation.start import find_grid
    if not args.resume or args.dry_run or args.pack:
        raise InputError('--records adds to what a grid resumes from: it goes with --resume, and neither with '
                         '--dry-run nor with --pack.', '--records')
    path, work_dir, _ = find_grid(args.grid, args.work_dir)
    name = os.path.splitext(os.path.basename(path))[0]
    print(tell_unpacked(unpack_records(args.records, name, work_dir), args.records))


VERB = Verb(
    'ablate', 'Run a grid of recipes x seeds and build its report',
    "Progress and a table of scores. The grid's folder gets grid.json, results.csv, a run folder for each trial, and "
    "report/.",
    'dtbox ablate decoupling --dry-run', add_arguments, run)
