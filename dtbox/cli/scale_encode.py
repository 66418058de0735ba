"""Options and work of `dtbox scale --encode`: what it takes to tokenize a data set."""
from __future__ import annotations

import argparse
import contextlib
import os
from typing import TYPE_CHECKING

from dtbox.errors import InputError, at

if TYPE_CHECKING:
    from dtbox.apis.tokenizer import Tokenizer

IMAGES = ('1e6', '1e8', '1e10')
WORKERS = (1, 64, 1024)
CORES = 8
BATCH = 32
"""Of the model; that of `dtbox encode`."""
RATES = ('decode', 'model', 'write')


def add_encode_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of --encode."""
    group = parser.add_argument_group('with --encode')
    group.add_argument('--encode', action='store_true', help='plan the encoding of a data set by `dtbox encode`, '
                                                             'from rates that are given, or measured here (use an '
                                                             'idle machine)')
    group.add_argument('--images', nargs='+', default=list(IMAGES), metavar='N', help='images of the data set '
                       f'(default: {" ".join(IMAGES)})')
    group.add_argument('--workers', type=int, nargs='+', default=list(WORKERS), metavar='N',
                       help='cores, or GPUs with --device cuda or --cores-per-gpu (default: 1 64 1024)')
    group.add_argument('--device', default='cpu', help='torch device on which the model is measured (default: cpu)')
    group.add_argument('--cores-per-gpu', type=int, metavar='N', help='workers are GPUs with N cores each (default '
                                                                      f'with --device cuda: {CORES})')
    group.add_argument('--source', metavar='DIR', help='folder of images to measure decoding with (default: generated '
                                                       'JPEG files of 500 x 375)')
    for name, what in (('decode', 'that one core decodes'), ('model', 'that the model encodes on one device'),
                       ('write', 'that one core writes')):
        group.add_argument(f'--{name}-rate', type=float, metavar='R', help=f'images a second {what} (default: '
                                                                           'measured here)')
    group.add_argument('--image-bytes', type=float, metavar='N', help='bytes of an image file (default: those of the '
                                                                      'decoded ones)')
    group.add_argument('--shard-images', type=int, default=4096, metavar='N', help='images of a token shard '
                                                                                    '(default: 4096)')
    group.add_argument('--files-per-folder', type=int, default=100000, metavar='N',
                       help='most token shards of one folder (default: 100000)')
    group.add_argument('--efficiency', type=float, default=0.95, metavar='E',
                       help='rate of a worker among others over its rate alone (default: 0.95)')
    group.add_argument('--cost-per-hour', type=float, metavar='X', help='price of a worker for an hour, in any unit')
    group.add_argument('--embedding', action='store_true', help='count embeddings, too')
    group.add_argument('--seconds', type=float, default=2.0, metavar='S', help='of each measurement (default: 2)')


def check_mode(args: argparse.Namespace, parser: argparse.ArgumentParser, own: set[str]) -> None:
    """Raise `InputError` for an option of training together with --encode, or one of --encode without it.

    Args:
        args: parsed arguments.
        parser: of the verb.
        own: names of the options of training.
    """
    encode = next(group for group in parser._action_groups if group.title == 'with --encode')
    names = own if args.encode else {action.dest for action in encode._group_actions} - {'encode'}
    for action in parser._actions:
        if action.dest in names and getattr(args, action.dest) != action.default:
            mode = 'plans training; leave it out, or leave --encode out' if args.encode else 'belongs to --encode'
            raise InputError(f'this option {mode}.', action.option_strings[0])


def read_images(words: list[str]) -> list[int]:
    """Return numbers of images, such as '1000000', '1e6' or '1_000_000'."""
    numbers = []
    for word in words:
        try:
            value = float(word)
        except ValueError:
            value = 0.0
        if not 1 <= value < 1e15 or value != int(value):
            raise InputError(f'{word} came; expected a whole number of at least 1, such as 1e6.', '--images')
        numbers.append(int(value))
    return numbers


def plan(args: argparse.Namespace) -> str:
    """Return the plan as text; write encode.md and encode.csv where asked."""
    from dtbox.sizing.encoding import Files, Rates, plan_job
    from dtbox.sizing.encoding_rates import measure
    from dtbox.sizing.encoding_report import list_assumptions, report_plans
    images = read_images(args.images)
    given = {name: getattr(args, f'{name}_rate') for name in RATES if getattr(args, f'{name}_rate') is not None}
    Rates(*(given.get(name, 1.0) for name in RATES))  # before anything is measured
    if args.source is not None and 'decode' in given:
        raise InputError('--decode-rate is given, so no images are decoded. Leave one of the two out.', '--source')
    gpu = args.cores_per_gpu is not None or args.device != 'cpu'
    batch = BATCH if args.batch is None else args.batch
    tokenizer = open_tokenizer(args, empty='model' in given)
    measured = measure(tokenizer, args.source, list(given), batch, args.seconds,
                       int(tokenizer.model.head.pooled_dim) if args.embedding else None)
    found = {name: given.get(name, getattr(measured, name)) for name in RATES}
    cores = (CORES if args.cores_per_gpu is None else args.cores_per_gpu) if gpu else 0
    rates = Rates(**found, cores=cores)
    image_bytes = measured.image_bytes if args.image_bytes is None else args.image_bytes
    if image_bytes is None or image_bytes <= 0:
        raise InputError('the size of an image file is not known, as none is decoded; expected a number above 0.',
                         '--image-bytes')
    files = Files(image_bytes, measured.row_bytes, measured.shard_bytes, args.shard_images, measured.footer_seconds,
                  measured.name_seconds, measured.manifest_bytes, args.files_per_folder)
    plans = [plan_job(number, workers, rates, files, args.efficiency, args.cost_per_hour)
             for number in images for workers in args.workers]
    name = os.path.splitext(os.path.basename(os.path.normpath(args.config)))[0]
    told = list_assumptions(rates, files, measured, args.efficiency, args.cost_per_hour, batch)
    return report_plans(name, plans, files, told, gpu, args.out)


def open_tokenizer(args: argparse.Namespace, empty: bool = False) -> Tokenizer:
    """Return the tokenizer of a run, or of a config with random weights: times do not depend on them.

    Args:
        args: parsed arguments.
        empty: of a config, without memory for the weights, where the model does not run.
    """
    import torch

    from dtbox.apis.building import cast
    from dtbox.apis.loading import choose_eval_pipeline, load_as
    from dtbox.apis.opening import TOKENIZER
    from dtbox.apis.tokenizer import Tokenizer
    from dtbox.arguments import read_device
    from dtbox.cli.options import read_config
    from dtbox.config import resolve
    from dtbox.registry import TOKENIZERS
    with at('--device'):
        device = torch.device(read_device(args.device))
    if os.path.isdir(args.config) or args.config.startswith(('dtbox://', 'hf://')):
        return load_as(TOKENIZER, args.config, device=device, plugins=args.plugin)
    cfg = resolve(read_config(args))
    if not (cfg.get('model') or {}).get('tokenizer'):
        raise InputError(f'{args.config} has no dict `model.tokenizer`; expected the config of a tokenizer.', 'CONFIG')
    with torch.device('meta') if empty else contextlib.nullcontext():
        model = TOKENIZERS.build({'type': 'VisualTokenizer', **cfg.model.tokenizer}, where='model.tokenizer')
    model = (model if empty else cast(model, torch.float32).to(device)).eval().requires_grad_(False)
    return Tokenizer(model, choose_eval_pipeline(cfg, model.image_size))
