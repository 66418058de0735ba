"""dtbox serve: a multimodal language model for clients of OpenAI's API."""
from __future__ import annotations

import argparse
import os

from dtbox.cli.options import add_language_model, add_model_options
from dtbox.cli.verb import Verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_language_model(parser)
    parser.add_argument('--host', default='127.0.0.1', metavar='ADDRESS',
                        help='address to listen at (default: 127.0.0.1, this machine alone); any other needs a token')
    parser.add_argument('--port', type=int, default=8000, metavar='N', help='0 takes a free one (default: 8000)')
    parser.add_argument('--token', metavar='TEXT',
                        help='token that clients send (default: the environment variable DTBOX_TOKEN, which other '
                             'users of the machine cannot read)')
    parser.add_argument('--name', metavar='NAME', help='that clients call the model by (default: that of RUN)')
    parser.add_argument('--images-root', metavar='DIR',
                        help='let requests name image files in this folder (default: none)')
    for option, kind, default, text in (
            ('--max-images', int, 16, 'most images of a request'),
            ('--max-image-mb', float, 10, 'most megabytes of an image'),
            ('--max-request-mb', float, 20, 'most megabytes of a request'),
            ('--max-characters', int, 32_000, 'most characters of the texts of a request'),
            ('--max-n', int, 8, 'most answers or drawings of a request'),
            ('--queue', int, 32, 'most requests that wait; more get HTTP 429'),
            ('--timeout', float, 120, 'most seconds from a request to the end of its answer')):
        parser.add_argument(option, type=kind, default=default, metavar='N', help=f'{text} (default: {default:g})')
    add_model_options(parser)


def run(args: argparse.Namespace) -> None:
    """Serve."""
    from dtbox.apis.loading import load_as
    from dtbox.apis.opening import MLLM
    from dtbox.errors import need_package
    from dtbox.serving import server
    from dtbox.serving.limits import Limits
    from dtbox.serving.service import Service
    for package in ('fastapi', 'uvicorn'):
        need_package(package, 'serve', 'dtbox serve')
    access = server.make_access(args.host, args.token)
    limits = Limits(images=args.max_images, image_bytes=round(args.max_image_mb * 1e6), seconds=args.timeout,
                    request_bytes=round(args.max_request_mb * 1e6), characters=args.max_characters,
                    choices=args.max_n, waiting=args.queue)
    with server.open_socket(args.host, args.port) as listening:
        model = load_as(MLLM, args.run, args.checkpoint, device=args.device, plugins=args.plugin)
        name = args.name or os.path.basename(os.path.abspath(args.run))
        server.run(Service(model, name, limits, access, args.images_root), listening)


VERB = Verb(
    'serve', "Serve a multimodal language model to clients of OpenAI's API",
    'a line with the address, then a line a request. Addresses: /v1/models, /v1/chat/completions, '
    '/v1/images/generations.',
    'dtbox serve dtbox://mllm-twemoji --port 8000', add_arguments, run)
