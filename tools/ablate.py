"""Run an ablation grid: python tools/ablate.py GRID [--workers N] [--engine local|ray] [--resume] [--only PATTERN] [--dry-run]"""
import argparse
import os
import shlex
import sys

from dtbox.cli import add_config_options, main_guard, parse_options
from dtbox.errors import InputError


def parse(argv=None):
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description='Run a grid of recipes x seeds and make its report.')
    parser.add_argument('grid', help='config of a grid, or the folder of one that has been started')
    parser.add_argument('--work-dir', help='folder of the grid (default: work_dirs/ablations/NAME of the config)')
    parser.add_argument('--workers', type=int, help='trials at a time (default: one a GPU, or cores / threads)')
    parser.add_argument('--threads', type=int, help='CPU threads of a trial (default: the grid\'s, or 1)')
    parser.add_argument('--engine', choices=['local', 'ray'], default='local', help='processes of this machine, or of a Ray cluster')
    parser.add_argument('--address', help='of the Ray cluster (default: RAY_ADDRESS, or one on this machine)')
    parser.add_argument('--resume', action='store_true', help='continue the grid in its folder: only what is missing runs')
    parser.add_argument('--accept-code-change', action='store_true', help='with --resume: keep results of other code than this one')
    parser.add_argument('--only', metavar='PATTERN', help='run the trials whose names match, such as "rq__*"')
    parser.add_argument('--seeds', type=int, nargs='+', help='in place of the grid\'s')
    parser.add_argument('--dry-run', action='store_true', help='check the grid and list its trials; nothing is started or written')
    parser.add_argument('--no-report', action='store_true', help='do not make the report at the end')
    add_config_options(parser)
    return parser.parse_args(argv)


def kept_options(folder):
    """Return the --cfg-options that a grid's folder was started with, and its plugins."""
    from dtbox.ablation.folder import GridFolder
    from dtbox.cli import parse_value
    about = GridFolder(folder).about()
    return {key: parse_value(text) for key, text in about.get('options', {}).items()}


@main_guard
def main(argv=None):
    """Run the command line."""
    args = parse(argv)
    if args.accept_code_change and not args.resume:
        raise InputError('--accept-code-change goes with --resume: a new grid has no earlier results.')
    from dtbox.ablation import GridFolder, read_grid, run_grid
    path, work_dir = args.grid, args.work_dir
    if os.path.isdir(path):
        work_dir = work_dir or path
        path = GridFolder(path).about().get('config')
        if path is None:
            raise InputError(f'{args.grid} is no folder of a grid (it has no grid.json). Give a grid\'s config, such as '
                             'configs/ablations/decoupling.py.')
    work_dir = work_dir or os.path.join('work_dirs', 'ablations', os.path.splitext(os.path.basename(path))[0])
    options = parse_options(args.cfg_options)
    if args.resume:
        options = {**kept_options(work_dir), **options}
    grid = read_grid(path, options, args.plugin, args.seeds, args.threads)
    command = 'python tools/ablate.py ' + shlex.join(sys.argv[1:] if argv is None else argv)
    try:
        plan, rows = run_grid(grid, work_dir, args.engine, args.workers, args.address, args.resume, args.only, args.accept_code_change,
                              args.dry_run, command, options)
    except KeyboardInterrupt:
        print(f'\nThe grid goes on with: python tools/ablate.py {shlex.quote(args.grid)}'
              + (f' --work-dir {shlex.quote(args.work_dir)}' if args.work_dir else '') + ' --resume', file=sys.stderr)
        raise
    if rows is None:
        from dtbox.ablation.run import plan_lines
        print('\n'.join([*plan_lines(plan), f'{len(plan)} trials; nothing was started.']))
        return
    raise SystemExit(finish(grid, work_dir, rows, not args.no_report))


def finish(grid, work_dir, rows, report):
    """Print the scores, make the report and say where everything is; returns the exit code."""
    from dtbox.ablation import GridFolder
    from dtbox.ablation.summary import summary
    print('\n' + '\n'.join(summary(grid, rows)))
    counts = {}
    for row in rows:
        counts[row['status']] = counts.get(row['status'], 0) + 1
    spent = GridFolder(work_dir).about()['bookkeeping']
    share = f' ({spent["seconds"] / spent["trials"]:.1%} of the trials\' {spent["trials"]:.0f} s)' if spent['trials'] else ''
    print('\n' + ', '.join(f'{n} {status}' for status, n in counts.items()) + f'. Bookkeeping: {spent["seconds"]:.1f} s{share}.')
    print(f'Table: {os.path.join(work_dir, "results.csv")}')
    if report and counts.get('done'):
        from dtbox.report import build
        print(f'Report: {build(work_dir)}')
    return 0 if set(counts) <= {'done'} else 1


if __name__ == '__main__':
    main()
