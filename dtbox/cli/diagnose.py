"""dtbox diagnose: why a tokenizer does what it does."""
from __future__ import annotations

import argparse
import sys

from dtbox.cli import diagnose_gpu, diagnose_time
from dtbox.cli.options import add_config_options, read_options
from dtbox.cli.verb import Verb
from dtbox.counts import format_count
from dtbox.errors import InputError

ALONE = dict(time=diagnose_time, gpu=diagnose_gpu)
"""Diagnoses of speed, which have modules of their own."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a subcommand for each diagnosis."""
    kinds = parser.add_subparsers(dest='kind', required=True, metavar='conflict|layers|atlas|semantics|time|gpu')
    _add_conflict(kinds.add_parser('conflict', help='do reconstruction and semantics pull the encoder apart, and in '
                                                    'which layers?',
                                   description='The cosine of the gradients of the reconstruction terms and of the '
                                               'semantic terms, and their norms, in each block of the encoder. Of a '
                                               'config: while its recipe trains. Of a run folder: its checkpoint, on '
                                               'training batches, without training.'))
    _add_layers(kinds.add_parser('layers', help='which layer of an encoder suits pixels, and which suits semantics?',
                                 description='Small probes on the frozen features of each layer: how well a decoder '
                                             'reconstructs from it, how well its images find their texts, and the pair '
                                             'of layers that follows.'))
    _add_atlas(kinds.add_parser('atlas', help='what do the codes of a run stand for?',
                                description='For each vocabulary and depth a sheet of codes with the patches that use '
                                            'them, and the mutual information of codes with caption words, colours and '
                                            'edges.'))
    _add_semantics(kinds.add_parser('semantics', help='what do pixel and semantic tokens retrieve, and what do regions '
                                                      'mean?',
                                    description='A page of images: nearest images by each vocabulary, words nearest to '
                                                'single regions, and reconstructions from shuffled codes.'))
    for name, module in ALONE.items():
        module.add_arguments(kinds.add_parser(name, help=module.HELP, description=module.DESCRIPTION))


def _add_common(parser: argparse.ArgumentParser, source: str, metavar: str) -> None:
    parser.add_argument('source', metavar=metavar, help=source)
    parser.add_argument('--out', metavar='DIR',
                        help='folder for the results (default: RUN/diagnostics/NAME, or work_dirs/diagnostics/NAME of '
                             'a config); one that holds something is left alone, and DIR.1 taken')
    add_config_options(parser)


def _add_conflict(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, 'config of a recipe to train, or run folder whose checkpoint is measured', 'CONFIG_OR_RUN')
    parser.add_argument('--every', type=int, default=20, metavar='N',
                        help='iterations between two measurements (default: 20)')
    parser.add_argument('--iters', type=int, metavar='N',
                        help="iterations to train (default: a config's own, and 0 for a run folder); 0 measures "
                             'without training')
    parser.add_argument('--batches', type=int, default=16, metavar='N',
                        help='training batches to measure where nothing is trained (default: 16)')
    parser.add_argument('--reconstruction', nargs='+', metavar='TERM',
                        help='terms of that side (default: those whose loss reads reconstructions)')
    parser.add_argument('--semantics', nargs='+', metavar='TERM',
                        help='terms of that side (default: those that read the teacher or the texts)')


def _add_layers(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, 'config, whose starting weights are probed, or run folder', 'CONFIG_OR_RUN')
    parser.add_argument('--encoder', metavar='NAME',
                        help='encoder of the tokenizer, or `teacher` (default: the first encoder)')
    parser.add_argument('--layers', type=int, nargs='+', metavar='L',
                        help='layers to probe, 0 is the embedding (default: all of at most 1,024 tokens)')
    parser.add_argument('--iters', type=int, default=300, metavar='N',
                        help='iterations that the probes are trained for (default: 300)')
    parser.add_argument('--batch-size', type=int, metavar='N', help="images a batch (default: the config's)")
    parser.add_argument('--within-db', type=float, default=1.0, metavar='DB',
                        help='PSNR that the pixel layer may lose against the best (default: 1)')
    parser.add_argument('--within-points', type=float, default=5.0, metavar='POINTS',
                        help='percentage points of R@1 that the semantic layer may lose against the best (default: 5)')
    parser.add_argument('--seed', type=int, default=0, help='of the probes and the order of the data (default: 0)')


def _add_atlas(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, 'run folder', 'RUN')
    parser.add_argument('--vocabulary', nargs='+', metavar='NAME', help='vocabularies (default: all)')
    parser.add_argument('--depth', type=int, nargs='+', metavar='D', help='depths, counted from 0 (default: all)')
    parser.add_argument('--codes', nargs='+', default=['16'], metavar='N',
                        help='how many codes a sheet shows (default: 16), or, as several numbers or one with a comma '
                             '(`17,`), which')
    parser.add_argument('--by', choices=['use', 'words', 'colour', 'edges'],
                        help='show the most used codes, or those that tell most about the words, the colour or the '
                             'edges (default: words where the data has texts, else colour)')
    parser.add_argument('--context', type=int, default=2, metavar='N',
                        help='tokens around a patch on each side (default: 2)')
    parser.add_argument('--split', choices=['heldout', 'train'], default='heldout', help='images (default: heldout)')
    parser.add_argument('--images', type=int, default=2000, metavar='N',
                        help='images at most, evenly spaced; memory grows with them (default: 2000)')


