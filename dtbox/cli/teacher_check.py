"""dtbox teacher-check: score the frozen encoder itself before training."""
from __future__ import annotations

import argparse

from dtbox.cli.options import add_config_options, read_options
from dtbox.cli.verb import Verb
from dtbox.counts import format_count
from dtbox.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('config', metavar='CONFIG_OR_RUN',
                        help='config, whose starting weights are measured, or run folder')
    parser.add_argument('--data', metavar='CONFIG',
                        help='config of held-out data, such as imagenet or configs/_base_/datasets/imagenet.py '
                             '(default: that of CONFIG_OR_RUN)')
    parser.add_argument('--encoder', default='teacher', metavar='NAME',
                        help='`teacher`, or an encoder of the tokenizer (default: teacher)')
    parser.add_argument('--template', action='append', metavar='TEXT',
                        help="sentence with {} for the class; may be given several times (default: CLIP's 80 for "
                             'ImageNet, else "a photo of a {}")')
    parser.add_argument('--limit', type=int, metavar='N', help='images at most')
    parser.add_argument('--out', metavar='FILE', help='JSON file to write or replace')
    add_config_options(parser)


def run(args: argparse.Namespace) -> None:
    """Measure the encoder."""
    if args.limit is not None and args.limit < 1:
        raise InputError(f'{format_count(args.limit, "image")}; expected at least 1.', '--limit')
    from dtbox.diagnostics.teacher_check import check_teacher, report
    from dtbox.evaluation import to_json
    from dtbox.files import check_writable
    if args.out:
        check_writable(args.out)
    templates = args.template or ('imagenet80' if 'imagenet' in (args.data or '') else ['a photo of a {}'])
    result = check_teacher(args.config, args.data, args.encoder, read_options(args), args.plugin, templates, args.limit)
    print(report(result))
    if args.out:
        to_json(result, args.out)
        print(f'\nwritten to {args.out}')


VERB = Verb(
    'teacher-check', 'Score the frozen encoder itself before training',
    'Zero-shot and retrieval scores beside the published value where one is known. With --out, a JSON file.',
    'dtbox teacher-check paper/dualtoken_so400m_384_rq8 --data imagenet --cfg-options '
    'data_root=PATH', add_arguments, run,
    detail='A wrong preprocessing, activation or weights file shows at once.')
