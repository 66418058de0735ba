"""Train a tokenizer: python tools/train.py CONFIG [--data CONFIG] [--work-dir DIR] [--resume] [--cfg-options key=value ...]"""
import argparse
import os
import shlex
import sys

from dtbox.cli.guard import main_guard
from dtbox.cli.options import add_config_options, add_tiny_option, read_config
from dtbox.errors import InputError


def parse(argv=None):
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description='Train a tokenizer that a config describes.')
    parser.add_argument('config', help='config file, or a run folder to start from its config')
    parser.add_argument('--data', metavar='CONFIG', help='config of other data than the recipe\'s, such as configs/_base_/datasets/imagenet.py')
    parser.add_argument('--work-dir', help='run folder (default: work_dirs/NAME of the config)')
    parser.add_argument('--resume', action='store_true', help='continue the run in the run folder, exactly where it stopped')
    parser.add_argument('--seed', type=int, help='seed of weights, data order and augmentation')
    parser.add_argument('--amp', action='store_true', help='bfloat16 autocast (codes, losses and statistics stay float32)')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='how ranks are started')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument('--accept-plugin-change', action='store_true',
                        help='with --resume: go on although a plugin is missing or has changed since the checkpoint was written')
    add_tiny_option(parser)
    add_config_options(parser)
    return parser.parse_args(argv)


def how_to_go_on(work_dir):
    """Return what to type after an interruption."""
    if os.path.isfile(os.path.join(work_dir, 'checkpoint.pth')):
        return f'The run goes on from its last checkpoint with: python tools/train.py {shlex.quote(work_dir)} --resume'
    return f'{work_dir} has no checkpoint yet; the run would start anew.'


@main_guard
def main(argv=None):
    """Run the command line."""
    args = parse(argv)
    if args.accept_plugin_change and not args.resume:
        raise InputError('--accept-plugin-change goes with --resume: a new run has no earlier plugins.')
    cfg = read_config(args)
    from dtbox.training.runner import Runner
    if args.seed is not None:
        cfg.seed = args.seed
    if args.amp:
        cfg.amp = 'bfloat16'
    runner = Runner.from_config(cfg, work_dir=args.work_dir, resume=args.resume, launcher=args.launcher,
                                accept_plugin_change=args.accept_plugin_change)
    try:
        runner.train()
    except KeyboardInterrupt:
        print(f'\n{how_to_go_on(runner.work_dir)}', file=sys.stderr)
        raise


if __name__ == '__main__':
    main()
