"""dtbox draw: images from texts."""
from __future__ import annotations

import argparse

from dtbox.cli.options import add_language_model, add_model_options, add_seed_option
from dtbox.cli.verb import Verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_language_model(parser)
    parser.add_argument('prompts', nargs='+', metavar='PROMPT', help='text to draw; several may follow')
    parser.add_argument('--n', type=int, default=1, metavar='N', help='drawings of each prompt (default: 1)')
    parser.add_argument('--out', required=True, metavar='DIR',
                        help='folder for the drawings; nothing in it is overwritten')
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
    from dtbox.apis.loading import load_as
    from dtbox.apis.mllm_files import draw_files
    from dtbox.apis.opening import MLLM
    model = load_as(MLLM, args.run, args.checkpoint, device=args.device, plugins=args.plugin)
    for path in draw_files(model, args.prompts, args.out, args.n, args.run, scale=args.scale,
                           temperature=args.temperature, top_k=args.top_k, top_p=args.top_p, seed=args.seed):
        print(path)


VERB = Verb(
    'draw', 'Draw images from texts with a multimodal language model',
    'The paths of what is written: a PNG for each drawing, named after its prompt; drawings.png with all of them; '
    'drawings.json with the settings.',
    'dtbox draw work_dirs/mllm_twemoji apple --n 8 --out drawings', add_arguments, run)
