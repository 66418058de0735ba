"""dtbox search: nearest images and duplicates in token shards."""
from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from dtbox.cli.options import add_model_options
from dtbox.cli.verb import Verb
from dtbox.errors import InputError

if TYPE_CHECKING:
    from dtbox.apis.tokenizer import Tokenizer
    from dtbox.tokens.catalog import Catalog

MEASURES = ('rows', 'codes')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('folder', metavar='OUT', help='folder of token shards')
    parser.add_argument('--run', metavar='RUN', help='run folder or dtbox://NAME of the tokenizer that made them '
                                                     '(default: the run that OUT was encoded with)')
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--image', nargs='+', metavar='IMAGE', help='find the images nearest to each of these')
    what.add_argument('--text', nargs='+', metavar='TEXT', help='find the images nearest to each of these texts; needs '
                                                                'embeddings, and a run with a text tower')
    what.add_argument('--duplicates', nargs='?', const='exact', choices=('exact', 'near'),
                      help='find images whose files have the same bytes (exact, the default), or that are nearly the '
                           'same (near)')
    parser.add_argument('--by', metavar='NAME', help='embedding, or the stream whose codes are compared, such as pixel '
                                                     'or semantic (default: embedding where there is one, else the '
                                                     'last stream)')
    parser.add_argument('--measure', choices=MEASURES, default='rows',
                        help='how codes are compared: cosine of the rows of the codebooks, or fraction of equal codes, '
                             'which needs no tokenizer (default: rows)')
    parser.add_argument('--top', type=int, default=10, metavar='N', help='images of each query, or groups of '
                                                                         'duplicates, to show (default: 10)')
    parser.add_argument('--threshold', type=float, metavar='S', help='least similarity of near duplicates (default: '
                                                                     '0.98 of embeddings, 0.99 of rows, 0.8 of codes)')
    parser.add_argument('--out', metavar='FILE.png', help='also draw the images, decoded from their codes')
    parser.add_argument('--csv', metavar='FILE', help='also write the table as CSV, with all groups of duplicates')
    parser.add_argument('--index', metavar='FILE', help='search with an approximate index (faiss), which is written '
                                                        'there the first time; for more than a million images')
    parser.add_argument('--approximate', action='store_true', help='find near duplicates with such an index')
    parser.add_argument('--recall', type=float, default=0.95, metavar='R',
                        help='least fraction of the nearest images that a new index finds, measured (default: 0.95)')
    add_model_options(parser)


def run(args: argparse.Namespace) -> None:
    """Search, print the table, and write what was asked for."""
    from dtbox.files import check_writable
    from dtbox.token_shards.format import need_pyarrow
    _check(args)
    for path in filter(None, (args.out, args.csv, args.index)):
        check_writable(path)
    need_pyarrow()
    from dtbox.tokens.catalog import Catalog
    catalog = Catalog(args.folder)
    tokenizer = _open_tokenizer(args, catalog)
    if args.duplicates:
        _run_duplicates(args, catalog, tokenizer)
    else:
        assert tokenizer is not None  # it encodes the query
        _run_nearest(args, catalog, tokenizer)


def _check(args: argparse.Namespace) -> None:
    if args.top < 1:
        raise InputError(f'{args.top} came; expected at least 1.', '--top')
    if args.out and not args.out.lower().endswith('.png'):
        raise InputError(f'the sheet is {args.out}; expected a name that ends with .png.', '--out')
    wrong = [name for name, given in (('--threshold', args.threshold is not None), ('--approximate', args.approximate))
             if given and args.duplicates != 'near'] + ['--index'] * bool(args.index and args.duplicates)
    if wrong:
        kind = 'nearest images' if '--index' in wrong else '--duplicates near'
        raise InputError(f'this option belongs to {kind}. Leave it out.', wrong[0])


def _open_tokenizer(args: argparse.Namespace, catalog: Catalog) -> Tokenizer | None:
    """Return the tokenizer of the shards, None where nothing needs it."""
    from dtbox.tokens.decoding import open_tokenizer
    from dtbox.tokens.found_sheet import check_decoder
    from dtbox.tokens.spaces import EMBEDDING
    by = args.by or (EMBEDDING if catalog.meta.embedding else None)
    by_rows = args.duplicates != 'exact' and args.measure == 'rows' and by != EMBEDDING
    if args.duplicates and not args.out and not by_rows:
        return None
    how = dict(checkpoint=args.checkpoint, plugins=args.plugin)
    tokenizer: Tokenizer = open_tokenizer(args.folder, catalog.open(0), args.run, args.device, how)
    if args.out:
        check_decoder(tokenizer)
    return tokenizer


