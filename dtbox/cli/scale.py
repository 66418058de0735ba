"""dtbox scale: predict training on many GPUs, or the encoding of a data set."""
from __future__ import annotations

import argparse
import os

from dtbox.cli.describe import add_machine_options
from dtbox.cli.options import add_config_options, read_config
from dtbox.cli.scale_encode import add_encode_options, check_mode, plan
from dtbox.cli.verb import Verb
from dtbox.errors import InputError

COUNTS = [8, 16, 32, 64, 128, 256, 512, 1024]
TRAINING = {'gpus', 'global_batch', 'config_gpus', 'parallel', 'memory', 'peak', 'utilisation', 'gpus_per_node',
            'inside', 'between', 'latency', 'check', 'steps'}
"""Options that --encode does not take."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('config', metavar='CONFIG', help='config file or its name, or a run folder')
    parser.add_argument('--gpus', type=int, nargs='+', default=COUNTS, metavar='N', help='numbers of GPUs (default: 8 '
                                                                                         'to 1024)')
    parser.add_argument('--batch', type=int, metavar='N', help='images a GPU (default: that of the config; of --check: '
                                                               '8), or of a batch that is encoded (32)')
    parser.add_argument('--global-batch', type=int, metavar='N', help='images of all GPUs together, instead')
    parser.add_argument('--config-gpus', type=int, default=8, metavar='N',
                        help="GPUs for which the config's iterations are meant (default: 8)")
    parser.add_argument('--parallel', default='ddp', choices=('ddp', 'fsdp'),
                        help='how the GPUs divide the model (default: ddp)')
    add_machine_options(parser)
    parser.add_argument('--gpus-per-node', type=int, default=8, metavar='N', help='default: 8')
    parser.add_argument('--inside', type=float, default=300, metavar='GB/S',
                        help='bandwidth a GPU inside a node (default: 300, NVLink of an A100)')
    parser.add_argument('--between', type=float, default=25, metavar='GB/S',
                        help='bandwidth a GPU between nodes (default: 25, one 200 Gb/s card each)')
    parser.add_argument('--latency', type=float, default=5, metavar='US', help='microseconds a hop (default: 5)')
    parser.add_argument('--out', metavar='DIR',
                        help='also write scale.md, scale.csv and scale.png there (with --check: check.md; with '
                             '--encode: encode.md and encode.csv); a folder that holds something is left alone, and '
                             'DIR.1 taken')
    parser.add_argument('--check', action='store_true', help='train 1, 2 and 4 ranks here for a few steps; use an idle '
                                                             'machine')
    parser.add_argument('--steps', type=int, default=20, metavar='N', help='of --check, timed (default: 20)')
    add_encode_options(parser)
    add_config_options(parser)


def run(args: argparse.Namespace) -> None:
    """Print the prediction, or the check of it."""
    from dtbox.files import find_unused_path
    check_mode(args, VERB.parser(), TRAINING)
    if args.out and os.path.isdir(args.out) and os.listdir(args.out):
        args.out = find_unused_path(os.path.normpath(args.out))
    if args.encode:
        print(plan(args))
    else:
        print(check(args) if args.check else predict(args))
    if args.out:
        print(f'\nwritten to {args.out}')


def predict(args: argparse.Namespace) -> str:
    """Return the prediction as text; write files where asked."""
    if args.batch and args.global_batch:
        raise InputError('--batch and --global-batch contradict each other; give one of them.')
    if args.config_gpus < 1:
        raise InputError(f'--config-gpus is {args.config_gpus}; expected at least 1.')
    from dtbox.config import resolve
    from dtbox.sizing.communication import Network
    from dtbox.sizing.scale import Setting
    from dtbox.sizing.scale_report import report_scale
    cfg = resolve(read_config(args))
    own = (cfg.get('train_dataloader') or {}).get('batch_size', 1)
    iterations = (cfg.get('train_cfg') or {}).get('max_iters')
    batch = None if args.global_batch is not None else own if args.batch is None else args.batch
    network = Network(args.gpus_per_node, args.inside * 1e9, args.between * 1e9, args.latency * 1e-6)
    setting = Setting(batch, args.global_batch, tuple(sorted(set(args.gpus))), network, args.parallel, args.peak * 1e12,
                      args.utilisation, args.memory * 1e9, iterations and iterations * own * args.config_gpus)
    name = os.path.splitext(os.path.basename(os.path.normpath(args.config)))[0]
    return report_scale(cfg, setting, name, args.out)


def check(args: argparse.Namespace) -> str:
    """Return predicted and measured steps as text; write check.md where asked."""
    from dtbox.sizing import scale_check
    from dtbox.sizing.scale_report import report_check
    from dtbox.testing.rank_group import Ranks
    batch = 8 if args.batch is None else args.batch
    result = scale_check.check(Ranks, (args.config, args.cfg_options, args.plugin), batch, args.steps)
    return report_check(result, ['dtbox', 'scale', *args.typed], args.out)


VERB = Verb(
    'scale', 'Predict training on many GPUs, or the encoding of a data set: rates, days, memory, files',
    'Two tables and what they assume. With --out, scale.md, scale.csv and scale.png (with --check, check.md; with '
    '--encode, encode.md and encode.csv).',
    'dtbox scale paper/dualtoken_so400m_384_rq8 --gpus 8 64 1024 --parallel fsdp', add_arguments, run,
    detail='The prediction follows from counted FLOPs and bytes. With --check: real steps of a few ranks on this '
           'machine against the same model. With --encode: images a second, days, disk, files and cost of `dtbox '
           'encode`, from rates that are measured here or given, and what breaks first.')
