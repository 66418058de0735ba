"""dtbox ask: a question about images."""
from __future__ import annotations

import argparse
import os

from dtbox.cli.options import add_language_model, add_model_options, add_reply_options
from dtbox.cli.verb import Verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_language_model(parser)
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='image, or folder: all images in it')
    parser.add_argument('question', metavar='QUESTION', help='text; each image is asked about by itself')
    add_reply_options(parser)
    add_model_options(parser)


def run(args: argparse.Namespace) -> int:
    """Ask; returns 2 where images cannot be read, after all others are done."""
    import sys

    from dtbox.apis.loading import load_as
    from dtbox.apis.opening import MLLM
    from dtbox.apis.reconstruction import find_images
    from dtbox.errors import InputError
    model = load_as(MLLM, args.run, args.checkpoint, device=args.device, plugins=args.plugin)
    if os.path.exists(args.question):
        raise InputError(f'the question is {args.question!r}, an image or folder that exists; expected words after the '
                         'images, such as "what is it?".', 'QUESTION')
    failed = 0
    for path, error in find_images(args.images):
        try:
            if error is not None:
                raise error
            said = model.ask(path, args.question, max_tokens=args.max_tokens, temperature=args.temperature,
                             seed=args.seed)[0]
            print(f'{path}: {said or "(no answer)"}')
        except InputError as e:
            failed += 1
            print(f'error: {e}', file=sys.stderr)
    return 2 if failed else 0


VERB = Verb(
    'ask', 'Ask a multimodal language model about images',
    'A line for each image: its path and the reply. Exit code 2 where an image cannot be read; the others are asked '
    'about all the same.',
    'dtbox ask work_dirs/mllm_twemoji apple.png what_is_it?', add_arguments, run)
