"""dtbox score-drawings: scores of a folder of drawings."""
from __future__ import annotations

import argparse
import os
import shlex

from dtbox.cli.options import add_config_options, read_options
from dtbox.cli.verb import Verb
from dtbox.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('drawings', metavar='DRAWINGS', help="folder of images; or GenEval's results.jsonl")
    parser.add_argument('real', nargs='?', metavar='REAL', help='folder of real images, for Frechet distances')
    parser.add_argument('--protocol', nargs='+', metavar='NAME',
                        help='how to measure: rfid_clean, rfid_fidelity and their kin, frechet_tower, clip_score, or '
                             'config files (of a folder)')
    parser.add_argument('--layout', choices=('mjhq', 'geneval'), help='benchmark whose folder it is, for clip_score')
    parser.add_argument('--prompts', metavar='FILE', help='file of prompts of --layout')
    parser.add_argument('--n', type=int, metavar='N', help="drawings of each prompt (default: the benchmark's)")
    parser.add_argument('--device', default='cpu', help='torch device (default: cpu)')
    parser.add_argument('--batch', type=int, default=32, metavar='N', help='images at a time (default: 32)')
    parser.add_argument('--out', metavar='FILE',
                        help='JSON file to write or replace (default: DRAWINGS.scores.json; where that '
                             'exists, DRAWINGS.scores.1.json and so on)')
    add_config_options(parser)


def run(args: argparse.Namespace) -> None:
    """Measure a folder, or read results of GenEval's detector."""
    from dtbox.evaluation import format_table
    from dtbox.evaluation.geneval import read_results
    from dtbox.files import check_writable, find_unused_path
    place = os.path.normpath(args.drawings)
    place = os.path.abspath(place) if os.path.basename(place) in ('.', '..') else place
    out = args.out or find_unused_path(f'{place}.scores.json')
    check_writable(out)
    if os.path.isfile(args.drawings):
        given = [name for name in ('real', 'protocol', 'layout', 'prompts') if getattr(args, name)]
        if given:
            raise InputError(f'{args.drawings} is a file, GenEval\'s results, which needs no {given[0]}; expected a '
                             'folder of drawings, or the file alone.', 'DRAWINGS')
        results = read_results(args.drawings)
        results.evaluation['results'] = args.drawings
        title = f'results     {args.drawings}'
    else:
        results, title = measure_folder(args)
    results.evaluation['command'] = shlex.join(['dtbox', 'score-drawings', *args.typed])
    print(title)
    for name, stamp in results.protocols.items():
        print(f'\nprotocol {name} (settings {stamp["hash"]}, data {stamp["data"]})\n')
        print(format_table(results.of_protocol(name)))
    results.write(out)
    print(f'\nwritten to {out}')


def measure_folder(args: argparse.Namespace) -> tuple:
    """Return (Results, title) of a folder of drawings."""
    from dtbox.apis.drawing_layouts import read_layout
    from dtbox.extend import load_plugins
    from dtbox.protocols.drawings import describe_drawings, measure_drawings
    from dtbox.protocols.find import load_protocols
    if not args.protocol:
        raise InputError('how to measure is not given; expected --protocol with rfid_clean, frechet_tower, clip_score '
                         'or others.', '--protocol')
    if (args.layout is None) != (args.prompts is None):
        raise InputError('--layout and --prompts go together: the benchmark, and its file of prompts.', '--layout')
    load_plugins(args.plugin)
    protocols, rest = load_protocols(args.protocol, read_options(args))
    if rest:
        raise InputError(f'no protocol takes the option `{next(iter(rest))}`.', '--cfg-options')
    layout = None if args.layout is None else read_layout(args.layout, args.prompts, args.n)
    results = measure_drawings(args.drawings, protocols, args.real, layout, args.device, args.batch)
    return results, describe_drawings(results)


VERB = Verb(
    'score-drawings', "Score a folder of drawings, or read the results of GenEval's detector",
    'A table of scores, each with the hashes by which it compares; the same as JSON, DRAWINGS.scores.json or FILE.',
    'dtbox score-drawings drawn/mjhq mjhq30k_imgs --protocol rfid_clean --cfg-options inception_clean=PATH',
    add_arguments, run)
