"""dtbox train: train a tokenizer that a config describes."""
from __future__ import annotations

import argparse
import os
import shlex
import sys

from dtbox.cli.options import add_config_options, add_tiny_option, read_config
from dtbox.cli.verb import Verb
from dtbox.errors import InputError
from dtbox.files import find_unused_path
from dtbox.runs import RunFolder, choose_run_folder, find_run_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('config', metavar='CONFIG',
                        help='config file or its name, or a run folder to start from its config')
    parser.add_argument('--data', metavar='CONFIG', help="config of other data than the recipe's, such as imagenet or "
                                                         'configs/_base_/datasets/imagenet.py')
    parser.add_argument('--work-dir', metavar='DIR', help='run folder (default: work_dirs/NAME of the config)')
    parser.add_argument('--resume', action='store_true',
                        help='resume the run in the run folder exactly where it stopped')
    parser.add_argument('--seed', type=int, help='seed of weights, data order and augmentation')
    parser.add_argument('--amp', action='store_true',
                        help='bfloat16 autocast (codes, losses and statistics stay float32)')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
                        help='how ranks are started')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument('--accept-plugin-change', action='store_true',
                        help='with --resume: resume although a plugin is missing or has changed since the checkpoint '
                             'was written')
    add_tiny_option(parser)
    add_config_options(parser)


def run(args: argparse.Namespace) -> None:
    """Train; after Ctrl-C, print the command that resumes."""
    if args.accept_plugin_change and not args.resume:
        raise InputError('--accept-plugin-change goes with --resume: a new run has no earlier plugins.')
    cfg = read_config(args)
    if args.resume and args.work_dir:
        refuse_other_folder(str(cfg.filename), args.work_dir)
    from dtbox.training.local_ranks import LocalRanks, choose_cpu_ranks
    from dtbox.training.runner import Runner
    from dtbox.training.same_run import OtherRun
    if args.seed is not None:
        cfg.seed = args.seed
    if args.amp:
        cfg.amp = 'bfloat16'
    with LocalRanks(choose_cpu_ranks(cfg, args.launcher)) as ranks:
        launcher = args.launcher if args.launcher != 'none' else ranks.launcher
        try:
            runner = Runner.from_config(cfg, work_dir=args.work_dir, resume=args.resume, launcher=launcher,
                                        accept_plugin_change=args.accept_plugin_change)
        except OtherRun as e:
            run = RunFolder(args.work_dir or cfg.get('work_dir') or choose_run_folder(cfg.filename))
            raise InputError(f'{e.message}\nWith what you have set now, that is: {describe_new_run(args.typed, run)}',
                             e.where) from e
        try:
            runner.train()
        except KeyboardInterrupt:
            print(f'\n{describe_resume(runner.work_dir)}', file=sys.stderr)
            raise


def refuse_other_folder(config: str, work_dir: str) -> None:
    """Raise `InputError` where the run of the folder that was named is to be resumed in one that holds no run."""
    run = find_run_of(config)
    if run.is_run_config(config) and run.has_checkpoint() and not RunFolder(work_dir).has_checkpoint():
        raise InputError(f'{work_dir} holds no run that could be resumed, and {run.path} does. Resume it there '
                         '(without --work-dir), or copy the folder first.', '--work-dir')


def describe_new_run(typed: list[str], run: RunFolder) -> str:
    """Return the command of a new run that starts from the weights of `run`.

    Args:
        typed: words after `dtbox train` of the command that could not resume `run`; its settings stay.
        run: folder of a run, which stays, too.
    """
    words = [word for before, word in zip(['', *typed], typed)
             if word not in ('--resume', '--accept-plugin-change', '--work-dir') and before != '--work-dir'
             and not word.startswith('--work-dir=')]
    start = [] if any(word.startswith('load_from=') for word in words) else ['--cfg-options',
                                                                             f'load_from={run.checkpoint}']
    place = find_unused_path(f'{os.path.normpath(run.path)}_new')
    return shlex.join(['dtbox', 'train', *words, *start, '--work-dir', place])


def describe_resume(work_dir: str) -> str:
    """Return what to type after an interruption."""
    if RunFolder(work_dir).has_checkpoint():
        return f'To resume the run from its last checkpoint: dtbox train {shlex.quote(work_dir)} --resume'
    return f'{work_dir} has no checkpoint yet; the run would start anew.'


VERB = Verb(
    'train', 'Train the tokenizer or the language model that a config describes',
    'A log on the screen. The run folder gets config.py, the log, checkpoint.pth, weights, plugins, images and '
    'metrics.json; an existing run is never overwritten.',
    'dtbox train dualtoken_rq --tiny', add_arguments, run,
    detail='On several GPUs: torchrun --nproc_per_node 8 -m dtbox train CONFIG --launcher pytorch.')
