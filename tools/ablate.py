"""Run an ablation grid: python tools/ablate.py GRID [--workers N] [--engine local|ray] [--resume] [--only PATTERN] [--dry-run]"""
import argparse
import os
import shlex
import sys

from dtbox.cli.guard import main_guard
from dtbox.cli.options import add_config_options
from dtbox.config.options import parse_options, parse_value
from dtbox.errors import InputError, closest


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


def place_of(args):
    """Return (config of the grid, its folder, what grid.json tells of earlier starts there)."""
    from dtbox.ablation import GridFolder
    if not os.path.isdir(args.grid):
        folder = args.work_dir or os.path.join('work_dirs', 'ablations', os.path.splitext(os.path.basename(args.grid))[0])
        return args.grid, folder, GridFolder(folder).about() if args.resume else {}
    about = GridFolder(args.grid).about()
    if not about:
        raise InputError(f'{args.grid} is no folder of a grid (it has no grid.json). Give a grid\'s config, such as '
                         'configs/ablations/decoupling.py.')
    known = [path for path in (about.get('place'), about['config']) if path]
    path = next(filter(os.path.isfile, known), None)
    if path is None:
        raise InputError(f'the config of the grid in {args.grid} is no longer at {known[0]}. Give its path: python tools/ablate.py CONFIG '
                         f'--work-dir {shlex.quote(args.grid)} --resume.')
    return path, args.work_dir or args.grid, about


def with_kept(args, about):
    """Return what decides about the trials, as typed now or, where a grid goes on, as typed when it was started.

    Returns:
        dict of `options`, `plugins`, `seeds`, `threads`.
    """
    given = dict(options=parse_options(args.cfg_options), plugins=[os.path.abspath(p) if os.path.exists(p) else p for p in args.plugin],
                 seeds=args.seeds, threads=args.threads)
    if args.resume:
        kept = about.get('given', {})
        given['options'] = {**{key: parse_value(text) for key, text in about.get('options', {}).items()}, **given['options']}
        for key in ('plugins', 'seeds', 'threads'):
            given[key] = given[key] or kept.get(key)
    return given


@main_guard
def main(argv=None):
    """Run the command line."""
    args = parse(argv)
    typed = sys.argv[1:] if argv is None else list(argv)
    if args.accept_code_change and not args.resume:
        raise InputError('--accept-code-change goes with --resume: a new grid has no earlier results.')
    from dtbox.ablation import read_grid, run_grid
    path, work_dir, about = place_of(args)
    given = with_kept(args, about)
    grid = read_grid(path, given['options'], given['plugins'] or (), given['seeds'], given['threads'])
    kept = dict(command='python tools/ablate.py ' + shlex.join(typed), options={k: repr(v) for k, v in given.pop('options').items()}, given=given)
    try:
        plan, rows = run_grid(grid, work_dir, args.engine, args.workers, args.address, args.resume, args.only, args.accept_code_change,
                              args.dry_run, kept)
    except KeyboardInterrupt:
        again = typed if args.resume else [*typed, '--resume']
        print(f'\nThe grid goes on with: python tools/ablate.py {shlex.join(again)}', file=sys.stderr)
        raise
    if rows is None:
        from dtbox.ablation.plan import plan_lines
        print('\n'.join([*plan_lines(plan), f'{len(plan)} trials; nothing was started.']))
        return
    raise SystemExit(finish(grid, work_dir, rows, args.only, not args.no_report))


def finish(grid, work_dir, rows, only, report):
    """Print the scores, make the report and say where everything is; returns the exit code: 0 where all trials that were asked for are done."""
    from dtbox.ablation import GridFolder
    from dtbox.ablation.plan import wanted
    from dtbox.ablation.summary import summary
    print('\n' + '\n'.join(summary(grid, rows)))
    counts = {}
    for row in rows:
        counts[row['status']] = counts.get(row['status'], 0) + 1
    spent = GridFolder(work_dir).about()['bookkeeping']
    share = f' ({spent["seconds"] / spent["trials"]:.1%} of the trials\' {spent["trials"]:.0f} s)' if spent['trials'] else ''
    print('\n' + ', '.join(f'{n} {status}' for status, n in counts.items()) + f'. Bookkeeping: {spent["seconds"]:.1f} s{share}.')
    print('\n'.join([*lacking(grid, rows), f'Table: {os.path.join(work_dir, "results.csv")}']))
    if report and counts.get('done'):
        from dtbox.report import build
        print(f'Report: {build(work_dir)}')
    asked = {trial.name for trial in grid.trials if wanted(trial, only)}
    return int(any(row['status'] != 'done' for row in rows if row['trial'] in asked))


def lacking(grid, rows):
    """Return lines about scores that should be there: of finished trials that have none, and headline metrics that no trial has."""
    done = [row for row in rows if row['status'] == 'done']
    known = {key for row in done for key in row if '/' in key}
    lines = [f'{row["trial"]} has no scores: its metrics.json is missing or cannot be read. To run it again, take its folder away.'
             for row in done if not any('/' in key for key in row)]
    return lines + [f'No trial has the metric `{m}` that the grid asks for.{closest(m, known)}' for m in grid.metrics if known and m not in known]


if __name__ == '__main__':
    main()
