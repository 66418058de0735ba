"""dtbox show-sample: training samples as the language model gets them."""
from __future__ import annotations

import argparse
import sys

from dtbox.cli.options import add_config_options, add_tiny_option, read_config
from dtbox.cli.verb import Verb
from dtbox.counts import format_count
from dtbox.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('config', metavar='CONFIG', help='config of a multimodal language model, or its run folder')
    parser.add_argument('--count', type=int, default=4, metavar='N', help='samples to show (default: 4)')
    add_tiny_option(parser)
    add_config_options(parser)


def run(args: argparse.Namespace) -> None:
    """Show samples."""
    if args.count < 1:
        raise InputError(f'{format_count(args.count, "sample")}; expected at least 1.', '--count')
    from dtbox.apis.mllm_samples import show_samples
    from dtbox.config import resolve
    cfg = resolve(read_config(args))
    for line in show_samples(cfg, args.count, colour=sys.stdout.isatty()):
        print(line)


VERB = Verb(
    'show-sample', 'Show training samples as a multimodal language model gets them',
    'For each sample its tokens in parts: what is given, what is shared by several questions, images, and targets, '
    'coloured on a terminal; at the end, which samples cannot be used, and why.',
    'dtbox show-sample mllm_twemoji --count 2', add_arguments, run)
