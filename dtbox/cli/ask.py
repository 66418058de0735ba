"""dtbox ask: a question about images."""
from __future__ import annotations

import argparse
import functools
import os

from dtbox.cli.options import add_language_model, add_model_options, add_reply_options
from dtbox.cli.verb import Verb
from dtbox.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_language_model(parser)
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='image, or folder: all images in it')
    parser.add_argument('question', metavar='QUESTION', help='text; each image is asked about by itself')
    add_reply_options(parser)
    add_model_options(parser)


def run(args: argparse.Namespace) -> int:
    """Ask; returns 2 where images cannot be read, after all others are done; without any, before the model is opened.
    """
    import sys

    from dtbox.apis.loading import load_as
    from dtbox.apis.mllm_files import leave_out_sheets
    from dtbox.apis.opening import MLLM
    from dtbox.apis.reconstruction import find_images
    if os.path.exists(args.question):
        raise InputError(f'the question is {args.question!r}, an image or folder that exists; expected words after the '
                         'images, such as "what is it?".', 'QUESTION')
    say = functools.partial(print, file=sys.stderr)
    found = [(path, error or find_lack(path)) for given in args.images
             for path, error in leave_out_sheets(given, find_images([given]), say)]
    errors = [error for _, error in found if error is not None]
    for error in errors:
        print(f'error: {error}', file=sys.stderr)
    if len(errors) == len(found):
        return 2
    model = load_as(MLLM, args.run, args.checkpoint, device=args.device, plugins=args.plugin)
    failed = len(errors)
    for path in (path for path, error in found if error is None):
        try:
            said = model.ask(path, args.question, max_tokens=args.max_tokens, temperature=args.temperature,
                             seed=args.seed)[0]
            print(f'{path}: {said or "(no answer)"}')
        except InputError as e:
            failed += 1
            print(f'error: {e}', file=sys.stderr)
    return 2 if failed else 0


def find_lack(path: str) -> InputError | None:
    """Return what is wrong with the path of an image, as far as that is known before it is read."""
    return None if os.path.exists(path) else InputError(f'{path} does not exist. Check the path.')


VERB = Verb(
    'ask', 'Ask a multimodal language model about images',
    'A line for each image: its path and the reply. Exit code 2 where an image cannot be read; the others are asked '
    'about all the same. Of a folder that `dtbox draw` wrote, the sheet of all drawings is left out.',
    'dtbox ask work_dirs/mllm_twemoji apple.png what_is_it?', add_arguments, run)
