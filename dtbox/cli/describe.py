"""dtbox describe: count a recipe before it runs."""
from __future__ import annotations

import argparse
import functools
from typing import Any, Callable, Mapping

from dtbox.cli.options import add_config_options, add_tiny_option, read_config
from dtbox.cli.verb import Verb
from dtbox.errors import InputError

A100 = 80.0
"""GB of memory."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('config', metavar='CONFIG', help='config file or its name, or a run folder')
    parser.add_argument('--gpus', type=int, metavar='N', help='number of GPUs (default: 8; 1 for a proposal)')
    add_machine_options(parser, memory=None)
    parser.add_argument('--batch', type=int, metavar='N',
                        help='images (samples of a language model) a GPU (default: that of the config; with --memory '
                             'what fits is proposed)')
    parser.add_argument('--text', type=int, metavar='N',
                        help='of a language model: text tokens of a sample, beside its image (default: 32)')
    add_tiny_option(parser)
    add_config_options(parser)


def add_machine_options(parser: argparse.ArgumentParser, memory: float | None = A100) -> None:
    """Add what a GPU can do; `memory` is the default of --memory."""
    parser.add_argument('--memory', type=float, default=memory, metavar='GB', help='of a GPU (default: 80, an A100)')
    parser.add_argument('--peak', '--tflops', type=float, default=312, metavar='TFLOPS',
                        help='of a GPU in the type of training (default: 312, A100 in bfloat16)')
    parser.add_argument('--utilisation', type=float, default=0.4,
                        help='fraction of it that training reaches (default: 0.4)')


def run(args: argparse.Namespace) -> None:
    """Print the counts, and with --memory alone a proposal."""
    memory = A100 if args.memory is None else args.memory
    if min(args.gpus or 1, args.batch or 1) < 1 or args.gpus == 0 or args.batch == 0 or memory <= 0 or args.peak <= 0 \
            or not 0 < args.utilisation <= 1:
        raise InputError('--gpus and --batch must be at least 1, --memory and --peak above 0, --utilisation in (0, 1].')
    from dtbox.apis.opening import MLLM, find_use
    from dtbox.config import resolve
    from dtbox.sizing.fit import fit
    source = read_config(args)
    cfg = resolve(source)
    mllm = find_use(cfg) == MLLM
    proposes = args.memory is not None and args.batch is None and not mllm
    gpus = args.gpus or (1 if proposes else 8)
    describe, format_parts, format_fit = choose_description(mllm, args.text, gpus)
    if proposes:
        from dtbox.sizing.propose import format_proposal, propose
        proposal = propose(source, memory * 1e9, gpus)
        description, batch = proposal.description, proposal.batch
        iterations = proposal.iterations
        print(format_parts(description), format_proposal(proposal, memory * 1e9), sep='\n')
    else:
        description = describe(cfg)
        batch = args.batch or find_batch(cfg.get('train_dataloader') or {}, gpus)
        iterations = (cfg.get('train_cfg') or {}).get('max_iters')
        print(format_parts(description))
    result = fit(description, batch, gpus, memory * 1e9, args.peak * 1e12, args.utilisation, iterations)
    print(format_fit(description, result, batch, gpus, args.peak, args.utilisation, iterations))


def choose_description(mllm: bool, text: int | None, gpus: int) -> tuple[Callable, Callable, Callable]:
    """Return what counts a recipe, and what writes its parts and what it needs of GPUs.

    Args:
        mllm: whether the recipe trains a language model.
        text: text tokens of its samples; None for the usual number.
        gpus: their number.

    Raises:
        InputError: text tokens of a tokenizer, or fewer than one.
    """
    if not mllm:
        if text is not None:
            raise InputError('the config is a tokenizer, whose samples have no text tokens.', '--text')
        from dtbox.sizing.describe import describe
        from dtbox.sizing.fit import format_description, format_fit
        return describe, format_description, format_fit
    from dtbox.sizing.describe_mllm import TEXT, describe_mllm
    from dtbox.sizing.format_mllm import format_mllm, format_mllm_fit
    if text is not None and text < 1:
        raise InputError(f'{text} text tokens were asked for; expected 1 at least.', '--text')
    return functools.partial(describe_mllm, text=text or TEXT, gpus=gpus), format_mllm, format_mllm_fit


def find_batch(loader: Mapping[str, Any], gpus: int) -> int:
    """Return the samples a GPU of a training loader: its own number, or a part of the number of all GPUs."""
    return loader.get('batch_size') or -(-(loader.get('global_batch_size') or 1) // gpus)


VERB = Verb(
    'describe', 'Count parameters, tokens, bits, FLOPs, memory and days of a recipe before it runs',
    'Tables on the screen; nothing is written.',
    'dtbox describe paper/dualtoken_so400m_384_rq8 --gpus 64', add_arguments, run,
    detail='Builds nothing in memory and needs no weights.')
