"""dtbox app: a page that opens runs, images, codes and answers in the browser."""
from __future__ import annotations

import argparse

from dtbox.cli.options import add_plugin_option
from dtbox.cli.verb import Verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('runs', nargs='+', metavar='RUN',
                        help='run folder, folder of save_pretrained, dtbox://NAME or hf://OWNER/NAME; beside these '
                             'also folders of grids')
    parser.add_argument('--images', metavar='DIR', help="folder of images to search in (default: the run's "
                                                        'held-out images)')
    parser.add_argument('--tokens', metavar='OUT', help='folder of token shards to look at and to search in')
    parser.add_argument('--host', default='127.0.0.1', metavar='ADDRESS',
                        help='address to listen at (default: 127.0.0.1, this machine alone); any other needs a token')
    parser.add_argument('--port', type=int, default=7860, metavar='N', help='0 takes a free one (default: 7860)')
    parser.add_argument('--token', metavar='TEXT',
                        help='token that browsers send: open the page with ?token=TEXT (default: the environment '
                             'variable DTBOX_TOKEN, which other users of the machine cannot read)')
    parser.add_argument('--max-image-mb', type=float, default=10, metavar='N',
                        help='most megabytes of a file that is dropped (default: 10)')
    parser.add_argument('--device', default='cpu', help='torch device (default: cpu)')
    add_plugin_option(parser)


def run(args: argparse.Namespace) -> None:
    """Serve the page."""
    import os

    from dtbox.errors import InputError, at, need_package
    from dtbox.serving import server
    from dtbox.serving.limits import Limits
    access = server.make_access(args.host, args.token)
    with at('--max-image-mb'):
        limits = Limits(image_bytes=round(args.max_image_mb * 1e6))
    for option, folder in (('--images', args.images), ('--tokens', args.tokens)):
        if folder is not None and not os.path.isdir(folder):
            raise InputError(f'{folder} is not a folder.', option)
    need_package('uvicorn', 'app', 'dtbox app')
    with server.open_socket(args.host, args.port) as listening:
        from dtbox.app.opened import Runs
        from dtbox.app.page import serving
        sources, grids = serving.split_grids(args.runs)
        if not sources:
            raise InputError('only folders of grids came. Name a run, too; `dtbox report` makes a page of a grid.',
                             'RUN')
        serving.run(Runs(sources, args.device, args.plugin, args.trust_remote_code), listening, access, grids,
                    args.images, args.tokens, limits)


VERB = Verb(
    'app', 'Open runs, images, codes and answers as a page in the browser',
    'a line with the address of the page. Nothing is written, and nothing leaves the machine.',
    'dtbox app work_dirs/dualtoken_rq dtbox://mllm-twemoji', add_arguments, run,
    'Tabs: reconstruct, token inspector, side by side, edit, search, codebook, shards, video, chat and draw, runs.')