def _add_semantics(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, 'run folder', 'RUN')
    parser.add_argument('--images', type=int, default=8, metavar='N',
                        help='images that are shown, evenly spaced (default: 8)')
    parser.add_argument('--gallery', type=int, default=1000, metavar='N',
                        help='images that neighbours are looked for in (default: 1000)')
    parser.add_argument('--grid', type=int, default=3, metavar='N',
                        help='regions along each side of an image (default: 3)')
    parser.add_argument('--split', choices=['heldout', 'train'], default='heldout', help='images (default: heldout)')


def run(args: argparse.Namespace) -> int | None:
    """Run a diagnosis; returns the exit code, None for 0."""
    if args.kind in ALONE:
        return ALONE[args.kind].run(args)
    from dtbox.diagnostics.output_folder import choose_result_folder
    out = choose_result_folder(args.source, args.kind, args.out)
    runs = dict(conflict=run_conflict, layers=run_layers, atlas=run_atlas, semantics=run_semantics)
    runs[args.kind](args, out, read_options(args))
    print(f'\nwritten to {out}')
    return None


def print_progress(line: str) -> None:
    """Print a line of progress on stderr."""
    print(line, file=sys.stderr, flush=True)


def run_conflict(args: argparse.Namespace, out: str, options: dict) -> None:
    """Measure the conflict."""
    from dtbox.diagnostics import gradient_conflict as conflict
    from dtbox.diagnostics.output_folder import is_run
    names = dict(reconstruction=args.reconstruction, semantics=args.semantics)
    iters = args.iters if args.iters is not None or not is_run(args.source) else 0
    if iters is not None and iters < 0:
        raise InputError(f'{format_count(iters, "iteration")}; expected 0 or more.', '--iters')
    if iters == 0:
        conflict.measure_run(args.source, out, args.batches, options, args.plugin, **names)
    else:
        conflict.train_with_meter(args.source, out, args.every, iters, options, args.plugin, **names)


def run_layers(args: argparse.Namespace, out: str, options: dict) -> None:
    """Probe the layers."""
    from dtbox.diagnostics.layer_finder import probe_layers
    from dtbox.diagnostics.layer_report import format_table, write_result
    result = probe_layers(
        args.source, encoder=args.encoder, layers=args.layers, iters=args.iters, batch_size=args.batch_size,
        within_db=args.within_db, within_points=args.within_points, seed=args.seed, options=options,
        plugins=args.plugin, say=print_progress)
    write_result(result, out)
    print(format_table(result))


def run_atlas(args: argparse.Namespace, out: str, options: dict) -> None:
    """Draw the atlas."""
    from dtbox.diagnostics import code_atlas as atlas
    count, codes = parse_codes(args.codes)
    choice = atlas.Choice(args.vocabulary, args.depth, count or 0, codes, args.by, args.context)
    result = atlas.make_atlas(args.source, out, choice, args.split, args.images, options=options, plugins=args.plugin,
                              say=print_progress)
    print(atlas.format_table(result))


def run_semantics(args: argparse.Namespace, out: str, options: dict) -> None:
    """Draw the page of semantics."""
    from dtbox.diagnostics import semantics
    result = semantics.make_semantics(args.source, out, args.images, args.gallery, args.grid, args.split,
                                      options=options, plugins=args.plugin, say=print_progress)
    print(semantics.format_table(result))


def parse_codes(words: list[str]) -> tuple[int | None, list[int] | None]:
    """Read `--codes`: ['16'] -> (16, None); ['3', '17'] or ['3,17'] or ['17,'] -> (None, [3, 17]) or (None, [17])."""
    listed = len(words) > 1 or ',' in words[0]
    parts = [part for word in words for part in word.split(',') if part.strip()]
    if not parts or not all(part.strip().isdigit() for part in parts):
        raise InputError(f'`{" ".join(words)}` is neither a number of codes nor a list of them; expected such as `16`, '
                         'or `3,17,205`.', '--codes')
    numbers = [int(part) for part in parts]
    return (None, list(dict.fromkeys(numbers))) if listed else (numbers[0], None)


VERB = Verb(
    'diagnose', 'Find out why a tokenizer does what it does: conflict, layers, atlas, semantics; time of a step; a GPU',
    'A table on the screen. A folder with figures, tables and pages; one that holds something is left alone, and DIR.1 '
    'taken.',
    'dtbox diagnose conflict work_dirs/dualtoken_rq', add_arguments, run)
