"""dtbox reconstruct: input and reconstruction of images side by side."""
from __future__ import annotations

import argparse
import sys

from dtbox.cli.options import add_model_options
from dtbox.cli.verb import Verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('run', metavar='RUN', help='run folder; or a config file, with --checkpoint')
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='image, or folder: all images in it')
    parser.add_argument('--out', required=True, metavar='DIR',
                        help='folder for the images; nothing in it is overwritten')
    parser.add_argument('--vocabularies', nargs='+', metavar='NAME',
                        help='encode and count these (default: those that the decoder reads)')
    parser.add_argument('--text', metavar='TEXT', help='text of each image, for a decoder that texts guide')
    add_model_options(parser)


def run(args: argparse.Namespace) -> int:
    """Reconstruct; returns 2 where images cannot be read, after all others are done."""
    from dtbox.apis.loading import load_as
    from dtbox.apis.opening import TOKENIZER
    from dtbox.apis.reconstruction import reconstruct_files
    tokenizer = load_as(TOKENIZER, args.run, args.checkpoint, device=args.device, plugins=args.plugin)
    failed = 0
    for result in reconstruct_files(tokenizer, args.images, args.out, args.vocabularies, args.text):
        failed += result.error is not None
        print(f'error: {result}' if result.error else result, file=sys.stderr if result.error else sys.stdout)
    if failed:
        print(f'{failed} could not be reconstructed.', file=sys.stderr)
    return 2 if failed else 0


VERB = Verb(
    'reconstruct', 'Write input and reconstruction of images side by side',
    'One PNG an image in DIR, and a line with its PSNR, tokens and bits. Exit code 2 where an image cannot be read; '
    'the others are written all the same.',
    'dtbox reconstruct work_dirs/dualtoken_rq photo.jpg --out reconstructions', add_arguments, run)
