"""dtbox encode: a data set into token shards."""
from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING

from dtbox.cli.options import add_config_options, read_options
from dtbox.cli.verb import Verb
from dtbox.errors import InputError

if TYPE_CHECKING:
    from dtbox.tokens.encoder import Settings
    from dtbox.tokens.sources import Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('run', metavar='RUN', help='run folder, exported folder, or dtbox://NAME')
    parser.add_argument('source', metavar='SRC',
                        help='folder of images, shards (folder, file, pattern or pipe:COMMAND), folder or captions of '
                             'COCO, video or folder of videos, or a config of data')
    parser.add_argument('folder', metavar='OUT', help='folder of the token shards')
    what = parser.add_argument_group('what is encoded')
    add_source_options(what)
    what.add_argument('--append', action='store_true',
                      help='add to OUT what is new in SRC, or another SRC; what OUT holds stays')
    how = parser.add_argument_group('how it is encoded (part of the fingerprint)')
    how.add_argument('--vocabularies', nargs='+', default=(), metavar='NAME', help='default: all that have codes')
    how.add_argument('--views', type=int, default=1, metavar='N',
                     help='views of an image: as in evaluation, then random parts, half of them mirrored (default: 1)')
    how.add_argument('--crop-scale', type=float, nargs=2, default=(0.6, 1.0), metavar=('LOW', 'HIGH'),
                     help='area of these parts (default: 0.6 1.0)')
    how.add_argument('--seed', type=int, default=0, help='of these parts (default: 0)')
    how.add_argument('--embedding', action='store_true', help='also store the embedding of each image, in float16')
    how.add_argument('--dtype', default='float32', choices=('float32', 'bfloat16', 'float16'),
                     help='in which the model computes (default: float32)')
    how.add_argument('--batch', type=int, default=32, metavar='N', help='images of a batch (default: 32)')
    how.add_argument('--device', default='cpu', help='cpu or cuda (default: cpu)')
    how.add_argument('--jpeg', default='cpu', choices=('cpu', 'gpu'),
                     help='where JPEG files are decoded; gpu needs --device cuda (default: cpu)')
    _add_work(parser)
    parser.add_argument('--checkpoint', metavar='FILE', help='checkpoint (default: that of the run folder)')
    add_config_options(parser)


def add_source_options(group: argparse._ArgumentGroup) -> None:
    """Add the arguments that say how a data set becomes input shards."""
    group.add_argument('--kind', choices=('folder', 'shards', 'coco', 'video', 'config'), metavar='KIND',
                       help='of SRC: folder, shards, coco, video or config (default: what it looks like)')
    group.add_argument('--per-shard', type=int, default=4096, metavar='N',
                       help='images of one output file, where SRC is a list of files or frames (default: 4096)')
    group.add_argument('--name', help='of SRC, in the names of the output files of a list (default: that of its '
                                      'folder)')
    group.add_argument('--no-texts', action='store_true', help='of a folder of images: do not look for captions')
    group.add_argument('--stride', type=int, default=1, metavar='N', help='of videos: every N-th frame (default: 1)')


def _add_work(parser: argparse.ArgumentParser) -> None:
    who = parser.add_argument_group('who encodes (changes no bit of the files)')
    who.add_argument('--engine', choices=('local', 'ray'), default='local',
                     help='processes of this machine, or actors of a Ray cluster (default: local)')
    who.add_argument('--workers', type=int, metavar='N', help='default: one a GPU, or one a core')
    who.add_argument('--decoders', type=int, metavar='N',
                     help='threads that decode and resize beside the model (default: 8 on a GPU, 0 on a CPU)')
    who.add_argument('--address', help='of the Ray cluster (default: RAY_ADDRESS, or one on this machine)')
    who.add_argument('--shard-of', metavar='I/N',
                     help='take every N-th input shard, from number I on (0 to N-1): for tasks of Slurm')
    who.add_argument('--timeout', type=float, default=600, metavar='SECONDS',
                     help='a worker from which nothing comes for so long is replaced (default: 600)')
    who.add_argument('--tries', type=int, default=3, metavar='N',
                     help='times that an input shard is begun before it is given up (default: 3)')
    who.add_argument('--restarts', type=int, default=20, metavar='N',
                     help='workers that are replaced before everything stops (default: 20)')


def read_part(text: str | None) -> tuple[int, int]:
    """Return (i, n) of --shard-of I/N, (0, 1) for None."""
    if text is None:
        return 0, 1
    match = re.fullmatch(r'(\d{1,9})/(\d{1,9})', text)
    if not match or not int(match[1]) < int(match[2]):
        raise InputError(f'got {text!r}; expected I/N with I from 0 to N-1, such as '
                         '$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT.', '--shard-of')
    return int(match[1]), int(match[2])


def run(args: argparse.Namespace) -> int:
    """Encode; returns 0 where all input shards are done, else 1."""
    part = read_part(args.shard_of)
    _check_least(args, seed=0, decoders=0)
    from dtbox.tokens.run import Work, check_out, encode
    from dtbox.tokens.schedule import Limits
    check_out(args.folder)
    settings = read_settings(args)
    limits = Limits(args.tries, args.restarts, args.timeout)
    source = open_source(args)
    work = Work(args.engine, args.workers, args.address, part, args.append, limits)
    result = encode(source, args.folder, settings, work)
    for line in result.tell(args.folder):
        print(line, file=sys.stderr if line.startswith('failed') else sys.stdout)
    return 1 if result.failed else 0


def _check_least(args: argparse.Namespace, **least: int) -> None:
    for name, value in ((name, getattr(args, name)) for name in least):
        if value is not None and value < least[name]:
            raise InputError(f'got {value}; expected at least {least[name]}.', f'--{name.replace("_", "-")}')


def open_source(args: argparse.Namespace) -> Source:
    """Return the data set of parsed arguments: --source and those of `add_source_options`."""
    _check_least(args, per_shard=1, stride=1)
    from dtbox.tokens.sources import find_source
    return find_source(args.source, args.kind, args.per_shard, args.name, args.stride, not args.no_texts,
                       read_options(args), args.plugin)


def read_settings(args: argparse.Namespace) -> Settings:
    """Return the Settings of parsed arguments."""
    from dtbox.tokens.encoder import Settings
    from dtbox.tokens.views import ViewRule
    decoders = (0 if args.device == 'cpu' else 8) if args.decoders is None else args.decoders
    return Settings(args.run, args.checkpoint, tuple(args.plugin), args.trust_remote_code, args.device, args.dtype,
                    tuple(args.vocabularies), ViewRule(args.views, tuple(args.crop_scale), args.seed), args.embedding,
                    args.batch, decoders, args.jpeg)


VERB = Verb(
    'encode', 'Encode a data set into token shards: Parquet files of codes',
    'How far it is, with images a second. One Parquet file an input shard in OUT; a file that is there is whole, and '
    'the same command after an interruption makes what lacks, on any number of workers, with the same bytes. Broken '
    'images are rows without codes. Exit code 1 where an input shard cannot be encoded; the others are written all the '
    'same.',
    'dtbox encode dtbox://dualtoken-twemoji photos tokens --views 2', add_arguments, run)
