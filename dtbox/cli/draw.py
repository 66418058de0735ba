"""dtbox draw: images from texts."""
from __future__ import annotations

import argparse

from dtbox.cli.options import add_language_model, add_model_options, add_seed_option
from dtbox.cli.verb import Verb
from dtbox.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_language_model(parser)
    parser.add_argument('prompts', nargs='*', metavar='PROMPT', help='text to draw; several may follow')
    parser.add_argument('--layout', choices=('mjhq', 'geneval'),
                        help='write the folder that a benchmark expects, or continue one: CATEGORY/NAME.jpg of '
                             'MJHQ-30K, 00000/samples/0000.png of GenEval')
    parser.add_argument('--prompts', dest='file', metavar='FILE',
                        help='prompts of --layout: meta_data.json of MJHQ-30K, evaluation_metadata.jsonl of GenEval')
    parser.add_argument('--n', type=int, metavar='N',
                        help="drawings of each prompt (default: 1, or the benchmark's)")
    parser.add_argument('--out', required=True, metavar='DIR',
                        help='folder for the drawings; nothing in it is overwritten')
    parser.add_argument('--batch', type=int, metavar='N',
                        help="drawings at a time with --layout (default: the model's)")
    parser.add_argument('--scale', type=float, metavar='S',
                        help="how far drawings are pulled towards their prompt, 1 for not at all (default: the "
                             "model's)")
    parser.add_argument('--temperature', type=float, metavar='T',
                        help="0 takes the most likely codes (default: the model's)")
    parser.add_argument('--top-k', type=int, metavar='K', help='draw among the K most likely codes')
    parser.add_argument('--top-p', type=float, metavar='P',
                        help='draw among the most likely codes whose probabilities sum to P')
    add_seed_option(parser)
    add_model_options(parser)


def run(args: argparse.Namespace) -> None:
    """Draw."""
    from dtbox.apis.drawing_layouts import read_layout
    from dtbox.apis.drawn_folder import draw_folder
    from dtbox.apis.loading import load_as
    from dtbox.apis.mllm_files import draw_files
    from dtbox.apis.opening import MLLM
    check_prompts(args)
    layout = None if args.layout is None else read_layout(args.layout, args.file, args.n)
    model = load_as(MLLM, args.run, args.checkpoint, device=args.device, plugins=args.plugin)
    settings = dict(scale=args.scale, temperature=args.temperature, top_k=args.top_k, top_p=args.top_p, seed=args.seed)
    if layout is not None:
        drawn = draw_folder(model, layout, args.out, args.run, batch=args.batch, **settings)
        print(f'{drawn:,} drawn')
        return
    for path in draw_files(model, args.prompts, args.out, 1 if args.n is None else args.n, args.run, **settings):
        print(path)


def check_prompts(args: argparse.Namespace) -> None:
    """Raise `InputError` unless there are prompts, or a layout and its file of prompts, and numbers of drawings that a
    model can make."""
    from dtbox.apis.mllm import MOST
    if (args.layout is None) != (args.file is None):
        raise InputError('--layout and --prompts go together: the benchmark, and its file of prompts. One of them is '
                         'missing.', '--layout' if args.layout is None else '--prompts')
    if args.layout is None and args.batch is not None:
        raise InputError('--batch goes with --layout.', '--batch')
    if args.layout is not None and args.prompts:
        raise InputError(f'got the prompt {args.prompts[0]!r:.60} beside --prompts {args.file}; expected one of the '
                         'two.', 'PROMPT')
    for name, value, most in (('--n', args.n, MOST if args.layout is None else None), ('--batch', args.batch, None)):
        if value is not None and not 1 <= value <= (most or value):
            raise InputError(f'{value} came; expected a whole number from 1{f" to {most}" if most else ""}.', name)
    if args.layout is None and not args.prompts:
        raise InputError('there is no prompt; expected words to draw, or --layout and --prompts.', 'PROMPT')


VERB = Verb(
    'draw', 'Draw images from texts with a multimodal language model',
    'The paths of what is written: a PNG for each drawing, named after its prompt; drawings.png with all of them; '
    'drawings.json with the settings. With --layout the files of a benchmark and drawings.json; what is there whole is '
    'not drawn again.',
    'dtbox draw work_dirs/mllm_twemoji apple --n 8 --out drawings', add_arguments, run)