def _run_nearest(args: argparse.Namespace, catalog: Catalog, tokenizer: Tokenizer) -> None:
    from dtbox.apis.images import prepare_images
    from dtbox.drawing.sheets import to_uint8
    from dtbox.tokens.search import embed_queries, find_nearest
    from dtbox.tokens.spaces import EMBEDDING, choose_space
    by = args.by or (EMBEDDING if args.text else None)
    space = choose_space(catalog.meta, by, args.measure == 'rows', tokenizer)
    queries = embed_queries(space, tokenizer, args.image, args.text)
    how = 'all images compared'
    if args.index:
        from dtbox.tokens.approximate import get_index
        index = get_index(args.index, catalog, space, args.recall)
        found = index.find_nearest(queries, args.top)
        how = f'by an index of recall {index.recall:.3f}, first views'
    else:
        found = find_nearest(catalog, space, queries, args.top)
    names = args.text or [os.path.basename(os.path.normpath(path)) for path in args.image]
    groups = {_number(names, i): list(zip(one.rows, one.similarities)) for i, one in enumerate(found)}
    shown = None if args.text else to_uint8(prepare_images(args.image, tokenizer.model, tokenizer.pipeline))
    _report(args, catalog, tokenizer, groups, f'Nearest images by {space.label} ({how})', shown)


def _number(names: list[str], i: int) -> str:
    """Return the name of a query, with its number where several have it."""
    return f'{names[i]} ({i + 1})' if names.count(names[i]) > 1 else names[i]


def _run_duplicates(args: argparse.Namespace, catalog: Catalog, tokenizer: Tokenizer | None) -> None:
    from dtbox.counts import format_count
    if args.duplicates == 'exact':
        from dtbox.tokens.duplicates import find_exact_duplicates
        found = find_exact_duplicates(catalog)
        groups = [[(row, 1.0) for row in group] for group in found]
        title = 'Images whose files have the same bytes'
    else:
        near, title = _find_near(args, catalog, tokenizer)
        groups = [[(row, near.similarity[row]) for row in group] for group in near.groups]
    spare = sum(map(len, groups)) - len(groups)
    title += f': {format_count(len(groups), "group")}, {format_count(spare, "image")} beyond the first of each'
    _report(args, catalog, tokenizer, {str(i): group for i, group in enumerate(groups, 1)}, title)


def _find_near(args, catalog, tokenizer):
    from dtbox.counts import format_count
    from dtbox.tokens.duplicates import find_near_duplicates
    from dtbox.tokens.spaces import choose_space
    space = choose_space(catalog.meta, args.by, args.measure == 'rows', tokenizer)
    if args.approximate:
        from dtbox.tokens.approximate import find_near_approximately
        near = find_near_approximately(catalog, space, args.threshold, args.recall)
    else:
        near = find_near_duplicates(catalog, space, args.threshold)
    levels = ', '.join(f'{level:g}: {count:,}' for level, count in near.levels.items())
    print(f'{format_count(near.images, "image")} compared by {space.label}; images whose nearest other image has at '
          f'least the similarity {levels}')
    threshold = space.threshold if args.threshold is None else args.threshold
    how = 'all pairs compared' if not args.approximate else f'by an index of recall {near.recall:.3f}'
    return near, f'Near duplicates by {space.label}, similarity {threshold:g} and more ({how})'


def _report(args, catalog, tokenizer, groups, title, queries=None):
    from dtbox.sizing.scale_report import align_columns
    from dtbox.tokens.found_sheet import describe_groups, draw_found, make_table, write_csv
    first = dict(list(groups.items())[:args.top]) if args.duplicates else groups
    described = describe_groups(catalog, first)
    print(title)
    if described:
        print(align_columns(make_table(described), (0, 2, 3, 6)))
    written = []
    if args.csv:
        write_csv(args.csv, make_table(describe_groups(catalog, groups), whole=True))
        written.append(args.csv)
    if args.out and described:
        draw_found(args.out, catalog, tokenizer, described, title, queries)
        written.append(args.out)
    if written:
        print('\nwritten to ' + ', '.join(written))


VERB = Verb(
    'search', 'Find nearest images and duplicates in token shards',
    'A table of similarities, keys and input shards; with --out a sheet of the images, decoded from their codes; with '
    '--csv the table as a file.',
    'dtbox search OUT --image cat.png --by semantic --out found.png', add_arguments,
    run)
